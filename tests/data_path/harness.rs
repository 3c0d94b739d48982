//! One builder for all cases: manifests in, requests out.
//!
//! A request is written `[METHOD] /path [host=H] [draw=N] [peer=IP] [name:value]…`; `_` in a header
//! value stands for a blank. An answer is
//! `a:/path` (200 from backend `a`, which saw that path), a bare status, or `301 <location>`.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use bytes::Bytes;
use legate::run::{RunOptions, Running};
use legate_compiler::Options;
use legate_gateway::{GatewayOptions, Hooks, LimitOptions};
use legate_testkit::{Answer, Behaviour, Client, Origin, Pair};

/// Manifests and options of one case.
pub(crate) struct Case {
    manifests: Vec<String>,
    backends: Vec<(String, String, Behaviour)>,
    patience: Option<Duration>,
    workers: usize,
    limits: LimitOptions,
    pub(crate) options: Options,
}

/// A running case.
pub(crate) struct Gate {
    pub(crate) running: Running,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) origins: BTreeMap<String, Origin>,
    draw: Arc<AtomicU32>,
    peer: Arc<Mutex<Option<IpAddr>>>,
    /// Connections that each worker accepted.
    pub(crate) accepted: Arc<Mutex<HashMap<ThreadId, usize>>>,
    /// Where the access log is, unless the case says otherwise.
    _logs: tempfile::TempDir,
}

/// Nothing yet.
pub(crate) fn empty() -> Case {
    Case {
        manifests: Vec::new(),
        backends: Vec::new(),
        patience: None,
        workers: 1,
        limits: LimitOptions::default(),
        options: Options {
            missing: legate_compiler::MissingRefs::Error,
            ..Options::default()
        },
    }
}

/// The base of most tables: Listener 8080 HTTP XFP, Host `*` with action Route.
pub(crate) fn base() -> Case {
    empty().l8080().host(
        "any",
        "hostname: \"*\"\nrequestPolicy: {insecure: {action: Route}}",
    )
}

/// A manifest of a kind with this spec (flow or block YAML), in a namespace.
pub(crate) fn manifest(kind: &str, namespace: &str, name: &str, spec: &str) -> String {
    let spec = if spec.trim().is_empty() {
        " {}".to_owned()
    } else {
        format!(
            "\n{}",
            spec.lines()
                .map(|line| format!("  {line}\n"))
                .collect::<String>()
        )
    };
    format!(
        "apiVersion: getambassador.io/v3alpha1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:{spec}\n"
    )
}

impl Case {
    /// Adds a document as it is.
    pub(crate) fn raw(mut self, document: &str) -> Self {
        self.manifests.push(document.to_owned());
        self
    }

    /// Adds an object in namespace `default`.
    pub(crate) fn object(self, kind: &str, name: &str, spec: &str) -> Self {
        let document = manifest(kind, "default", name, spec);
        self.raw(&document)
    }

    /// Listener 8080, HTTP, XFP, from ALL.
    pub(crate) fn l8080(self) -> Self {
        self.listener("http", 8080, "protocol: HTTP\nsecurityModel: XFP")
    }

    /// Listener 8443, HTTPS, XFP, from ALL.
    pub(crate) fn l8443(self) -> Self {
        self.listener("https", 8443, "protocol: HTTPS\nsecurityModel: XFP")
    }

    /// A Listener from ALL with these further fields.
    pub(crate) fn listener(self, name: &str, port: u16, spec: &str) -> Self {
        let spec = format!("port: {port}\nhostBinding: {{namespace: {{from: ALL}}}}\n{spec}");
        self.object("Listener", name, &spec)
    }

    /// A Host.
    pub(crate) fn host(self, name: &str, spec: &str) -> Self {
        self.object("Host", name, spec)
    }

