//! A real HTTP origin that tells what it saw.
//!
//! It speaks HTTP/1.1 and HTTP/2 (prior knowledge), over TCP or TLS, answers 200 with a JSON
//! description of the request, and obeys [`Behaviour`] or the request's `x-test-*` headers. A gRPC
//! request gets its own body back, and trailers: `grpc-status: 0` and those of the request.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What an origin does besides echoing.
#[derive(Debug, Clone, Default)]
pub struct Behaviour {
    /// Waits this long before it answers.
    pub delay: Duration,
    /// Headers that every answer carries.
    pub headers: Vec<(String, String)>,
    /// Status of every answer; 200 if unset.
    pub status: Option<u16>,
}

/// Counts of what an origin saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// Accepted connections.
    pub connections: AtomicUsize,
    /// Requests.
    pub requests: AtomicUsize,
}

/// A running origin; stops when dropped.
#[derive(Debug)]
pub struct Origin {
    name: String,
    address: SocketAddr,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Origin {
    /// An origin on a free loopback port.
    pub async fn start(name: &str) -> Self {
        Self::start_with(name, Behaviour::default(), None).await
    }

    /// An origin with a behaviour, and TLS if a configuration is given.
    pub async fn start_with(
        name: &str,
        behaviour: Behaviour,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free loopback port");
        Self::serve(name, listener, behaviour, tls)
    }

    /// An origin on a socket that is bound already.
    #[must_use]
    pub fn serve(
        name: &str,
        listener: TcpListener,
        behaviour: Behaviour,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> Self {
        let address = listener.local_addr().expect("bound");
        let seen = Arc::new(Seen::default());
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            behaviour,
            seen: Arc::clone(&seen),
        });
        let task = tokio::spawn(accept(listener, shared, tls.map(TlsAcceptor::from)));
        Self {
            name: name.to_owned(),
            address,
            seen,
            task,
        }
    }

    /// Its name, as in the `name` field of its answers.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it saw so far.
    #[must_use]
    pub fn seen(&self) -> &Seen {
        &self.seen
    }
}

#[derive(Debug)]
struct Shared {
    name: String,
    behaviour: Behaviour,
    seen: Arc<Seen>,
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, tls: Option<TlsAcceptor>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        shared.seen.connections.fetch_add(1, Ordering::SeqCst);
        // Best effort: a test that cares for latency would notice.
        let _ = stream.set_nodelay(true);
        let shared = Arc::clone(&shared);
        let tls = tls.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&shared), request));
            let builder = auto::Builder::new(TokioExecutor::new());
            // A failed connection is the peer's business; the test looks at its own end.
            match tls {
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let _ = builder
                            .serve_connection_with_upgrades(TokioIo::new(stream), service)
                            .await;
                    }
                }
                None => {
                    let _ = builder
                        .serve_connection_with_upgrades(TokioIo::new(stream), service)
                        .await;
                }
            }
        });
    }
}

async fn answer(
    shared: Arc<Shared>,
    mut request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    shared.seen.requests.fetch_add(1, Ordering::SeqCst);
    if request.headers().contains_key(http::header::UPGRADE) {
        return Ok(upgrade(&shared, &mut request).map(Full::boxed));
    }
    if request
        .headers()
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|it| it == "application/grpc")
    {
        return Ok(grpc(request).await);
    }
    let headers = request.headers().clone();
    let number = |name: &str| headers.get(name)?.to_str().ok()?.parse::<u64>().ok();
    let (parts, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let delay = number("x-test-delay-ms").map_or(shared.behaviour.delay, Duration::from_millis);
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    let status = number("x-test-status")
        .and_then(|code| u16::try_from(code).ok())
        .or(shared.behaviour.status)
        .unwrap_or(200);
    let described = json!({
        "name": shared.name,
        "method": parts.method.as_str(),
        "path": parts.uri.path_and_query().map_or("", |path| path.as_str()),
        "host": parts.headers.get("host").and_then(|host| host.to_str().ok())
            .or(parts.uri.authority().map(http::uri::Authority::as_str)),
        "protocol": format!("{:?}", parts.version),
        "headers": described(&parts.headers),
        "body_bytes": body.len(),
        "body": String::from_utf8_lossy(&body.slice(..body.len().min(4096))),
    });
    let body = match number("x-test-bytes").and_then(|bytes| usize::try_from(bytes).ok()) {
        Some(bytes) => Bytes::from(vec![b'x'; bytes]),
        None => Bytes::from(described.to_string()),
    };
    let mut response = Response::new(Full::new(body).boxed());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    for (name, value) in &shared.behaviour.headers {
        if let (Ok(name), Ok(value)) = (
            http::HeaderName::try_from(name.as_str()),
            http::HeaderValue::try_from(value.as_str()),
        ) {
            response.headers_mut().append(name, value);
        }
    }
    Ok(response)
}

/// Echoes a body, and its trailers next to a gRPC status.
async fn grpc(request: Request<Incoming>) -> Response<BoxBody<Bytes, Infallible>> {
    let (mut trailers, body) = match request.into_body().collect().await {
        Ok(body) => (
            body.trailers().cloned().unwrap_or_default(),
            body.to_bytes(),
        ),
        Err(_) => (HeaderMap::new(), Bytes::new()),
    };
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    let body = Full::new(body).with_trailers(async move { Some(Ok(trailers)) });
    let mut response = Response::new(body.boxed());
    let kind = http::HeaderValue::from_static("application/grpc");
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, kind);
    response
}

/// Accepts any upgrade and echoes bytes.
fn upgrade(shared: &Shared, request: &mut Request<Incoming>) -> Response<Full<Bytes>> {
    let token = request.headers().get(http::header::UPGRADE).cloned();
    let accept = request
        .headers()
        .get("sec-websocket-key")
        .map(|key| tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes()));
    let upgraded = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgraded.await else { return };
        let mut io = TokioIo::new(upgraded);
        let mut buffer = [0; 4096];
        while let Ok(read) = io.read(&mut buffer).await {
            let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            if io.write_all(bytes).await.is_err() || io.flush().await.is_err() {
                break;
            }
        }
    });
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(
        http::header::CONNECTION,
        http::HeaderValue::from_static("upgrade"),
    );
    if let Some(token) = token {
        headers.insert(http::header::UPGRADE, token);
    }
    if let Some(Ok(accept)) = accept.map(http::HeaderValue::try_from) {
        headers.insert("sec-websocket-accept", accept);
    }
    if let Ok(name) = http::HeaderValue::try_from(shared.name.as_str()) {
        headers.insert("x-origin", name);
    }
    response
}

fn described(headers: &HeaderMap) -> Value {
    let mut map = serde_json::Map::new();
    for name in headers.keys() {
        let values: Vec<String> = headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .collect();
        map.insert(name.as_str().to_owned(), json!(values));
    }
    Value::Object(map)
}
