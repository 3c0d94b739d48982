//! What fails, how it is called, and what is tried again.

use std::net::SocketAddr;
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::origin::{Does, Origin};
use super::{Call, ProxyErrorText, World, ok, plain, request, text, until};
use crate::error::ErrorKind;

const TERMINATED: &str = "UC upstream connect error or disconnect/reset before headers. \
                          reset reason: connection termination";
const PROTOCOL: &str =
    "UPE upstream connect error or disconnect/reset before headers. reset reason: protocol error";

/// An address where nothing listens.
async fn closed() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

fn fails<T>(words: &str) -> Result<T, ProxyErrorText> {
    Err(ProxyErrorText(words.to_owned()))
}

#[test]
fn no_endpoint_and_no_such_set() {
    World::run(|world| async move {
        let cluster = world.cluster(plain(), &[]);
        assert_eq!(
            text(world.get(&cluster).await),
            fails("UH no healthy upstream")
        );

        let mut snapshot = super::snapshot(plain(), super::fixed(&[]));
        snapshot.endpoint_sets = legate_config::Table::default();
        let cluster = world.apply(snapshot);
        assert_eq!(
            text(world.get(&cluster).await),
            fails("UH no healthy upstream")
        );
    });
}

#[test]
fn a_refused_connect_goes_to_another_endpoint() {
    World::run(|world| async move {
        let origin = Origin::start("a", Does::Answer).await;
        let dead = closed().await;
        let cluster = world.cluster(plain(), &[dead, origin.address]);
        for _ in 0..6 {
            assert_eq!(text(world.get(&cluster).await), ok("a"));
            assert_eq!(text(world.post(&cluster, "x").await), ok("a"));
        }
        let failures = world.upstreams.view()[0].counters.cx_connect_fail;
        assert!(failures > 0);
    });
}

#[test]
fn refused_everywhere_is_told_after_three_endpoints() {
    World::run(|world| async move {
        let mut dead = Vec::new();
        for _ in 0..5 {
            dead.push(closed().await);
        }
        let cluster = world.cluster(plain(), &dead);
        let mut call = Call::default();
        let sent = world
            .pool
            .send(&cluster, request(Method::GET, ""), &mut call);
        let error = sent.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectFailed);
        assert_eq!(
            error.reason(),
            Some("delayed connect error: Connection refused")
        );
        assert_eq!(call.attempts, 3);
        assert!(call.upstream.is_some());
        assert_eq!(world.upstreams.view()[0].counters.cx_connect_fail, 3);
    });
}

#[test]
fn a_connect_that_hangs_times_out() {
    World::run(|world| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut settings = plain();
        settings.connect_timeout_ms = 50;
        // TCP connects; the handshake never comes, and has the same limit.
        settings.tls = Some(super::tls::unverified());
        let cluster = world.cluster(settings, &[listener.local_addr().unwrap()]);
        let error = world.get(&cluster).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectTimeout);
        assert_eq!(
            error.body(),
            "upstream connect error or disconnect/reset before headers. reset reason: \
             connection timeout"
        );
    });
}

#[test]
fn an_origin_that_closes_after_each_answer_is_no_trouble() {
    World::run(|world| async move {
        let origin = Origin::start("a", Does::CloseAfterOne).await;
        let cluster = world.cluster(plain(), &[origin.address]);
        for _ in 0..20 {
            assert_eq!(text(world.get(&cluster).await), ok("a"));
            assert_eq!(text(world.get(&cluster).await), ok("a"));
            until(|| origin.open() == 0).await;
            // The end of the connection was seen while it was idle: even a POST is safe.
            assert_eq!(text(world.post(&cluster, "x").await), ok("a"));
            until(|| origin.open() == 0).await;
        }
        assert_eq!(origin.requests(), origin.connections());
    });
}

#[test]
fn a_reused_connection_that_dies_costs_a_get_nothing() {
    World::run(|world| async move {
        let origin = Origin::start("a", Does::CloseOnSecond).await;
        let cluster = world.cluster(plain(), &[origin.address]);
        assert_eq!(text(world.get(&cluster).await), ok("a"));
        let mut call = Call {
            bodyless: true,
            ..Call::default()
        };
        let sent = world
            .pool
            .send(&cluster, request(Method::GET, ""), &mut call);
        assert_eq!(sent.await.unwrap().status(), StatusCode::OK);
        assert_eq!(call.attempts, 2);
        assert_eq!((origin.connections(), origin.requests()), (2, 3));
    });
}

