//! An HTTP/1.1 origin that counts what it has at one moment, and answers as it is told.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What it does with a request.
#[derive(Clone, Copy)]
pub(crate) enum Reply {
    /// Answers with this status.
    Status(u16),
    /// Answers 200 after this time.
    After(Duration),
    /// Resets the connection.
    Reset,
}

/// The origin; its counts last as long as it.
pub(crate) struct Counting {
    pub(crate) address: SocketAddr,
    counts: Arc<Counts>,
    task: tokio::task::JoinHandle<()>,
}

struct Counts {
    open: Gauge,
    running: Gauge,
    served: AtomicUsize,
    bodies: Mutex<Vec<String>>,
    /// What becomes of the requests, one after the other; the last for ever.
    script: Vec<Reply>,
}

#[derive(Default)]
struct Gauge {
    now: AtomicUsize,
    most: AtomicUsize,
}

struct Alive<'a>(&'a Gauge);

impl Gauge {
    fn begin(&self) -> Alive<'_> {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        Alive(self)
    }
}

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Counting {
    pub(crate) async fn start(script: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::new(Counts {
            open: Gauge::default(),
            running: Gauge::default(),
            served: AtomicUsize::new(0),
            bodies: Mutex::default(),
            script,
        });
        let shared = Arc::clone(&counts);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let counts = Arc::clone(&shared);
                connections.spawn(async move {
                    let open = counts.open.begin();
                    let _ = serve(&mut stream, &counts).await;
                    // Before the other side learns of it.
                    drop(open);
                });
            }
        });
        Self {
            address,
            counts,
            task,
        }
    }

    /// Most connections at one time.
    pub(crate) fn most_open(&self) -> usize {
        self.counts.open.most.load(Ordering::SeqCst)
    }

    /// Most requests at one time.
    pub(crate) fn most_running(&self) -> usize {
        self.counts.running.most.load(Ordering::SeqCst)
    }

    /// Requests that came, whatever became of them.
    pub(crate) fn requests(&self) -> usize {
        self.counts.served.load(Ordering::SeqCst)
    }

    /// Bodies of the requests that came.
    pub(crate) fn bodies(&self) -> Vec<String> {
        self.counts.bodies.lock().unwrap().clone()
    }
}

async fn serve(stream: &mut TcpStream, counts: &Counts) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let Some(head) = read_until(stream, &mut buffer, |bytes| {
            let end = bytes.windows(4).position(|it| it == b"\r\n\r\n")?;
            Some(end + 4)
        })
        .await?
        else {
            return Ok(());
        };
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .map_or(0, |value| value.trim().parse().unwrap());
        let body = read_until(stream, &mut buffer, |bytes| {
            (bytes.len() >= length).then_some(length)
        })
        .await?
        .unwrap_or_default();
        let running = counts.running.begin();
        let index = counts.served.fetch_add(1, Ordering::SeqCst);
        let body = String::from_utf8_lossy(&body).into_owned();
        counts.bodies.lock().unwrap().push(body);
        let last = counts.script.len() - 1;
        let status = match counts.script[index.min(last)] {
            Reply::Status(status) => status,
            Reply::After(time) => {
                tokio::time::sleep(time).await;
                200
            }
            Reply::Reset => {
                stream.set_zero_linger()?;
                return Ok(());
            }
        };
        drop(running);
        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\nok");
        stream.write_all(answer.as_bytes()).await?;
    }
}

/// Reads until so many bytes are there as `end` says, and takes them.
async fn read_until(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    end: impl Fn(&[u8]) -> Option<usize>,
) -> std::io::Result<Option<Vec<u8>>> {
    loop {
        if let Some(end) = end(buffer) {
            return Ok(Some(buffer.drain(..end).collect()));
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}
