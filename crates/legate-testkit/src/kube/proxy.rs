//! A proxy between the operator and the API server, for faults that a healthy API server never
//! shows on demand.
//!
//! TLS is end to end in Kubernetes, so the proxy ends it with a certificate of the same authority
//! and makes a connection of its own for each request; the bearer token goes through untouched.
//! A request that no [`Rule`] matches sees the real API server.

mod body;
mod rules;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use self::body::Cut;
pub use self::rules::{Injection, Placed, Rule};
use super::server::lock;
use super::{ApiServer, netns};
use crate::certs::{Authority, Pair};
use crate::client::Error;

type Body = UnsyncBoxBody<Bytes, Error>;

/// A reverse proxy in front of an API server; stops when dropped.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    upstream: SocketAddr,
    acceptor: TlsAcceptor,
    connector: TlsConnector,
    rules: Mutex<Vec<Placed>>,
    /// Every change ends the connections that exist.
    cut: watch::Sender<u64>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("upstream", &self.upstream)
            .finish_non_exhaustive()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.refuse();
    }
}

impl FaultProxy {
    /// A proxy on an address of its own.
    ///
    /// # Errors
    /// It cannot listen, or a certificate is not taken.
    pub async fn start(server: &ApiServer) -> Result<Self, Error> {
        let address = SocketAddr::from((netns::address(), 6443));
        let serving = server.authority().issue(&[&address.ip().to_string()]);
        let shared = Arc::new(Shared {
            upstream: server.address(),
            acceptor: acceptor(&serving)?,
            connector: connector(server.authority())?,
            rules: Mutex::default(),
            cut: watch::Sender::new(0),
        });
        let proxy = Self {
            address,
            shared,
            accepting: Mutex::default(),
        };
        proxy.accept().await?;
        Ok(proxy)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Places a rule before those that are there. It stands until it is used up or removed.
    pub fn place(&self, rule: Rule) -> Placed {
        let placed = Placed::new(rule);
        lock(&self.shared.rules).insert(0, placed.clone());
        placed
    }

    /// Removes all rules.
    pub fn clear(&self) {
        for placed in lock(&self.shared.rules).drain(..) {
            placed.remove();
        }
    }

    /// Ends every connection at once, watches included; new ones are taken.
    pub fn cut(&self) {
        self.shared.cut.send_modify(|generation| *generation += 1);
    }

    /// Ends every connection and refuses new ones, as if nothing ran there.
    pub fn refuse(&self) {
        if let Some(task) = lock(&self.accepting).take() {
            task.abort();
        }
        self.cut();
    }

    /// Takes connections again after [`Self::refuse`].
    ///
    /// # Errors
    /// It cannot listen.
    pub async fn accept(&self) -> Result<(), Error> {
        let listener = TcpListener::bind(self.address).await?;
        let shared = Arc::clone(&self.shared);
        let task = tokio::spawn(async move {
            while let Ok((stream, _peer)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        if let Some(old) = lock(&self.accepting).replace(task) {
            old.abort();
        }
        Ok(())
    }
}

/// One connection, until it ends or is cut.
async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let mut cut = shared.cut.subscribe();
    let work = async {
        let stream = shared.acceptor.accept(stream).await?;
        let service = service_fn(|request| answer(request, Arc::clone(&shared)));
        auto::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service)
            .await
    };
    tokio::select! {
        // Clients that go away are nobody's fault.
        _ended = work => {}
        _changed = cut.changed() => {}
    }
}

/// An error ends the connection without an answer.
async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Body>, Error> {
    let injection = {
        let mut rules = lock(&shared.rules);
        rules.retain(Placed::stands);
        rules.iter().find_map(|placed| placed.take(&request))
    };
    match injection {
        None => forward(request, &shared).await,
        Some(Injection::Delay(delay)) => {
            tokio::time::sleep(delay).await;
            forward(request, &shared).await
        }
        Some(Injection::Until(mut go)) => {
            // A sender that is gone lets go.
            let _ = go.wait_for(|go| *go).await;
            forward(request, &shared).await
        }
        Some(Injection::Status(status)) => Ok(failure(status, None)),
        Some(Injection::RetryAfter(status, after)) => Ok(failure(status, Some(after))),
        Some(Injection::Body(text)) => Ok(json(StatusCode::OK, text)),
        Some(Injection::CutAfter(bytes)) => {
            let response = forward(request, &shared).await?;
            Ok(response.map(|body| Cut::new(body, bytes).boxed_unsync()))
        }
        Some(Injection::Close) => Err("closed on purpose".into()),
        Some(Injection::Silence) => std::future::pending().await,
    }
}

/// Sends a request on and its answer back, on a connection of its own.
async fn forward(request: Request<Incoming>, shared: &Shared) -> Result<Response<Body>, Error> {
    let stream = TcpStream::connect(shared.upstream).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::from(shared.upstream.ip());
    let stream = shared.connector.connect(name, stream).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut onward = Request::builder().method(parts.method).uri(path);
    if let Some(headers) = onward.headers_mut() {
        *headers = parts.headers;
        headers.insert(header::HOST, shared.upstream.to_string().try_into()?);
    }
    let response = sender.send_request(onward.body(body)?).await?;
    Ok(response.map(|body| body.map_err(Error::from).boxed_unsync()))
}

/// A `Status` as the API server writes it.
fn failure(status: StatusCode, retry_after: Option<Duration>) -> Response<Body> {
    let reason = match status.as_u16() {
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "",
    };
    let text = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "injected by the test", "reason": reason, "code": status.as_u16(),
    });
    let mut response = json(status, text.to_string());
    if let Some(after) = retry_after {
        let seconds = header::HeaderValue::from(after.as_secs());
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    response
}

fn json(status: StatusCode, text: String) -> Response<Body> {
    let body = Full::new(Bytes::from(text)).map_err(|never: Infallible| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn acceptor(pair: &Pair) -> Result<TlsAcceptor, Error> {
    let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes())?;
    let mut config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain.collect::<Result<_, _>>()?, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn connector(authority: &Authority) -> Result<TlsConnector, Error> {
    let mut roots = rustls::RootCertStore::empty();
    let certificate = authority.certificate().as_bytes();
    roots.add(CertificateDer::from_pem_slice(certificate)?)?;
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
