//! Sending one request: choosing an endpoint, getting a connection, and the retries that are safe
//! without any policy (spec/services §3.4):
//!
//! - connect or TLS failed, so nothing was sent: up to two other endpoints;
//! - the connection died and the request comes back unsent: any method, once;
//! - a reused connection closed before a response byte: GET, HEAD, OPTIONS without body, once.

use std::error::Error;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant as StdInstant;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::time::Instant;

use super::balance::{self, Tried};
use super::body::{RequestBody, RequestBodyError, UpstreamBody};
use super::cluster::{Active, ClusterHandle};
use super::http2;
use super::pool::{Bucket, Held, Http1, Lease, WorkerPool};
use crate::error::{ErrorKind, ProxyError};

/// Other endpoints that are tried when a connect fails.
const OTHER_ENDPOINTS: u32 = 2;

/// What a caller says about a request, and what it learns about its way.
#[derive(Debug, Default)]
pub(crate) struct Call {
    /// In: the request asks for an upgrade, and a 101 is a valid answer.
    pub(crate) upgrade: bool,
    /// In: the request has no body, whatever the body type says.
    pub(crate) bodyless: bool,
    /// Out: the endpoint of the last attempt.
    pub(crate) upstream: Option<SocketAddr>,
    /// Out: our address on the last connection.
    pub(crate) local: Option<SocketAddr>,
    /// Out: attempts made, connects included.
    pub(crate) attempts: u32,
    /// Out: when the last attempt was handed to its connection.
    pub(crate) sent_at: Option<StdInstant>,
}

type Sent = Result<Response<UpstreamBody>, Failed>;

/// A failed attempt.
struct Failed {
    error: ProxyError,
    next: Next,
}

/// What the rules above allow after a failed attempt.
enum Next {
    /// Nothing: the failure is the result.
    Stop,
    /// The connect failed: another endpoint, with the untouched request.
    Elsewhere(Request<RequestBody>),
    /// Once more, on a fresh connection, with the request as it was.
    Again(Request<RequestBody>),
}

/// A connection at hand for one attempt.
struct Attempt<'a> {
    pool: &'a WorkerPool,
    cluster: &'a Arc<ClusterHandle>,
    address: SocketAddr,
    /// No pooled connection may be used.
    fresh: bool,
    /// A second sending was not made yet.
    may_resend: bool,
}

// === impl WorkerPool ===

impl WorkerPool {
    /// Sends a request to a cluster and waits for the response's head.
    ///
    /// The request has its final headers, `host` included, and an origin-form URI. Dropping the
    /// future abandons the request: its connection is closed (HTTP/2: its stream reset).
    pub(crate) async fn send<B>(
        self: &Rc<Self>,
        cluster: &Arc<ClusterHandle>,
        request: Request<B>,
        call: &mut Call,
    ) -> Result<Response<UpstreamBody>, ProxyError>
    where
        B: http_body::Body<Data = Bytes> + Unpin + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let mut request = request.map(|body| {
            if call.bodyless || body.is_end_stream() {
                RequestBody::Empty
            } else {
                RequestBody::streaming(body)
            }
        });
        if cluster.is_http2() && !call.upgrade {
            http2::shape(&mut request, cluster.is_tls())?;
        } else {
            *request.version_mut() = Version::HTTP_11;
        }
        self.attempts(cluster, request, call).await
    }

    async fn attempts(
        &self,
        cluster: &Arc<ClusterHandle>,
        mut request: Request<RequestBody>,
        call: &mut Call,
    ) -> Result<Response<UpstreamBody>, ProxyError> {
        if cluster.endpoints.list().pending {
            cluster.endpoints.settled(cluster.connect_timeout()).await;
        }
        let mut tried = Tried::default();
        let mut failure = None;
        let mut connect_failures = 0;
        let mut resent = false;
        loop {
            let Some(address) = choose(cluster, &tried, resent) else {
                return Err(failure.unwrap_or(ProxyError::new(ErrorKind::NoHealthyUpstream)));
            };
            tried.push(address);
            call.attempts = call.attempts.saturating_add(1);
            call.upstream = Some(address);
            let attempt = Attempt {
                pool: self,
                cluster,
                address,
                fresh: resent,
                may_resend: !resent,
            };
            let sent = if call.upgrade {
                attempt.upgrade(request, call).await
            } else if cluster.is_http2() {
                attempt.http2(request, call).await
            } else {
                attempt.http1(request, call).await
            };
            let Failed { error, next } = match sent {
                Ok(response) => return Ok(response),
                Err(failed) => failed,
            };
            match next {
                Next::Elsewhere(unsent) if connect_failures < OTHER_ENDPOINTS => {
                    connect_failures += 1;
                    request = unsent;
                }
                Next::Again(unsent) => {
                    resent = true;
                    request = unsent;
                }
                Next::Elsewhere(_) | Next::Stop => return Err(error),
            }
            failure = Some(error);
        }
    }
}

