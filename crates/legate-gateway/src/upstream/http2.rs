//! HTTP/2 connections to upstreams: shared by requests up to the peer's stream limit.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::{CONNECTION, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, Request, Response, Uri, Version};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http2};
use hyper_util::rt::TokioIo;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::body::RequestBody;
use super::breaker::{Free, Owner, Turn};
use super::cluster::{Active, ClusterHandle};
use super::connect::UpstreamStream;
use super::pool::{Bucket, WorkerPool};
use crate::error::{ErrorKind, ProxyError};

/// Spawns hyper's tasks on the worker that owns the connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct LocalExec;

/// A connection that several requests share.
pub(super) struct Http2 {
    sender: RefCell<http2::SendRequest<RequestBody>>,
    pub(super) local: Option<SocketAddr>,
    streams: Cell<usize>,
    /// What drives it; kept to ask for the peer's limit of streams. `None` once it has ended.
    driver: Rc<RefCell<Option<Driver>>>,
    used: Cell<bool>,
    created: Instant,
    idle_since: Cell<Instant>,
    idle_timeout: Option<Duration>,
    max_lifetime: Option<Duration>,
    owner: Owner,
    worker: usize,
    bell: Arc<Notify>,
}

/// One stream's share of a connection.
pub(super) struct Stream {
    pub(super) connection: Rc<Http2>,
    /// Whether the connection had served a request before.
    pub(super) reused: bool,
}

/// Tells the waiters that an opening has ended, however it ended.
struct Opening<'a>(&'a Bucket);

// === impl LocalExec ===

impl<F> hyper::rt::Executor<F> for LocalExec
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

// === impl Http2 ===

type Driver = http2::Connection<TokioIo<UpstreamStream>, RequestBody, LocalExec>;

impl Http2 {
    /// Starts the driver of a connection.
    pub(super) fn start(
        cluster: &ClusterHandle,
        sender: http2::SendRequest<RequestBody>,
        driver: Driver,
        local: Option<SocketAddr>,
        alive: Active,
        (owner, worker, bell): (Owner, usize, Arc<Notify>),
    ) -> Rc<Self> {
        let driver = Rc::new(RefCell::new(Some(driver)));
        let driven = Rc::clone(&driver);
        tokio::task::spawn_local(async move {
            let _alive = alive;
            let ended = poll_fn(|cx| match driven.borrow_mut().as_mut() {
                Some(driver) => Pin::new(driver).poll(cx),
                None => Poll::Ready(Ok(())),
            });
            if let Err(error) = ended.await {
                tracing::trace!(%error, "Upstream connection ended");
            }
            driven.take();
        });
        let now = Instant::now();
        Rc::new(Self {
            sender: RefCell::new(sender),
            local,
            streams: Cell::new(0),
            driver,
            used: Cell::new(false),
            created: now,
            idle_since: Cell::new(now),
            idle_timeout: cluster.idle_timeout(),
            max_lifetime: cluster.max_lifetime(),
            owner,
            worker,
            bell,
        })
    }

    /// Whose permit it has.
    pub(super) fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Hands a request to the connection; the future does not hold on to it.
    pub(super) fn send(
        &self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>> + use<>
    {
        self.sender.borrow_mut().try_send_request(request)
    }

    pub(super) fn in_use(&self) -> bool {
        self.streams.get() > 0
    }

    fn is_young(&self, now: Instant) -> bool {
        self.max_lifetime
            .is_none_or(|limit| now.duration_since(self.created) < limit)
    }

    /// The peer's limit of concurrent streams as it is now.
    fn stream_limit(&self) -> usize {
        let Ok(driver) = self.driver.try_borrow() else {
            return usize::MAX;
        };
        driver.as_ref().map_or(0, Driver::current_max_send_streams)
    }

    fn takes_requests(&self, now: Instant) -> bool {
        self.streams.get() < self.stream_limit()
            && self.is_young(now)
            && !self.sender.borrow().is_closed()
    }

    /// Whether the pool should go on offering it. Streams in flight keep a connection alive that
    /// the pool has let go of.
    pub(super) fn is_worth_keeping(&self, now: Instant) -> bool {
        let idle_too_long = !self.in_use()
            && self
                .idle_timeout
                .is_some_and(|limit| now.duration_since(self.idle_since.get()) >= limit);
        self.is_young(now) && !idle_too_long && !self.sender.borrow().is_closed()
    }

    fn stream(self: &Rc<Self>) -> Stream {
        self.streams.set(self.streams.get().saturating_add(1));
        Stream {
            connection: Rc::clone(self),
            reused: self.used.replace(true),
        }
    }
}

// === impl Stream ===

impl Drop for Stream {
    fn drop(&mut self) {
        let left = self.connection.streams.get().saturating_sub(1);
        self.connection.streams.set(left);
        if left == 0 {
            self.connection.idle_since.set(Instant::now());
        }
        let connection = &self.connection;
        // There is room for somebody; where nobody is waiting here, an idle connection goes.
        if connection.owner.class().is_free(connection.worker) == Free::Close && left == 0 {
            connection.bell.notify_one();
        }
    }
}

// === impl Opening ===

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.opening.set(false);
        self.0.opened.notify_waiters();
    }
}

