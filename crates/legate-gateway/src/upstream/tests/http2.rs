//! HTTP/2 towards origins.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use legate_config::cluster::{Cluster, UpstreamProtocol};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::super::http2::LocalExec;
use super::{Call, World, fixed, ok, plain, read, request, text, until};
use crate::error::ErrorKind;

/// An HTTP/2 origin that answers with what it saw, as many requests at a time as the gate allows.
struct Origin {
    address: SocketAddr,
    connections: Rc<Cell<usize>>,
    arrived: Rc<Cell<usize>>,
    gate: Rc<Semaphore>,
    last: Rc<RefCell<Option<Request<()>>>>,
    /// Closes all connections.
    close: Rc<tokio::sync::Notify>,
}

impl Origin {
    async fn start(streams: u32, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = Self {
            address: listener.local_addr().unwrap(),
            connections: Rc::default(),
            arrived: Rc::default(),
            gate: Rc::new(Semaphore::new(1000)),
            last: Rc::default(),
            close: Rc::default(),
        };
        let close = Rc::clone(&origin.close);
        let connections = Rc::clone(&origin.connections);
        let arrived = Rc::clone(&origin.arrived);
        let gate = Rc::clone(&origin.gate);
        let last = Rc::clone(&origin.last);
        tokio::task::spawn_local(async move {
            let mut builder = hyper::server::conn::http2::Builder::new(LocalExec);
            builder.max_concurrent_streams(streams);
            while let Ok((stream, _)) = listener.accept().await {
                connections.set(connections.get() + 1);
                let arrived = Rc::clone(&arrived);
                let gate = Rc::clone(&gate);
                let last = Rc::clone(&last);
                let service = service_fn(move |request: Request<Incoming>| {
                    arrived.set(arrived.get() + 1);
                    answer(request, Rc::clone(&gate), Rc::clone(&last))
                });
                let builder = builder.clone();
                let tls = tls.clone().map(TlsAcceptor::from);
                let close = Rc::clone(&close);
                tokio::task::spawn_local(async move {
                    let serving = async {
                        let Some(tls) = tls else {
                            let io = TokioIo::new(stream);
                            return builder.serve_connection(io, service).await.is_ok();
                        };
                        let Ok(stream) = tls.accept(stream).await else {
                            return false;
                        };
                        let io = TokioIo::new(stream);
                        builder.serve_connection(io, service).await.is_ok()
                    };
                    tokio::select! {
                        _ = serving => {}
                        () = close.notified() => {}
                    }
                });
            }
        });
        origin
    }
}

type Frames = futures_util::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>;

async fn answer(
    request: Request<Incoming>,
    gate: Rc<Semaphore>,
    last: Rc<RefCell<Option<Request<()>>>>,
) -> Result<Response<StreamBody<Frames>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map(|it| it.to_bytes())
        .unwrap_or_default();
    let _permit = gate.acquire().await;
    last.replace(Some(Request::from_parts(parts, ())));
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    let frames = vec![Ok(Frame::data(body)), Ok(Frame::trailers(trailers))];
    Ok(Response::new(StreamBody::new(futures_util::stream::iter(
        frames,
    ))))
}

fn http2() -> Cluster {
    Cluster {
        protocol: UpstreamProtocol::Http2,
        ..plain()
    }
}

#[test]
fn a_request_takes_the_shape_of_http2() {
    World::run(|world| async move {
        let origin = Origin::start(100, None).await;
        let cluster = world.cluster(http2(), &[origin.address]);
        let mut request = request(Method::POST, "hello");
        let headers = request.headers_mut();
        headers.insert("te", "trailers".parse().unwrap());
        headers.insert("connection", "keep-alive".parse().unwrap());
        headers.insert("x-kept", "yes".parse().unwrap());
        let response = world.send(&cluster, request).await.unwrap();
        let collected = response.into_body().collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()["grpc-status"], "0");
        assert_eq!(collected.to_bytes(), "hello");

        let seen = origin.last.take().unwrap();
        assert_eq!(seen.uri(), "http://up.test:81/path?query");
        assert_eq!(seen.headers()["te"], "trailers");
        assert_eq!(seen.headers()["x-kept"], "yes");
        for absent in ["host", "connection"] {
            assert!(!seen.headers().contains_key(absent), "{absent}");
        }
    });
}

#[test]
fn requests_share_a_connection_until_it_is_full() {
    World::run(|world| async move {
        let origin = Origin::start(3, None).await;
        let world = Rc::new(world);
        let cluster = world.cluster(http2(), &[origin.address]);
        assert_eq!(text(world.post(&cluster, "x").await), ok("x"));
        assert_eq!(text(world.post(&cluster, "y").await), ok("y"));
        assert_eq!(origin.connections.get(), 1);

        let held = origin.gate.acquire_many(1000).await.unwrap();
        let tasks: Vec<_> = (0..5)
            .map(|_| {
                let (world, cluster) = (Rc::clone(&world), Arc::clone(&cluster));
                tokio::task::spawn_local(async move { text(world.post(&cluster, "z").await) })
            })
            .collect();
        until(|| origin.arrived.get() == 7).await;
        assert_eq!(
            origin.connections.get(),
            2,
            "3 streams on one, 2 on the other"
        );
        drop(held);
        for task in tasks {
            assert_eq!(task.await.unwrap(), ok("z"));
        }
        assert_eq!(world.pool.idle_count(), 2);
        assert_eq!(world.upstreams.view()[0].counters.rq_active, 0);
    });
}

