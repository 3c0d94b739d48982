//! An HTTP/1.1 origin that changes its mood, for requests and for health checks apart.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Health checks ask for paths below this.
pub(crate) const HEALTH: &str = "/healthz";

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// It is answered with this status.
    Answer(u16),
    /// It is read, and the connection reset.
    Reset,
    /// It is read and never answered.
    Silent,
}

/// The origin; stops when dropped.
pub(crate) struct Moody {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    requests: AtomicUsize,
    mood: Mutex<Mood>,
    health: Mutex<Mood>,
    /// Heads of the health checks that came.
    checks: watch::Sender<Vec<String>>,
}

impl Drop for Moody {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Moody {
    /// One that answers requests in this mood, and health checks with 200.
    pub(crate) async fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            requests: AtomicUsize::new(0),
            mood: Mutex::new(mood),
            health: Mutex::new(Mood::Answer(200)),
            checks: watch::Sender::new(Vec::new()),
        });
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                connections.spawn(async move {
                    let _ = serve(stream, &shared).await;
                });
            }
        });
        Self {
            address,
            shared,
            task,
        }
    }

    pub(crate) fn set(&self, mood: Mood) {
        *self.shared.mood.lock().unwrap() = mood;
    }

    /// From now on health checks are taken so.
    pub(crate) fn set_health(&self, mood: Mood) {
        *self.shared.health.lock().unwrap() = mood;
    }

    /// Requests that came, whatever became of them; health checks are none.
    pub(crate) fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Heads of the health checks that came.
    pub(crate) fn checks(&self) -> Vec<String> {
        self.shared.checks.borrow().clone()
    }

    /// Waits until so many health checks came.
    pub(crate) async fn checked(&self, times: usize) {
        let mut checks = self.shared.checks.subscribe();
        let _ = checks.wait_for(|it| it.len() >= times).await.unwrap();
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = buffer.windows(4).position(|it| it == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        // Requests without a body are all that it is sent.
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        buffer.drain(..end);
        let is_check = head
            .split(' ')
            .nth(1)
            .is_some_and(|path| path.starts_with(HEALTH));
        let mood = if is_check {
            shared.checks.send_modify(|all| all.push(head));
            *shared.health.lock().unwrap()
        } else {
            shared.requests.fetch_add(1, Ordering::SeqCst);
            *shared.mood.lock().unwrap()
        };
        match mood {
            Mood::Answer(status) => {
                let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\nok");
                stream.write_all(answer.as_bytes()).await?;
            }
            Mood::Reset => return stream.set_zero_linger(),
            Mood::Silent => {
                while stream.read_buf(&mut buffer).await? > 0 {}
                return Ok(());
            }
        }
    }
}