// === impl WorkerPool ===

impl WorkerPool {
    /// A stream on a connection that has room.
    pub(super) fn shared_stream(
        &self,
        cluster: &ClusterHandle,
        address: SocketAddr,
        fresh: bool,
    ) -> Option<Stream> {
        let class = cluster.transport.load().class;
        (!fresh)
            .then(|| self.bucket(class, address).offer(Instant::now()))
            .flatten()
    }

    /// A stream on a new connection. Requests that find one being opened wait for it, share it
    /// while there is room, and fail with it.
    pub(super) async fn open_stream(
        &self,
        cluster: &Arc<ClusterHandle>,
        address: SocketAddr,
        fresh: bool,
        owner: &Owner,
    ) -> Result<Stream, ProxyError> {
        let mut pending = None;
        let mut permit = None;
        loop {
            let transport = cluster.transport.load_full();
            let bucket = self.bucket(transport.class, address);
            let opened = bucket.opened.notified();
            if bucket.opening.get() {
                opened.await;
                if let Some(error) = bucket.open_failure.borrow().clone() {
                    return Err(error);
                }
                if let Some(stream) = bucket.offer(Instant::now()) {
                    return Ok(stream);
                }
                continue;
            }
            if !fresh && let Some(stream) = bucket.offer(Instant::now()) {
                return Ok(stream);
            }
            let Some(permit) = permit.take().or_else(|| owner.connection()) else {
                // One that has room is better than none, even where a fresh one is wanted.
                if let Some(stream) = bucket.offer(Instant::now()) {
                    return Ok(stream);
                }
                let place = match &mut pending {
                    Some(place) => place,
                    None => pending.insert(
                        owner
                            .pending()
                            .ok_or_else(|| ProxyError::new(ErrorKind::Overflow))?,
                    ),
                };
                if let Turn::Open(open) = place.turn(self.worker).await {
                    permit = Some(open);
                }
                continue;
            };
            bucket.opening.set(true);
            bucket.open_failure.replace(None);
            let opening = Opening(&bucket);
            let result = self
                .open_http2(cluster, &transport, &bucket, (owner, permit))
                .await;
            let stream = match result {
                Ok(connection) => {
                    let stream = connection.stream();
                    if !bucket.is_retired() {
                        bucket.shared.borrow_mut().push(connection);
                    }
                    Ok(stream)
                }
                Err(error) => {
                    bucket.open_failure.replace(Some(error.clone()));
                    Err(error)
                }
            };
            drop(opening);
            return stream;
        }
    }
}

// === impl Bucket ===

impl Bucket {
    /// Whether some connection has room.
    pub(super) fn has_room(&self, now: Instant) -> bool {
        self.shared.borrow().iter().any(|it| it.takes_requests(now))
    }

    /// A stream on a connection that has room, fullest first by age, so that few stay open.
    fn offer(&self, now: Instant) -> Option<Stream> {
        let shared = self.shared.borrow();
        let connection = shared.iter().find(|it| it.takes_requests(now))?;
        Some(connection.stream())
    }
}

/// Turns a request in HTTP/1.1 form into HTTP/2's: absolute URI, no `host`, no connection headers.
pub(super) fn shape(request: &mut Request<RequestBody>, tls: bool) -> Result<(), ProxyError> {
    const NEVER: [HeaderName; 3] = [
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        HeaderName::from_static("http2-settings"),
    ];
    let unsendable = || ProxyError::new(ErrorKind::Unsendable);
    let headers = request.headers_mut();
    let host = headers.remove(HOST).ok_or_else(unsendable)?;
    let authority = Authority::try_from(host.as_bytes()).map_err(|_| unsendable())?;
    for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE]
        .iter()
        .chain(&NEVER)
    {
        headers.remove(name);
    }
    if headers
        .get(TE)
        .is_some_and(|te| !te.as_bytes().eq_ignore_ascii_case(b"trailers"))
    {
        headers.remove(TE);
    }

    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(if tls { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Some(authority);
    if parts.path_and_query.is_none() {
        parts.path_and_query = Some(PathAndQuery::from_static("/"));
    }
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| unsendable())?;
    *request.version_mut() = Version::HTTP_2;
    Ok(())
}
