//! etcd and kube-apiserver as child processes.

use std::collections::HashMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kube::core::ApiResource;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::credentials::{ISSUER, SigningKey, write, write_kubeconfig};
use super::{Process, assets, client, eventually, netns, process};
use crate::certs::Authority;
use crate::client::{Client, Error};

/// The user that may do everything.
const ADMIN: &str = "admin";

/// How long the API server may take to become ready; far more than it needs on a busy machine.
const START: Duration = Duration::from_secs(60);

/// How long it may take to end politely.
const STOP: Duration = Duration::from_secs(15);

/// Every request once it is answered, without bodies; of watches the beginning as well.
const AUDIT_POLICY: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy",
"omitStages": ["RequestReceived"], "rules": [{"level": "Metadata"}]}"#;

/// What differs from one test's API server to another's.
#[derive(Debug, Clone, Default)]
pub struct ServerOptions {
    /// More flags for kube-apiserver.
    pub flags: Vec<String>,
}

/// A running API server with its etcd, TLS, RBAC and audit log; both end when it is dropped.
pub struct ApiServer {
    pub(super) authority: Authority,
    pub(super) signing: SigningKey,
    pub(super) client: kube::Client,
    pub(super) resources: Mutex<HashMap<(String, String), (ApiResource, bool)>>,
    options: ServerOptions,
    address: SocketAddr,
    etcd: SocketAddr,
    took: Duration,
    // Dropped in this order: the API server does not miss its etcd, and nobody its files.
    api: Mutex<Option<Process>>,
    store: Mutex<Option<Process>>,
    pub(super) folder: TempDir,
}

impl fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiServer")
            .field("address", &self.address)
            .field("folder", &self.folder.path())
            .finish_non_exhaustive()
    }
}

impl ApiServer {
    /// Starts both and waits until the API server is ready. Needs [`netns::enter_or_reexec`].
    ///
    /// # Errors
    /// A program is missing, or does not become ready; the text has the end of its log.
    pub async fn launch(options: ServerOptions) -> Result<Self, Error> {
        let begin = Instant::now();
        let folder = tempfile::Builder::new().prefix("legate-kube-").tempdir()?;
        process::remember(folder.path());
        let ip = netns::address();
        let authority = Authority::new("legate test cluster");
        let signing = SigningKey::generate()?;
        let address = SocketAddr::from((ip, 6443));
        write_files(folder.path(), ip, &authority, &signing)?;
        let config = folder.path().join("admin.kubeconfig");
        let token = folder.path().join("admin.token");
        let url = format!("https://{address}");
        write_kubeconfig(&config, &url, authority.certificate(), &token)?;
        let client = client::connect(&config).await?;
        let mut server = Self {
            folder,
            authority,
            signing,
            client,
            resources: Mutex::default(),
            options,
            address,
            etcd: SocketAddr::from((ip, 2379)),
            took: Duration::ZERO,
            api: Mutex::default(),
            store: Mutex::default(),
        };
        server.start_store().await?;
        server.start().await?;
        server.took = begin.elapsed();
        Ok(server)
    }