#[test]
fn a_burst_on_an_empty_pool_opens_one_connection() {
    World::run(|world| async move {
        let origin = Origin::start(100, None).await;
        let world = Rc::new(world);
        let cluster = world.cluster(http2(), &[origin.address]);
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let (world, cluster) = (Rc::clone(&world), Arc::clone(&cluster));
                tokio::task::spawn_local(async move { text(world.post(&cluster, "z").await) })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap(), ok("z"));
        }
        assert_eq!(origin.connections.get(), 1);
    });
}

#[test]
fn a_burst_fails_together_when_nothing_listens() {
    World::run(|world| async move {
        let address = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap()
        };
        let world = Rc::new(world);
        let cluster = world.cluster(http2(), &[address]);
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let (world, cluster) = (Rc::clone(&world), Arc::clone(&cluster));
                tokio::task::spawn_local(async move { world.post(&cluster, "z").await })
            })
            .collect();
        for task in tasks {
            assert_eq!(
                task.await.unwrap().unwrap_err().kind(),
                ErrorKind::ConnectFailed
            );
        }
        assert_eq!(world.upstreams.view()[0].counters.cx_connect_fail, 1);
    });
}

#[test]
fn tls_offers_h2() {
    World::run(|world| async move {
        let config = super::tls::server(&super::tls::self_signed(), None, &["h2"]);
        let origin = Origin::start(100, Some(config)).await;
        let mut settings = http2();
        settings.tls = Some(super::tls::unverified());
        let cluster = world.cluster(settings, &[origin.address]);
        assert_eq!(text(world.post(&cluster, "x").await), ok("x"));
        let seen = origin.last.take().unwrap();
        assert_eq!(seen.uri().scheme_str(), Some("https"));
    });
}

#[test]
fn an_abandoned_request_leaves_the_connection_alone() {
    World::run(|world| async move {
        let origin = Origin::start(100, None).await;
        let cluster = world.cluster(http2(), &[origin.address]);
        let held = origin.gate.acquire_many(1000).await.unwrap();
        let limit = std::time::Duration::from_millis(50);
        let sent = world.post(&cluster, "x");
        assert!(tokio::time::timeout(limit, sent).await.is_err());
        drop(held);
        assert_eq!(text(world.post(&cluster, "y").await), ok("y"));
        assert_eq!(origin.connections.get(), 1);
    });
}

#[test]
fn a_vanished_endpoint_finishes_its_streams() {
    World::run(|world| async move {
        let origin = Origin::start(100, None).await;
        let cluster = world.cluster(http2(), &[origin.address]);
        let sent = request(Method::POST, "x");
        let response = world.send(&cluster, sent).await.unwrap();
        world.apply(super::snapshot(http2(), fixed(&[])));
        world.pool.sweep();
        assert_eq!(read(response).await.body, "x");
        until(|| world.upstreams.view()[0].counters.cx_active == 0).await;
        let mut call = Call::default();
        let sent = world
            .pool
            .send(&cluster, request(Method::POST, "x"), &mut call);
        assert_eq!(sent.await.unwrap_err().kind(), ErrorKind::NoHealthyUpstream);
    });
}

#[test]
fn a_shared_connection_that_dies_costs_a_get_nothing() {
    World::run(|world| async move {
        let origin = Origin::start(100, None).await;
        let world = Rc::new(world);
        let cluster = world.cluster(http2(), &[origin.address]);
        assert_eq!(text(world.get(&cluster).await), ok(""));
        let held = origin.gate.acquire_many(1000).await.unwrap();
        let sending = |method: Method| {
            let (world, cluster) = (Rc::clone(&world), Arc::clone(&cluster));
            tokio::task::spawn_local(async move {
                let mut call = Call::default();
                let sent = world.pool.send(&cluster, request(method, ""), &mut call);
                let result = sent.await.map(|response| response.status().as_u16());
                (result.map_err(|error| error.kind()), call.attempts)
            })
        };
        let (get, delete) = (sending(Method::GET), sending(Method::DELETE));
        until(|| origin.arrived.get() == 3).await;
        origin.close.notify_waiters();
        drop(held);
        assert_eq!(get.await.unwrap(), (Ok(200), 2));
        let terminated = Err(ErrorKind::ConnectionTerminated);
        assert_eq!(delete.await.unwrap(), (terminated, 1));
        assert_eq!(origin.connections.get(), 2);
    });
}