    /// A Host with a self-signed certificate for its hostname and these further fields.
    pub(crate) fn tls_host(self, name: &str, hostname: &str, spec: &str) -> Self {
        let sans: Vec<&str> = if hostname == "*" {
            vec!["fallback.test"]
        } else {
            vec![hostname]
        };
        let pair = Pair::self_signed(&sans);
        let secret = format!("{name}-cert");
        self.raw(&pair.secret("default", &secret)).host(
            name,
            &format!("hostname: \"{hostname}\"\ntlsSecret: {{name: {secret}}}\n{spec}"),
        )
    }

    /// The ambassador Module with this config.
    pub(crate) fn module(self, config: &str) -> Self {
        let config: String = config.lines().map(|line| format!("  {line}\n")).collect();
        self.object("Module", "ambassador", &format!("config:\n{config}"))
    }

    /// A Mapping with a backend of its own name; hostname `*` unless `spec` names one.
    pub(crate) fn map(self, name: &str, spec: &str) -> Self {
        let named = spec
            .lines()
            .any(|line| line.trim_start().starts_with("hostname:"));
        let hostname = if named { "" } else { "hostname: \"*\"\n" };
        let spec = format!("{hostname}{spec}");
        self.bare(name, &spec)
    }

    /// A Mapping with a backend of its own name and no implied hostname.
    pub(crate) fn bare(self, name: &str, spec: &str) -> Self {
        self.bare_in("default", name, spec)
    }

    /// The same in a namespace.
    pub(crate) fn bare_in(self, namespace: &str, name: &str, spec: &str) -> Self {
        let own = spec
            .lines()
            .any(|line| line.trim_start().starts_with("service:"));
        let spec = if own {
            spec.to_owned()
        } else {
            format!("service: {name}.{namespace}\n{spec}")
        };
        let case = if own {
            self
        } else {
            self.backend(namespace, name)
        };
        let document = manifest("Mapping", namespace, name, &spec);
        case.raw(&document)
    }

    /// A backend: a Service without cluster IP and an EndpointSlice that leads to a real origin.
    pub(crate) fn backend(self, namespace: &str, name: &str) -> Self {
        self.backend_with(namespace, name, Behaviour::default())
    }

    /// A backend with a behaviour.
    pub(crate) fn backend_with(mut self, namespace: &str, name: &str, how: Behaviour) -> Self {
        if !self
            .backends
            .iter()
            .any(|(ns, other, _)| ns == namespace && other == name)
        {
            self.backends
                .push((namespace.to_owned(), name.to_owned(), how));
        }
        self
    }

    /// Changes the compile options.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(&mut self.options);
        self
    }

    /// Clients may take so long to begin, and for a request's headers.
    pub(crate) fn patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// So many workers instead of one.
    pub(crate) fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Room for so many counters of limits.
    pub(crate) fn cells(mut self, cells: usize) -> Self {
        self.limits.cells = cells;
        self
    }

    /// The store that the gateway is started with.
    pub(crate) fn store(mut self, url: &str) -> Self {
        self.limits.store = Some(url.to_owned());
        self
    }

    /// Starts backends and gateway.
    pub(crate) async fn start(self) -> Gate {
        let folder = tempfile::tempdir().unwrap();
        let logs = tempfile::tempdir().unwrap();
        let mut documents = with_log(self.manifests, &logs.path().join("access.log"));
        let mut origins = BTreeMap::new();
        for (namespace, name, how) in self.backends {
            let origin = Origin::start_with(&name, how, None).await;
            documents.push(service(&namespace, &name, 80, &[origin.address()]));
            origins.insert(name, origin);
        }
        std::fs::write(folder.path().join("all.yaml"), documents.join("\n---\n")).unwrap();
        let draw = Arc::new(AtomicU32::new(0));
        let peer = Arc::new(Mutex::new(None));
        let seen = Arc::clone(&peer);
        let accepted = Arc::new(Mutex::new(HashMap::new()));
        let counts = Arc::clone(&accepted);
        let hooks = Hooks {
            draw: Some(Arc::clone(&draw)),
            peer: Some(Arc::new(move |real: SocketAddr| {
                // It is asked by the worker that accepts.
                let worker = thread::current().id();
                *counts.lock().unwrap().entry(worker).or_insert(0) += 1;
                seen.lock()
                    .unwrap()
                    .map_or(real, |ip| SocketAddr::new(ip, real.port()))
            })),
            on_port_zero: true,
            patience: self.patience,
        };
        let options = RunOptions {
            paths: vec![PathBuf::from(folder.path())],
            compile: self.options,
            gateway: GatewayOptions {
                workers: self.workers,
                bind: Some(IpAddr::from([127, 0, 0, 1])),
                hooks,
                limits: self.limits,
                ..GatewayOptions::default()
            },
            admin: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            ..RunOptions::default()
        };
        let running = tokio::task::spawn_blocking(move || Running::start(options))
            .await
            .unwrap()
            .expect("the gateway starts");
        Gate {
            running,
            folder,
            origins,
            draw,
            peer,
            accepted,
            _logs: logs,
        }
    }

    /// Starts, and checks requests on 8080 against answers.
    pub(crate) async fn check(self, rows: &[(&str, &str)]) -> Gate {
        let gate = self.start().await;
        gate.rows(8080, rows).await;
        gate
    }

    /// Starts, and expects these diagnostic codes, and no other errors.
    pub(crate) async fn diagnoses(self, codes: &[&str]) -> Gate {
        let gate = self.start().await;
        gate.diagnoses(codes);
        gate
    }
}

