//! Requests that go on while something else happens, none of which may fail.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use legate_testkit::client::{Client, Error, TlsOptions};
use tokio::task::JoinHandle;

/// Between two requests of one connection.
const PAUSE: Duration = Duration::from_millis(5);

/// Two connections that send one request after the other.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    /// Starts to send; every answer has to be 200. With `tls`, that is the server name.
    pub(crate) fn start(address: SocketAddr, tls: Option<&str>, host: &str, path: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let tasks = (0..2)
            .map(|_| {
                tokio::spawn(send(
                    address,
                    tls.map(TlsOptions::sni),
                    (host.to_owned(), path.to_owned()),
                    Arc::clone(&stop),
                    Arc::clone(&sent),
                ))
            })
            .collect();
        Self { stop, sent, tasks }
    }

    /// How many were answered so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until this many more were answered.
    pub(crate) async fn more(&self, requests: u64) -> Result<(), Error> {
        let wanted = self.sent() + requests;
        legate_testkit::kube::eventually("requests go on", Duration::from_secs(60), async || {
            (self.sent() >= wanted).then_some(())
        })
        .await
    }

    /// Ends it; what failed is an error.
    pub(crate) async fn end(self) -> Result<u64, Error> {
        self.stop.store(true, Ordering::Relaxed);
        let mut failed = Vec::new();
        for task in self.tasks {
            failed.extend(task.await?);
        }
        let sent = self.sent.load(Ordering::Relaxed);
        if failed.is_empty() {
            return Ok(sent);
        }
        let first: Vec<_> = failed.iter().take(5).collect();
        Err(format!("{} of {sent} requests failed: {first:#?}", failed.len()).into())
    }
}

async fn send(
    address: SocketAddr,
    tls: Option<TlsOptions>,
    (host, path): (String, String),
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
) -> Vec<String> {
    let mut failed = Vec::new();
    let mut client = None;
    while !stop.load(Ordering::Relaxed) {
        let mut connection = match client.take().filter(Client::is_open) {
            Some(connection) => connection,
            None => match connect(address, tls.as_ref()).await {
                Ok(connection) => connection,
                Err(error) => {
                    failed.push(format!("connect: {error}"));
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
        };
        match connection.get(&host, &path).await {
            Ok(answer) if answer.status == 200 => client = Some(connection),
            Ok(answer) => failed.push(format!("{} {}", answer.status, answer.text())),
            Err(error) => failed.push(error.to_string()),
        }
        sent.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(PAUSE).await;
    }
    failed
}

async fn connect(address: SocketAddr, tls: Option<&TlsOptions>) -> Result<Client, Error> {
    match tls {
        Some(options) => Client::connect_tls(address, options).await,
        None => Client::connect(address).await,
    }
}
