//! A real Redis on a free port, with nothing on disk.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::client::Error;
use crate::kube::Process;

/// How long a start may take.
const STARTING: Duration = Duration::from_secs(20);

/// A running `redis-server`; killed when dropped.
#[derive(Debug)]
pub struct Redis {
    process: Process,
    address: SocketAddr,
    password: Option<String>,
    folder: TempDir,
}

impl Redis {
    /// Starts one.
    ///
    /// # Errors
    /// There is no `redis-server`, or it does not start.
    pub async fn start() -> Result<Self, Error> {
        Self::start_with(None).await
    }

    /// Starts one that wants this password.
    ///
    /// # Errors
    /// There is no `redis-server`, or it does not start.
    pub async fn start_with(password: Option<&str>) -> Result<Self, Error> {
        let folder = TempDir::new()?;
        // Free now; that somebody else takes it before the server does is what the loop is for.
        for _ in 0..5 {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
                .local_addr()?
                .port();
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let mut process = serve(address, password, &folder)?;
            if listens(&mut process, address).await? {
                return Ok(Self {
                    process,
                    address,
                    password: password.map(str::to_owned),
                    folder,
                });
            }
        }
        Err("redis-server does not start: is it installed?".into())
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills it: connections break, and new ones are refused.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Stops it without a word: it keeps its connections and answers nothing.
    ///
    /// # Errors
    /// It has ended.
    pub fn pause(&self) -> Result<(), Error> {
        self.process.pause()
    }

    /// Goes on after [`Self::pause`].
    ///
    /// # Errors
    /// It has ended.
    pub fn resume(&self) -> Result<(), Error> {
        self.process.resume()
    }

    /// Starts it again at the same address, empty.
    ///
    /// # Errors
    /// It does not start.
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.process.kill();
        self.process = serve(self.address, self.password.as_deref(), &self.folder)?;
        if listens(&mut self.process, self.address).await? {
            return Ok(());
        }
        Err("redis-server does not start again".into())
    }
}

fn serve(address: SocketAddr, password: Option<&str>, folder: &TempDir) -> Result<Process, Error> {
    let mut command = Command::new("redis-server");
    command
        .args(["--port", &address.port().to_string()])
        .args(["--bind", &address.ip().to_string()])
        .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
        .arg("--dir")
        .arg(folder.path());
    if let Some(password) = password {
        command.args(["--requirepass", password]);
    }
    Process::start("redis-server", command, &folder.path().join("log"))
}

/// Waits until it accepts connections; false if it ended instead.
async fn listens(process: &mut Process, address: SocketAddr) -> Result<bool, Error> {
    let end = Instant::now() + STARTING;
    loop {
        if process.ended()?.is_some() {
            return Ok(false);
        }
        if TcpStream::connect(address).await.is_ok() {
            return Ok(true);
        }
        if Instant::now() > end {
            return Err("redis-server does not listen in time".into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