/// Adds where the access log goes, so that it is written like any other, but not between the lines of
/// the test runner.
fn with_log(mut documents: Vec<String>, path: &Path) -> Vec<String> {
    let setting = format!("envoy_log_path: \"{}\"", path.display());
    let ours = |it: &&mut String| it.contains("kind: Module") && it.contains("namespace: default");
    match documents.iter_mut().find(ours) {
        Some(module) if module.contains("envoy_log_path") => {}
        // Its config comes last.
        Some(module) => module.push_str(&format!("    {setting}\n")),
        None => {
            let spec = format!("config:\n  {setting}");
            documents.push(manifest("Module", "default", "ambassador", &spec));
        }
    }
    documents
}

/// Manifests of a Service without cluster IP and its endpoints.
pub(crate) fn service(namespace: &str, name: &str, port: u16, addresses: &[SocketAddr]) -> String {
    let mut text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{ports: [{{name: http, port: {port}}}]}}\n"
    );
    for (index, address) in addresses.iter().enumerate() {
        text.push_str(&format!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {name}-{index}\n  namespace: {namespace}\n  \
             labels: {{kubernetes.io/service-name: {name}}}\naddressType: IPv4\n\
             ports: [{{name: http, port: {}}}]\nendpoints: [{{addresses: [\"{}\"], conditions: {{ready: true}}}}]\n",
            address.port(),
            address.ip()
        ));
    }
    text
}

/// A request in the short notation.
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) host: String,
    pub(crate) draw: u32,
    pub(crate) peer: Option<IpAddr>,
    pub(crate) headers: Vec<(String, String)>,
}

impl Request {
    pub(crate) fn parse(text: &str) -> Self {
        let mut words = text.split_whitespace().peekable();
        let method = words
            .next_if(|word| !word.starts_with(['/', '*']))
            .unwrap_or("GET")
            .to_owned();
        let path = words.next().unwrap_or("/").to_owned();
        let mut request = Self {
            method,
            path,
            host: "t".to_owned(),
            draw: 0,
            peer: None,
            headers: Vec::new(),
        };
        for word in words {
            if let Some(host) = word.strip_prefix("host=") {
                request.host = host.to_owned();
            } else if let Some(draw) = word.strip_prefix("draw=") {
                request.draw = draw.parse().unwrap();
            } else if let Some(peer) = word.strip_prefix("peer=") {
                request.peer = Some(peer.parse().unwrap());
            } else if let Some((name, value)) = word.split_once(':') {
                request
                    .headers
                    .push((name.to_owned(), value.replace('_', " ")));
            } else {
                panic!("what is `{word}` in `{text}`?");
            }
        }
        request
    }
}