/// The next endpoint: one that was not tried; a resent request may go where it was, a request
/// whose connect failed may not.
fn choose(cluster: &ClusterHandle, tried: &Tried, resent: bool) -> Option<SocketAddr> {
    let list = cluster.endpoints.list();
    balance::next(&list.addresses, &cluster.cursor, tried).or_else(|| {
        resent
            .then(|| balance::next(&list.addresses, &cluster.cursor, &Tried::default()))
            .flatten()
    })
}

// === impl Attempt ===

impl Attempt<'_> {
    async fn http1(&self, request: Request<RequestBody>, call: &mut Call) -> Sent {
        let class = self.cluster.transport.load().class;
        let bucket = self.pool.bucket(class, self.address);
        let now = Instant::now();
        let pooled = if self.fresh {
            None
        } else {
            bucket.take(now, self.cluster.max_lifetime())
        };
        call.sent_at = Some(now.into_std());
        match pooled {
            Some(connection) => self.on_http1(connection, bucket, true, request, call).await,
            None => match Box::pin(self.connect_http1()).await {
                Ok((connection, bucket)) => {
                    call.sent_at = Some(StdInstant::now());
                    self.on_http1(connection, bucket, false, request, call).await
                }
                Err(error) => Err(Failed::elsewhere(error, request)),
            },
        }
    }

    async fn connect_http1(&self) -> Result<(Http1, Rc<Bucket>), ProxyError> {
        let transport = self.cluster.transport.load_full();
        let bucket = self.pool.bucket(transport.class, self.address);
        let connection = self
            .pool
            .open_http1(self.cluster, &transport, &bucket)
            .await?;
        Ok((connection, bucket))
    }

    async fn on_http1(
        &self,
        mut connection: Http1,
        bucket: Rc<Bucket>,
        reused: bool,
        request: Request<RequestBody>,
        call: &mut Call,
    ) -> Sent {
        let counted = Active::request(self.cluster.shard(self.pool.worker));
        call.local = connection.local;
        connection.heard.clear();
        let spare = self.spare(reused, &request);
        match connection.sender.try_send_request(request).await {
            Ok(response) => {
                check_http1(&response, false)?;
                let lease = Lease {
                    connection: Held::Http1 {
                        connection,
                        bucket,
                        idle_timeout: self.cluster.idle_timeout(),
                    },
                    request: counted,
                };
                Ok(response.map(|incoming| UpstreamBody::new(incoming, Some(lease))))
            }
            Err(error) => {
                let spare = spare.filter(|_| !connection.heard.get());
                Err(self.failed(error, spare))
            }
        }
    }

    /// An upgrade has a connection of its own, HTTP/1.1 whatever the cluster speaks.
    async fn upgrade(&self, request: Request<RequestBody>, call: &mut Call) -> Sent {
        let (mut connection, _) = match Box::pin(self.connect_http1()).await {
            Ok(opened) => opened,
            Err(error) => return Err(Failed::elsewhere(error, request)),
        };
        let counted = Active::request(self.cluster.shard(self.pool.worker));
        call.local = connection.local;
        call.sent_at = Some(StdInstant::now());
        match connection.sender.try_send_request(request).await {
            Ok(response) => {
                check_http1(&response, true)?;
                let lease = Lease {
                    connection: Held::Single(connection),
                    request: counted,
                };
                // After 101 the stream belongs to whoever takes the upgrade.
                let lease = (response.status() != StatusCode::SWITCHING_PROTOCOLS).then_some(lease);
                Ok(response.map(|incoming| UpstreamBody::new(incoming, lease)))
            }
            Err(error) => Err(self.failed(error, None)),
        }
    }

    async fn http2(&self, request: Request<RequestBody>, call: &mut Call) -> Sent {
        let stream = match self
            .pool
            .stream(self.cluster, self.address, self.fresh)
            .await
        {
            Ok(stream) => stream,
            Err(error) => return Err(Failed::elsewhere(error, request)),
        };
        let counted = Active::request(self.cluster.shard(self.pool.worker));
        call.local = stream.connection.local;
        call.sent_at = Some(StdInstant::now());
        let spare = self.spare(stream.reused, &request);
        let sending = stream
            .connection
            .sender
            .borrow_mut()
            .try_send_request(request);
        match sending.await {
            Ok(response) => {
                let lease = Lease {
                    connection: Held::Http2(stream),
                    request: counted,
                };
                Ok(response.map(|incoming| UpstreamBody::new(incoming, Some(lease))))
            }
            Err(error) => Err(self.failed(error, spare)),
        }
    }

    /// A copy for a second sending, where one could be allowed: only of requests that are safe to
    /// repeat, and only when a pooled connection could turn out to be dead.
    fn spare(&self, reused: bool, request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
        let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        if !(reused && self.may_resend && safe && matches!(request.body(), RequestBody::Empty)) {
            return None;
        }
        let mut copy = Request::new(RequestBody::Empty);
        copy.method_mut().clone_from(request.method());
        copy.uri_mut().clone_from(request.uri());
        *copy.version_mut() = request.version();
        copy.headers_mut().clone_from(request.headers());
        Some(copy)
    }

    fn failed(
        &self,
        mut error: TrySendError<Request<RequestBody>>,
        spare: Option<Request<RequestBody>>,
    ) -> Failed {
        let unsent = error.take_message().filter(|_| self.may_resend);
        let error = classify(&error.into_error());
        let closed = error.kind() == ErrorKind::ConnectionTerminated;
        let next = unsent.or(spare.filter(|_| closed)).map_or(Next::Stop, Next::Again);
        Failed { error, next }
    }
}