    /// How long both took to become ready.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.took
    }

    /// Where it listens, with TLS.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The authority that signed its certificate.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// A folder for files of tests; removed with the API server.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A client that may do everything and repeats no request by itself.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// The kubeconfig of the user who may do everything.
    #[must_use]
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.folder.path().join("admin.kubeconfig")
    }

    /// Stops the API server with SIGTERM; etcd keeps the data.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(&self) -> Result<(), Error> {
        let Some(mut process) = lock(&self.api).take() else {
            return Ok(());
        };
        process.terminate()?;
        process.wait(STOP).map(|_status| ())
    }

    /// Kills the API server; etcd keeps the data.
    pub fn kill(&self) {
        lock(&self.api).take();
    }

    /// Starts the API server again, on the same port and data, and waits until it is ready.
    ///
    /// # Errors
    /// It does not become ready; the text has the end of its log.
    pub async fn start(&self) -> Result<(), Error> {
        self.spawn()?;
        let ready = eventually("/readyz answers 200", START, async || {
            if self.ended() {
                return Some(false);
            }
            let request = http::Request::get("/readyz").body(Vec::new()).ok()?;
            let text = self.client.request_text(request).await.ok()?;
            (text == "ok").then_some(true)
        })
        .await;
        if matches!(ready, Ok(true)) {
            return Ok(());
        }
        let log = lock(&self.api).as_ref().map(Process::log_tail);
        let log = log.unwrap_or_default();
        Err(format!("kube-apiserver does not become ready:\n{log}").into())
    }

    /// Starts the API server again without waiting for it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(&self) -> Result<(), Error> {
        let mut command = Command::new(assets::program("kube-apiserver")?);
        command.args(self.api_flags()).args(&self.options.flags);
        let log = self.folder.path().join("kube-apiserver.log");
        *lock(&self.api) = Some(Process::start("kube-apiserver", command, &log)?);
        Ok(())
    }

    /// Freezes the API server: connections stay and nothing is answered.
    ///
    /// # Errors
    /// It does not run.
    pub fn pause(&self) -> Result<(), Error> {
        lock(&self.api).as_ref().ok_or("not running")?.pause()
    }

    /// Ends [`Self::pause`].
    ///
    /// # Errors
    /// It does not run.
    pub fn resume(&self) -> Result<(), Error> {
        lock(&self.api).as_ref().ok_or("not running")?.resume()
    }

    /// Compacts etcd at its current revision: with a restart after it, continue tokens and old
    /// resource versions are answered with 410.
    ///
    /// # Errors
    /// etcd refuses.
    pub async fn compact(&self) -> Result<(), Error> {
        let answer = self.ask_etcd("/v3/kv/range", r#"{"key":"AA=="}"#).await?;
        let revision = answer.pointer("/header/revision").cloned();
        let revision = revision.ok_or("etcd names no revision")?;
        let body = serde_json::json!({"revision": revision, "physical": true});
        self.ask_etcd("/v3/kv/compaction", &body.to_string())
            .await?;
        Ok(())
    }

    async fn ask_etcd(&self, path: &str, body: &str) -> Result<serde_json::Value, Error> {
        let mut client = Client::connect(self.etcd).await?;
        let host = self.etcd.to_string();
        let body = Bytes::from(body.to_owned());
        let answer = client.request("POST", &host, path, &[], body).await?;
        if !answer.status.is_success() {
            return Err(format!("etcd: {} {}", answer.status, answer.text()).into());
        }
        Ok(answer.json())
    }

    fn ended(&self) -> bool {
        lock(&self.api)
            .as_mut()
            .is_none_or(|process| !matches!(process.ended(), Ok(None)))
    }

    async fn start_store(&self) -> Result<(), Error> {
        let url = format!("http://{}", self.etcd);
        let peers = format!("http://{}:2380", self.etcd.ip());
        let mut command = Command::new(assets::program("etcd")?);
        command
            .args(["--name", "test", "--unsafe-no-fsync", "--log-level", "warn"])
            // Alone, it need not wait for rivals before it leads.
            .args(["--heartbeat-interval", "20", "--election-timeout", "200"])
            .arg("--data-dir")
            .arg(self.folder.path().join("etcd"))
            .args(["--listen-client-urls", &url])
            .args(["--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peers])
            .args(["--initial-advertise-peer-urls", &peers])
            .args(["--initial-cluster", &format!("test={peers}")]);
        let log = self.folder.path().join("etcd.log");
        *lock(&self.store) = Some(Process::start("etcd", command, &log)?);
        eventually("etcd listens", START, async || {
            TcpStream::connect(self.etcd).await.ok()
        })
        .await?;
        Ok(())
    }

    fn api_flags(&self) -> Vec<String> {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        let ip = self.address.ip();
        vec![
            format!("--etcd-servers=http://{}", self.etcd),
            format!("--secure-port={}", self.address.port()),
            format!("--bind-address={ip}"),
            format!("--advertise-address={ip}"),
            "--endpoint-reconciler-type=none".to_owned(),
            format!("--cert-dir={}", file("certificates")),
            format!("--tls-cert-file={}", file("server.crt")),
            format!("--tls-private-key-file={}", file("server.key")),
            format!("--token-auth-file={}", file("tokens.csv")),
            "--authorization-mode=RBAC".to_owned(),
            format!("--service-account-issuer={ISSUER}"),
            format!("--service-account-key-file={}", file("accounts.pub")),
            format!(
                "--service-account-signing-key-file={}",
                file("accounts.key")
            ),
            format!("--service-cluster-ip-range={}", netns::SERVICES),
            // Its controller, which makes default accounts, does not run here.
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            format!("--audit-log-path={}", self.audit_path().display()),
            format!("--audit-policy-file={}", file("audit-policy.json")),
            // Megabytes: never rotated.
            "--audit-log-maxsize=10000".to_owned(),
        ]
    }

    pub(super) fn audit_path(&self) -> PathBuf {
        self.folder.path().join("audit.log")
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn write_files(
    folder: &Path,
    ip: Ipv4Addr,
    authority: &Authority,
    signing: &SigningKey,
) -> Result<(), Error> {
    let ip = ip.to_string();
    let names = [ip.as_str(), "kubernetes.default.svc", "localhost"];
    let serving = authority.issue(&names);
    let (private, public) = signing.pem();
    // Only this run knows it; the API server is reachable from this network namespace alone.
    let token = serving_token();
    for (name, text) in [
        ("server.crt", serving.certificate.as_str()),
        ("server.key", serving.key.as_str()),
        ("accounts.key", private),
        ("accounts.pub", public),
        ("audit-policy.json", AUDIT_POLICY),
        ("admin.token", token.as_str()),
        (
            "tokens.csv",
            &format!("{token},{ADMIN},{ADMIN},\"system:masters\"\n"),
        ),
    ] {
        write(&folder.join(name), text)?;
    }
    Ok(())
}

/// A random word.
fn serving_token() -> String {
    use std::hash::{BuildHasher, RandomState};
    format!("admin-{:016x}", RandomState::new().hash_one("token"))
}