impl Gate {
    /// Where a declared port is bound.
    pub(crate) fn address(&self, port: u16) -> SocketAddr {
        self.running.bound(port).unwrap_or_else(|| {
            panic!(
                "port {port} is not open; diagnostics: {:#?}",
                self.running.diagnostics()
            )
        })
    }

    /// A page of the admin server.
    pub(crate) async fn page(&self, path: &str) -> String {
        let address = self.running.admin().expect("an admin server");
        let mut client = Client::connect(address).await.unwrap();
        client.get("admin", path).await.unwrap().text()
    }

    /// A metric of a cluster; 0 where it is not shown.
    pub(crate) async fn cluster_metric(&self, name: &str, cluster: &str) -> u64 {
        self.metric(&format!("{name}{{envoy_cluster_name=\"{cluster}\"}}"))
            .await
    }

    /// The lines of a scrape whose names start so.
    pub(crate) async fn metrics(&self, start: &str) -> Vec<String> {
        let text = self.page("/metrics").await;
        let lines = text.lines().filter(|line| line.starts_with(start));
        lines.map(str::to_owned).collect()
    }

    /// New connections seem to come from the request's peer.
    pub(crate) fn set_peer(&self, request: &Request) {
        *self.peer.lock().unwrap() = request.peer;
    }

    /// Sends one request on a fresh connection.
    pub(crate) async fn send(&self, port: u16, text: &str) -> Answer {
        let request = Request::parse(text);
        self.set_peer(&request);
        let mut client = Client::connect(self.address(port)).await.unwrap();
        self.send_on(&mut client, &request).await
    }

    /// Sends one request on an open connection.
    pub(crate) async fn send_on(&self, client: &mut Client, request: &Request) -> Answer {
        self.draw.store(request.draw, Ordering::SeqCst);
        let headers: Vec<(&str, &str)> = request
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        client
            .request(
                &request.method,
                &request.host,
                &request.path,
                &headers,
                Bytes::new(),
            )
            .await
            .unwrap_or_else(|error| panic!("{} {}: {error}", request.method, request.path))
    }

    /// Checks requests against answers.
    pub(crate) async fn rows(&self, port: u16, rows: &[(&str, &str)]) {
        for (request, expected) in rows {
            let answer = self.send(port, request).await;
            assert_eq!(
                short(&answer),
                *expected,
                "request `{request}`; diagnostics: {:#?}",
                self.running.diagnostics()
            );
        }
    }

    /// The value of a metric, written with its labels; 0 when it is not there.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let page = self.page("/metrics").await;
        let mut lines = page.lines();
        let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }

    /// Expects these codes among the diagnostics, and no errors besides.
    pub(crate) fn diagnoses(&self, codes: &[&str]) {
        let all = self.running.diagnostics();
        for code in codes {
            assert!(
                all.iter().any(|item| item.code.as_str() == *code),
                "no {code} among {all:#?}"
            );
        }
        for item in all.iter() {
            let code = item.code.as_str();
            assert!(
                !code.starts_with('E') || codes.contains(&code),
                "unexpected {item:#?}"
            );
        }
    }
}

/// An answer in the short notation.
pub(crate) fn short(answer: &Answer) -> String {
    let status = answer.status.as_u16();
    if status == 200 {
        let json = answer.json();
        if let (Some(name), Some(path)) = (json["name"].as_str(), json["path"].as_str()) {
            return format!("{name}:{path}");
        }
    }
    match answer.header("location") {
        Some(location) => format!("{status} {location}"),
        None => status.to_string(),
    }
}

/// What the backend saw of a header: its values.
pub(crate) fn upstream_header(answer: &Answer, name: &str) -> Vec<String> {
    answer.json()["headers"][name]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|value| value.as_str().map(str::to_owned))
        .collect()
}