// === impl Failed ===

impl Failed {
    fn elsewhere(error: ProxyError, request: Request<RequestBody>) -> Self {
        Self {
            error,
            next: Next::Elsewhere(request),
        }
    }
}

impl From<ProxyError> for Failed {
    fn from(error: ProxyError) -> Self {
        Self {
            error,
            next: Next::Stop,
        }
    }
}

/// What hyper lets pass and we do not: both kinds of length, and a 101 that nobody asked for.
fn check_http1(response: &Response<Incoming>, upgrade: bool) -> Result<(), ProxyError> {
    let headers = response.headers();
    let ambiguous =
        headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH);
    let unasked = response.status() == StatusCode::SWITCHING_PROTOCOLS && !upgrade;
    if ambiguous || unasked {
        return Err(ProxyError::new(ErrorKind::Protocol));
    }
    Ok(())
}

/// What a failure of hyper's means, before response headers or in the body.
pub(crate) fn classify(error: &hyper::Error) -> ProxyError {
    if error.is_parse() {
        return ProxyError::new(ErrorKind::Protocol);
    }
    let mut source = error.source();
    while let Some(inner) = source {
        if inner.is::<RequestBodyError>() {
            return ProxyError::new(ErrorKind::Downstream);
        }
        if let Some(inner) = inner.downcast_ref::<h2::Error>() {
            return ProxyError::new(classify_http2(inner));
        }
        source = inner.source();
    }
    ProxyError::new(ErrorKind::ConnectionTerminated)
}

fn classify_http2(error: &h2::Error) -> ErrorKind {
    if error.is_io() || (error.is_go_away() && error.is_remote()) {
        ErrorKind::ConnectionTerminated
    } else if error.is_reset() && error.is_remote() {
        match error.reason() {
            Some(h2::Reason::REFUSED_STREAM) => ErrorKind::RefusedStream,
            _ => ErrorKind::RemoteReset,
        }
    } else {
        ErrorKind::Protocol
    }
}
