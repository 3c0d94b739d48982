//! The process under test: the real binary, following an API server.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::{Metrics, Namespace, Process, assets, eventually, netns};
use crate::client::{Answer, Client, Error};

/// How long a process may take to be ready; far more than it needs on a busy machine.
const READY: Duration = Duration::from_secs(30);

/// Port of the admin server. The address is the process's own, so it never clashes.
const ADMIN: u16 = 8877;

/// How a process is started.
#[derive(Debug, Clone)]
pub struct Launch {
    kubeconfig: PathBuf,
    namespace: String,
    id: String,
    folder: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    pod: Option<String>,
}

impl Launch {
    /// `legate run --kube` for a test's namespace and id, as the user of that kubeconfig.
    #[must_use]
    pub fn new(space: &Namespace, kubeconfig: &Path) -> Self {
        Self {
            kubeconfig: kubeconfig.to_owned(),
            namespace: space.name().to_owned(),
            id: space.id().to_owned(),
            folder: space.server().folder().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            pod: None,
        }
    }

    /// More arguments.
    #[must_use]
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// An environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Another `ambassador_id` than the test's.
    #[must_use]
    pub fn id(mut self, id: &str) -> Self {
        id.clone_into(&mut self.id);
        self
    }

    /// The pod's name; a fresh one if it is not given.
    #[must_use]
    pub fn pod(mut self, name: &str) -> Self {
        self.pod = Some(name.to_owned());
        self
    }

    /// Starts the process on an address of its own, without waiting for anything.
    ///
    /// # Errors
    /// The binary is missing or cannot be started.
    pub fn start(&self) -> Result<Legate, Error> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let fresh = format!("{}-{number}", self.namespace);
        let pod = self.pod.clone().unwrap_or(fresh.clone());
        let address = netns::address();
        let admin = SocketAddr::from((address, ADMIN));
        let mut command = Command::new(assets::legate()?);
        command
            .args(["run", "--kube", "--kubeconfig"])
            .arg(&self.kubeconfig)
            .args(["--ambassador-id", &self.id, "--namespace", &self.namespace])
            .args(["--pod-name", &pod, "--bind", &address.to_string()])
            .args(["--admin-addr", &admin.to_string()])
            .args(["--workers", "1", "--log-format", "json"])
            .args(&self.args)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.folder);
        let log = self.folder.join(format!("{fresh}.legate.log"));
        let process = Process::start(&format!("legate {pod}"), command, &log)?;
        Ok(Legate {
            process,
            address,
            pod,
        })
    }

    /// Starts the process and waits until it is ready.
    ///
    /// # Errors
    /// It ends, or is not ready in time; the text has the end of its log.
    pub async fn ready(&self) -> Result<Legate, Error> {
        let mut legate = self.start()?;
        legate.wait_ready().await?;
        Ok(legate)
    }
}

/// A running process; killed when dropped.
#[derive(Debug)]
pub struct Legate {
    process: Process,
    address: Ipv4Addr,
    pod: String,
}

impl Legate {
    /// The process: its id, log, memory, and signals.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The pod's name.
    #[must_use]
    pub fn pod(&self) -> &str {
        &self.pod
    }

    /// Where its Listener with this port is.
    #[must_use]
    pub fn listener(&self, port: u16) -> SocketAddr {
        SocketAddr::from((self.address, port))
    }

    /// What it logged so far: one JSON object a line.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until `/ambassador/v0/check_ready` answers 200.
    ///
    /// # Errors
    /// It ends, or is not ready in time; the text has the end of its log.
    pub async fn wait_ready(&mut self) -> Result<(), Error> {
        let address = self.address;
        let process = &mut self.process;
        let ready = eventually("legate is ready", READY, async || {
            if !matches!(process.ended(), Ok(None)) {
                return Some(false);
            }
            ready(address).await.then_some(true)
        })
        .await;
        match ready {
            Ok(true) => Ok(()),
            Ok(false) => Err(format!("legate ended:\n{}", self.process.log_tail()).into()),
            Err(error) => Err(format!("{error}:\n{}", self.process.log_tail()).into()),
        }
    }

    /// Whether it is ready now.
    pub async fn is_ready(&self) -> bool {
        ready(self.address).await
    }

    /// GET on the admin server.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn admin(&self, path: &str) -> Result<Answer, Error> {
        get(SocketAddr::from((self.address, ADMIN)), "admin", path).await
    }

    /// Its metrics now.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn metrics(&self) -> Result<Metrics, Error> {
        Ok(Metrics::parse(&self.admin("/metrics").await?.text()))
    }

    /// A value of its metrics now, summed over other labels; 0 if there is no such sample.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64, Error> {
        Ok(self.metrics().await?.value(name, labels).unwrap_or(0.0))
    }

    /// Waits until a value of its metrics, summed over other labels, is at least this.
    ///
    /// # Errors
    /// It is not in time; the text has the last value.
    pub async fn metric_reaches(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        least: f64,
        deadline: Duration,
    ) -> Result<f64, Error> {
        let mut last = f64::NAN;
        let what = format!("{name}{labels:?} reaches {least}");
        let found = eventually(&what, deadline, async || {
            last = self.metric(name, labels).await.ok()?;
            (last >= least).then_some(last)
        })
        .await;
        found.map_err(|error| format!("{error}; last: {last}").into())
    }

    /// GET through the Listener 8080 on a connection of its own.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn get(&self, host: &str, path: &str) -> Result<Answer, Error> {
        get(self.listener(8080), host, path).await
    }

    /// Waits until a GET through the Listener 8080 is answered with this status.
    ///
    /// # Errors
    /// It is not in time; the text has the last answer.
    pub async fn serves(
        &self,
        host: &str,
        path: &str,
        status: u16,
        deadline: Duration,
    ) -> Result<Answer, Error> {
        let mut last = String::new();
        let what = format!("{host}{path} answers {status}");
        let found = eventually(&what, deadline, async || match self.get(host, path).await {
            Ok(answer) if answer.status.as_u16() == status => Some(answer),
            Ok(answer) => {
                last = format!("{} {}", answer.status, answer.text());
                None
            }
            Err(error) => {
                last = error.to_string();
                None
            }
        })
        .await;
        found.map_err(|error| format!("{error}; last: {last}").into())
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn terminate(&mut self, deadline: Duration) -> Result<ExitStatus, Error> {
        self.process.terminate()?;
        self.process.wait(deadline)
    }
}

async fn ready(address: Ipv4Addr) -> bool {
    let admin = SocketAddr::from((address, ADMIN));
    let answer = get(admin, "admin", "/ambassador/v0/check_ready").await;
    answer.is_ok_and(|answer| answer.status == 200)
}

async fn get(address: SocketAddr, host: &str, path: &str) -> Result<Answer, Error> {
    let mut client = Client::connect(address).await?;
    client.request("GET", host, path, &[], Bytes::new()).await
}
