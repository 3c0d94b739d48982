//! An origin that misbehaves at an exact moment: it accepts connections and plays a script of raw
//! bytes on each.
//!
//! For faults only, which no real server produces on demand; everything else uses [`crate::Origin`].

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// Socket buffers of a fault origin: small, so that back-pressure shows soon.
const SOCKET_BUFFER: u32 = 64 * 1024;

/// What a fault origin does next on a connection. After the last step it closes.
#[derive(Debug, Clone)]
pub enum Step {
    /// Reads to the end of a request's head.
    Head,
    /// Reads until these bytes came.
    Until(Vec<u8>),
    /// Reads so many bytes.
    Read(u64),
    /// Reads to the end of the stream.
    Drain,
    /// Writes these bytes.
    Say(Vec<u8>),
    /// Writes so many bytes `x`.
    Pour(u64),
    /// Waits for [`Fault::release`].
    Hold,
    /// Closes by a TCP reset.
    Reset,
    /// The rest of the script again, for ever: serves as many requests as come.
    Again,
}

/// Counts of what a fault origin did; see [`Fault::until`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Connections accepted.
    pub connections: u64,
    /// Heads of requests read.
    pub heads: u64,
    /// Bytes read.
    pub read: u64,
    /// Bytes written.
    pub written: u64,
    /// Scripts that ended because the other side closed or broke the connection.
    pub lost: u64,
}

/// A running fault origin; stops when dropped.
#[derive(Debug)]
pub struct Fault {
    address: SocketAddr,
    tally: watch::Receiver<Tally>,
    release: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Step {
    /// [`Step::Say`] with text.
    #[must_use]
    pub fn say(text: &str) -> Self {
        Self::Say(text.as_bytes().to_vec())
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fault {
    /// Plays this script on every connection.
    pub async fn start(script: Vec<Step>) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        // Accepted connections inherit the sizes. Best effort: the system has its own limits.
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
        socket
            .bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .expect("a free loopback port");
        let listener = socket.listen(128).expect("a listening socket");
        let address = listener.local_addr().expect("bound");
        let (note, tally) = watch::channel(Tally::default());
        let release = Arc::new(Notify::new());
        let player = Arc::new(Player {
            script,
            note,
            release: Arc::clone(&release),
        });
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                player.note(|tally| tally.connections += 1);
                let player = Arc::clone(&player);
                connections.spawn(async move {
                    if player.play(stream).await.is_err() {
                        player.note(|tally| tally.lost += 1);
                    }
                });
            }
        });
        Self {
            address,
            tally,
            release,
            task,
        }
    }

    /// Reads a request's head, says this, and closes.
    pub async fn answers(text: &str) -> Self {
        Self::start(vec![Step::Head, Step::say(text)]).await
    }

    /// Answers every request on a connection with this.
    pub async fn keeps_answering(text: &str) -> Self {
        Self::start(vec![Step::Head, Step::say(text), Step::Again]).await
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it did so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        *self.tally.borrow()
    }

    /// Waits until its tally is as wanted.
    pub async fn until(&self, wanted: impl FnMut(&Tally) -> bool) -> Tally {
        *self
            .tally
            .clone()
            .wait_for(wanted)
            .await
            .expect("the origin runs")
    }

    /// Lets one connection that holds go on, now or when it comes to that.
    pub fn release(&self) {
        self.release.notify_one();
    }
}

#[derive(Debug)]
struct Player {
    script: Vec<Step>,
    note: watch::Sender<Tally>,
    release: Arc<Notify>,
}

impl Player {
    fn note(&self, change: impl FnOnce(&mut Tally)) {
        self.note.send_modify(change);
    }

    async fn play(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        loop {
            let mut again = false;
            for step in &self.script {
                match step {
                    Step::Reset => return stream.set_zero_linger(),
                    Step::Again => again = true,
                    step => self.step(&mut stream, step).await?,
                }
            }
            if !again {
                stream.shutdown().await?;
                // A socket closed with bytes unread resets the connection, and what was said last
                // may then never be read on the other side.
                let mut rest = [0; 1024];
                while matches!(stream.read(&mut rest).await, Ok(1..)) {}
                return Ok(());
            }
        }
    }

    async fn step(&self, stream: &mut TcpStream, step: &Step) -> io::Result<()> {
        match step {
            Step::Head => {
                self.until(stream, b"\r\n\r\n").await?;
                self.note(|tally| tally.heads += 1);
            }
            Step::Until(bytes) => self.until(stream, bytes).await?,
            Step::Read(bytes) => {
                let mut left = *bytes;
                while left > 0 {
                    left -= self.read(stream, left).await?;
                }
            }
            Step::Drain => while self.read(stream, u64::MAX).await.is_ok() {},
            Step::Say(bytes) => {
                stream.write_all(bytes).await?;
                self.note(|tally| tally.written += bytes.len() as u64);
            }
            Step::Pour(bytes) => {
                let chunk = vec![b'x'; 16 * 1024];
                let mut left = usize::try_from(*bytes).map_err(io::Error::other)?;
                while left > 0 {
                    let written = stream.write(&chunk[..left.min(chunk.len())]).await?;
                    left -= written;
                    self.note(|tally| tally.written += written as u64);
                }
            }
            Step::Hold => {
                // A connection that the other side gives up does not hold.
                let mut byte = [0];
                tokio::select! {
                    () = self.release.notified() => {}
                    read = stream.peek(&mut byte) => {
                        if read? == 0 {
                            return Err(io::ErrorKind::UnexpectedEof.into());
                        }
                        self.release.notified().await;
                    }
                }
            }
            Step::Reset | Step::Again => {}
        }
        Ok(())
    }

    async fn until(&self, stream: &mut TcpStream, wanted: &[u8]) -> io::Result<()> {
        let mut seen = Vec::new();
        while !seen.ends_with(wanted) {
            seen.push(stream.read_u8().await?);
            self.note(|tally| tally.read += 1);
        }
        Ok(())
    }

    /// Reads some bytes, at most so many; the end of the stream is an error.
    async fn read(&self, stream: &mut TcpStream, most: u64) -> io::Result<u64> {
        let mut buffer = vec![0; 16 * 1024];
        let most = usize::try_from(most)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let read = stream.read(&mut buffer[..most]).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.note(|tally| tally.read += read as u64);
        Ok(read as u64)
    }
}
