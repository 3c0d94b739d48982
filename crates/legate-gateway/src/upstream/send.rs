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
use legate_config::policy::Priority;

use super::balance::Tried;
use super::body::{RequestBody, UpstreamBody};
use super::breaker::{ConnectionPermit, Owner, Turn};
use super::choose::next;
use super::classify::classify;
use super::cluster::{Active, ClusterHandle};
use super::eject::Standing;
use super::endpoint::InFlight;
use super::http2;
use super::pool::{Bucket, Held, Http1, Lease, WorkerPool};
use super::slot::Slot;
use crate::clock;
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
    /// In: which circuit breakers count it.
    pub(crate) priority: Priority,
    /// In: what it is to be kept together with, where the cluster balances by a hash.
    pub(crate) key: Option<u64>,
    /// In: most bytes of the body that are kept for another attempt; `None` = 1 MiB.
    pub(crate) most_kept: Option<usize>,
    /// Out: the last outcome would have been retried, but the retries are spent.
    pub(crate) exhausted: bool,
    /// Out: the last outcome would have been retried, but the circuit breaker refused.
    pub(crate) retry_overflow: bool,
    /// Out: the endpoint of the last attempt.
    pub(crate) upstream: Option<SocketAddr>,
    /// Out: our address on the last connection.
    pub(crate) local: Option<SocketAddr>,
    /// Out: attempts made, connects included.
    pub(crate) attempts: u32,
    /// Out: when the last attempt was handed to its connection.
    pub(crate) sent_at: Option<StdInstant>,
}

/// A failed attempt.
struct Failed {
    error: ProxyError,
    next: Next,
}

/// What the rules above allow after a failed attempt; the request is then in its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Nothing: the failure is the result.
    Stop,
    /// The connect failed: another endpoint.
    Elsewhere,
    /// Once more, on a fresh connection.
    Again,
}

/// One attempt at one endpoint.
struct Attempt<'a> {
    pool: &'a WorkerPool,
    cluster: &'a Arc<ClusterHandle>,
    address: SocketAddr,
    /// Its place at the endpoint, where there are others; the response takes it along.
    at: Option<InFlight>,
    /// The request was sent before: no pooled connection may be used, and no third sending follows.
    again: bool,
    /// The permits that it needs.
    owner: &'a Owner,
}

// === impl WorkerPool ===

impl WorkerPool {
    /// Sends a request to a cluster and waits for the response's head.
    ///
    /// Dropping the future abandons the request: its connection is closed (HTTP/2: its stream
    /// reset).
    pub(crate) async fn send_slot(
        &self,
        cluster: &Arc<ClusterHandle>,
        slot: &mut Slot,
        call: &mut Call,
    ) -> Result<Response<UpstreamBody>, ProxyError> {
        let mut tried = Tried::default();
        self.send_from(cluster, slot, call, &mut tried, false).await
    }

    /// The same, at endpoints that were not tried; a `retry` may go where one was before, if there
    /// is no other.
    pub(super) async fn send_from(
        &self,
        cluster: &Arc<ClusterHandle>,
        slot: &mut Slot,
        call: &mut Call,
        tried: &mut Tried,
        retry: bool,
    ) -> Result<Response<UpstreamBody>, ProxyError> {
        let mut failure = None;
        let mut other_endpoints = 0..OTHER_ENDPOINTS;
        let mut again = false;
        let mut waited = false;
        loop {
            let anywhere = again || (retry && failure.is_none());
            let Some((address, at)) = next(self, cluster, call.key, (tried, anywhere)) else {
                if cluster.endpoints.list().pending && !waited {
                    waited = true;
                    Box::pin(cluster.endpoints.settled(cluster.connect_timeout())).await;
                    continue;
                }
                return Err(failure.unwrap_or(ProxyError::new(ErrorKind::NoHealthyUpstream)));
            };
            tried.push(address);
            call.attempts = call.attempts.saturating_add(1);
            call.upstream = Some(address);
            let mut attempt = Attempt {
                pool: self,
                cluster,
                address,
                at,
                again,
                owner: cluster.owner(call.priority),
            };
            let sent = if call.upgrade {
                Box::pin(attempt.upgrade(slot, call)).await
            } else if cluster.is_http2() {
                attempt.http2(slot, call).await
            } else {
                attempt.http1(slot, call).await
            };
            let Failed { error, next } = match sent {
                Ok(response) => return Ok(response),
                Err(failed) => failed,
            };
            if let Some(at) = attempt.at.as_mut().filter(|_| next != Next::Again) {
                cluster.failed(at, error.kind());
            }
            match next {
                Next::Elsewhere if other_endpoints.next().is_some() => {}
                Next::Again => again = true,
                Next::Elsewhere | Next::Stop => return Err(error),
            }
            failure = Some(error);
        }
    }
}