#[test]
fn what_may_have_had_an_effect_is_not_repeated() {
    World::run(|world| async move {
        let origin = Origin::start("a", Does::CloseOnSecond).await;
        let cluster = world.cluster(plain(), &[origin.address]);
        assert_eq!(text(world.get(&cluster).await), ok("a"));
        assert_eq!(text(world.post(&cluster, "body").await), fails(TERMINATED));
        assert_eq!(origin.requests(), 2);

        // A GET with a body neither: it cannot be sent twice.
        assert_eq!(text(world.get(&cluster).await), ok("a"));
        let mut call = Call::default();
        let sent = world
            .pool
            .send(&cluster, request(Method::GET, "body"), &mut call);
        assert_eq!(
            sent.await.unwrap_err().kind(),
            ErrorKind::ConnectionTerminated
        );

        // DELETE has no body, but is not safe.
        assert_eq!(text(world.get(&cluster).await), ok("a"));
        let sent = world.send(&cluster, request(Method::DELETE, ""));
        assert_eq!(
            sent.await.unwrap_err().kind(),
            ErrorKind::ConnectionTerminated
        );
    });
}

#[test]
fn no_retry_after_the_first_response_byte() {
    World::run(|world| async move {
        let origin = Origin::start("a", Does::BreakOnSecond).await;
        let cluster = world.cluster(plain(), &[origin.address]);
        assert_eq!(text(world.get(&cluster).await), ok("a"));
        assert_eq!(text(world.get(&cluster).await), fails(TERMINATED));
        assert_eq!(origin.requests(), 2);
    });
}

#[test]
fn no_retry_on_a_new_connection() {
    World::run(|world| async move {
        let origin = Origin::start("a", Does::CloseUnanswered).await;
        let cluster = world.cluster(plain(), &[origin.address]);
        assert_eq!(text(world.get(&cluster).await), fails(TERMINATED));
        assert_eq!(origin.requests(), 1);
    });
}

#[test]
fn answers_that_are_not_http() {
    World::run(|world| async move {
        for bytes in [
            "nonsense\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc",
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        ] {
            let origin = Origin::start("a", Does::Bytes(bytes)).await;
            let cluster = world.cluster(plain(), &[origin.address]);
            assert_eq!(text(world.get(&cluster).await), fails(PROTOCOL), "{bytes}");
            until(|| origin.open() == 0).await;
        }
        let long = "x".repeat(70_000);
        let bytes = format!("HTTP/1.1 200 OK\r\nx-long: {long}\r\n\r\n").leak();
        let origin = Origin::start("a", Does::Bytes(bytes)).await;
        let cluster = world.cluster(plain(), &[origin.address]);
        assert_eq!(text(world.get(&cluster).await), fails(PROTOCOL));
    });
}

#[test]
fn an_abandoned_request_closes_its_connection() {
    World::run(|world| async move {
        let origin = Origin::start("a", Does::Bytes("")).await;
        let cluster = world.cluster(plain(), &[origin.address]);
        let limit = Duration::from_millis(50);
        assert!(
            tokio::time::timeout(limit, world.get(&cluster))
                .await
                .is_err()
        );
        until(|| origin.open() == 0).await;
        assert_eq!(world.upstreams.view()[0].counters.rq_active, 0);
    });
}

#[test]
fn an_upgrade_becomes_a_stream_of_bytes() {
    World::run(|world| async move {
        let origin = Origin::start("a", Does::Upgrade).await;
        let cluster = world.cluster(plain(), &[origin.address]);
        let mut call = Call {
            upgrade: true,
            bodyless: true,
            ..Call::default()
        };
        let mut request = request(Method::GET, "");
        let headers = request.headers_mut();
        headers.insert("connection", "upgrade".parse().unwrap());
        headers.insert("upgrade", "echo".parse().unwrap());
        let mut response = world.pool.send(&cluster, request, &mut call).await.unwrap();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        let upgraded = hyper::upgrade::on(&mut response).await.unwrap();
        drop(response);
        let mut stream = hyper_util::rt::TokioIo::new(upgraded);
        stream.write_all(b"echo").await.unwrap();
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"echo");
        assert_eq!(world.pool.idle_count(), 0);
        drop(stream);
        until(|| origin.open() == 0).await;
    });
}