/// Gives a request to a cluster the form in which it is sent. It has its final headers, `host`
/// included, and an origin-form URI.
pub(crate) fn outgoing<B>(
    cluster: &ClusterHandle,
    request: Request<B>,
    call: &Call,
) -> Result<Slot, ProxyError>
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
    Ok(Slot::of(request))
}

#[cfg(test)]
impl WorkerPool {
    /// Both steps at once.
    pub(super) async fn send<B>(
        &self,
        cluster: &Arc<ClusterHandle>,
        request: Request<B>,
        call: &mut Call,
    ) -> Result<Response<UpstreamBody>, ProxyError>
    where
        B: http_body::Body<Data = Bytes> + Unpin + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let mut slot = outgoing(cluster, request, call)?;
        self.send_slot(cluster, &mut slot, call).await
    }
}

// === impl Attempt ===

impl Attempt<'_> {
    async fn http1(
        &mut self,
        slot: &mut Slot,
        call: &mut Call,
    ) -> Result<Response<UpstreamBody>, Failed> {
        let class = self.cluster.transport.load().class;
        let mut bucket = self.pool.bucket(class, self.address);
        let now = clock::now();
        call.sent_at = Some(now.into_std());
        let pooled = if self.again {
            None
        } else {
            bucket.take(now, self.cluster.max_lifetime(), self.owner)
        };
        let mut reused = pooled.is_some();
        let mut connection = match pooled {
            Some(connection) => connection,
            None => {
                let got;
                (got, bucket, reused) = Box::pin(self.connect_http1(true)).await?;
                call.upstream = Some(bucket.address());
                call.sent_at = Some(clock::std_now());
                got
            }
        };
        let Some(counted) = self.begin() else {
            bucket.put(connection, self.cluster.idle_timeout(), self.pool.worker);
            return Err(ProxyError::new(ErrorKind::Overflow).into());
        };
        call.local = connection.local;
        connection.heard.clear();
        let request = self.take(slot, reused)?;
        match connection.sender.try_send_request(request).await {
            Ok(response) => {
                check_http1(&response, false)?;
                let lease = Lease {
                    connection: Held::Http1 {
                        connection,
                        bucket,
                        idle_timeout: self.cluster.idle_timeout(),
                        worker: self.pool.worker,
                    },
                    request: counted,
                    at: self.answered(),
                };
                Ok(response.map(|incoming| UpstreamBody::new(incoming, Some(lease))))
            }
            Err(error) => {
                if connection.heard.get() {
                    *slot = Slot::empty();
                }
                Err(self.failed(error, slot))
            }
        }
    }

    /// Counts the request as in flight, if the circuit breaker allows.
    fn begin(&self) -> Option<Active> {
        let shard = self.cluster.shard(self.pool.worker);
        Active::request(shard, self.owner.priority)
    }

    /// A connection to this endpoint, or where none may be opened an idle one to another; last,
    /// whether it served before. Waits where there is neither.
    async fn connect_http1(&mut self, pooled: bool) -> Result<(Http1, Rc<Bucket>, bool), Failed> {
        let overflow = || Failed::from(ProxyError::new(ErrorKind::Overflow));
        let mut permit = self.owner.connection();
        if permit.is_some() && self.owner.refuses() {
            return Err(overflow());
        }
        let mut pending = None;
        let permit = loop {
            if let Some(permit) = permit.take() {
                break permit;
            }
            if pooled && let Some((connection, bucket, at)) = self.any_idle() {
                self.at = at;
                return Ok((connection, bucket, true));
            }
            let place = match &mut pending {
                Some(place) => place,
                None => pending.insert(self.owner.pending().ok_or_else(overflow)?),
            };
            if let Turn::Open(open) = place.turn(self.pool.worker).await {
                permit = Some(open);
            }
        };
        drop(pending);
        let (connection, bucket) = self.open_http1(permit).await?;
        Ok((connection, bucket, false))
    }

    async fn open_http1(&self, permit: ConnectionPermit) -> Result<(Http1, Rc<Bucket>), Failed> {
        let transport = self.cluster.transport.load_full();
        let bucket = self.pool.bucket(transport.class, self.address);
        let counted = (self.owner, permit);
        let opened = self
            .pool
            .open_http1(self.cluster, &transport, &bucket, counted);
        let connection = opened.await.map_err(Failed::connect)?;
        Ok((connection, bucket))
    }

    /// An idle connection to any endpoint of the cluster.
    fn any_idle(&self) -> Option<(Http1, Rc<Bucket>, Option<InFlight>)> {
        let class = self.cluster.transport.load().class;
        let lifetime = self.cluster.max_lifetime();
        let list = self.cluster.endpoints.list();
        let mut usable = list.endpoints.iter().filter(|it| self.cluster.may_use(it));
        usable.find_map(|endpoint| {
            let bucket = self.pool.bucket(class, endpoint.address);
            let connection = bucket.take(clock::now(), lifetime, self.owner)?;
            let at = self.cluster.place(&list, endpoint, Standing::In);
            Some((connection, bucket, at))
        })
    }

    /// An upgrade has a connection of its own, HTTP/1.1 whatever the cluster speaks.
    async fn upgrade(
        &mut self,
        slot: &mut Slot,
        call: &mut Call,
    ) -> Result<Response<UpstreamBody>, Failed> {
        let (mut connection, _, _) = Box::pin(self.connect_http1(false)).await?;
        let counted = self.begin();
        let counted = counted.ok_or_else(|| ProxyError::new(ErrorKind::Overflow))?;
        call.local = connection.local;
        call.sent_at = Some(clock::std_now());
        let request = self.take(slot, false)?;
        match connection.sender.try_send_request(request).await {
            Ok(mut response) => {
                check_http1(&response, true)?;
                let lease = Lease {
                    connection: Held::Single(connection),
                    request: counted,
                    at: self.answered(),
                };
                // After 101 the stream belongs to whoever takes the upgrade.
                if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    response.extensions_mut().insert(Arc::new(lease.at));
                    return Ok(response.map(|incoming| UpstreamBody::new(incoming, None)));
                }
                Ok(response.map(|incoming| UpstreamBody::new(incoming, Some(lease))))
            }
            Err(error) => Err(self.failed(error, slot)),
        }
    }

    async fn http2(
        &mut self,
        slot: &mut Slot,
        call: &mut Call,
    ) -> Result<Response<UpstreamBody>, Failed> {
        let stream = match self
            .pool
            .shared_stream(self.cluster, self.address, self.again)
        {
            Some(stream) => stream,
            None => {
                let opened =
                    self.pool
                        .open_stream(self.cluster, self.address, self.again, self.owner);
                Box::pin(opened).await.map_err(Failed::connect)?
            }
        };
        let counted = self.begin();
        let counted = counted.ok_or_else(|| ProxyError::new(ErrorKind::Overflow))?;
        call.local = stream.connection.local;
        call.sent_at = Some(clock::std_now());
        let request = self.take(slot, stream.reused)?;
        let sending = stream.connection.send(request);
        match sending.await {
            Ok(response) => {
                let lease = Lease {
                    connection: Held::Http2(stream),
                    request: counted,
                    at: self.answered(),
                };
                Ok(response.map(|incoming| UpstreamBody::new(incoming, Some(lease))))
            }
            Err(error) => Err(self.failed(error, slot)),
        }
    }

    /// The response has begun: its place at the endpoint, for the rest of it.
    fn answered(&mut self) -> Option<InFlight> {
        let mut at = self.at.take();
        if let Some(at) = &mut at {
            self.cluster.responded(at);
        }
        at
    }

    /// Takes the request to be sent. Where a second sending could be allowed a copy stays: only of
    /// requests that are safe to repeat, and only when a pooled connection could prove dead.
    fn take(&self, slot: &mut Slot, reused: bool) -> Result<Request<RequestBody>, Failed> {
        // Each way back to an attempt has put the request into its slot.
        let request = slot
            .take()
            .ok_or_else(|| ProxyError::new(ErrorKind::Unsendable))?;
        let safe = matches!(
            *request.method(),
            Method::GET | Method::HEAD | Method::OPTIONS
        );
        if reused && !self.again && safe && matches!(request.body(), RequestBody::Empty) {
            slot.keep(&request);
        }
        Ok(request)
    }

    /// What follows from a failed sending; the slot holds the copy if there is one.
    fn failed(&self, mut error: TrySendError<Request<RequestBody>>, slot: &mut Slot) -> Failed {
        let unsent = error.take_message().map(Slot::of);
        let error = classify(&error.into_error());
        let may_repeat = unsent.is_some() || error.kind() == ErrorKind::ConnectionTerminated;
        if let Some(unsent) = unsent {
            *slot = unsent;
        }
        let next = if !self.again && may_repeat && !slot.is_empty() {
            Next::Again
        } else {
            Next::Stop
        };
        Failed { error, next }
    }
}

// === impl Failed ===

impl Failed {
    /// Nothing was sent: the request is still in its slot.
    fn connect(error: ProxyError) -> Self {
        let next = match error.kind() {
            // The whole cluster's business, not an endpoint's.
            ErrorKind::Overflow => Next::Stop,
            _ => Next::Elsewhere,
        };
        Self { error, next }
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
    let ambiguous = headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH);
    let unasked = response.status() == StatusCode::SWITCHING_PROTOCOLS && !upgrade;
    if ambiguous || unasked {
        return Err(ProxyError::new(ErrorKind::Protocol));
    }
    Ok(())
}
