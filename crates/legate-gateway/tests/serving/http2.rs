//! HTTP/2, with prior knowledge and by ALPN.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use legate_config::listener::TlsVersion;
use legate_config::policy::PolicySet;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::snapshot::{Build, policies};
use crate::tls::{TlsHost, client_config, with_tls};
use crate::{origin, serve};

type Sender = SendRequest<Full<Bytes>>;

async fn over<S>(stream: S) -> (Sender, tokio::task::JoinHandle<hyper::Result<()>>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    (sender, tokio::spawn(connection))
}

async fn plain(address: SocketAddr) -> (Sender, tokio::task::JoinHandle<hyper::Result<()>>) {
    over(TcpStream::connect(address).await.unwrap()).await
}

fn get(host: &str, path: &str) -> Request<Full<Bytes>> {
    Request::get(format!("http://{host}{path}"))
        .body(Full::default())
        .unwrap()
}

async fn text(response: Response<Incoming>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn streams_share_a_connection() {
    let origin = origin::start("one");
    let served = serve(Build::new(1).route("/", origin).build());
    let (mut sender, _) = plain(served.address()).await;
    let slow = sender.send_request(get("a.test", "/slow"));
    let mut quick = Vec::new();
    for turn in 0..20 {
        quick.push(sender.send_request(get("a.test", &format!("/{turn}"))));
    }
    for answer in quick {
        let answer = answer.await.unwrap();
        assert_eq!(answer.version(), Version::HTTP_2);
        assert_eq!(answer.headers()["server"], "envoy");
        let body = text(answer).await;
        assert!(body.contains("\nhost: a.test\n"), "{body}");
    }
    assert_eq!(slow.await.unwrap().status(), StatusCode::OK);
    let mut post = get("a.test", "/");
    *post.method_mut() = Method::POST;
    *post.body_mut() = Full::from("x".repeat(300_000));
    post.headers_mut().append("cookie", "a=1".parse().unwrap());
    post.headers_mut().append("cookie", "b=2".parse().unwrap());
    let body = text(sender.send_request(post).await.unwrap()).await;
    assert!(body.contains("\ncookie: a=1; b=2\n"));
    assert!(body.ends_with(&"x".repeat(300_000)));
}

#[tokio::test]
async fn limits_and_failures_are_streams_of_their_own() {
    let origin = origin::start("one");
    let quick = PolicySet {
        timeout_ms: 100,
        ..policies()
    };
    let served = serve(Build::new(1).route_with("/", origin, quick).build());
    let (mut sender, _) = plain(served.address()).await;
    let late = sender.send_request(get("a.test", "/slow")).await.unwrap();
    assert_eq!(late.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(text(late).await, "upstream request timeout");
    let cut = sender
        .send_request(get("a.test", "/endless"))
        .await
        .unwrap();
    assert_eq!(cut.status(), StatusCode::OK);
    assert!(cut.into_body().collect().await.is_err());
    let mut long = get("a.test", "/");
    long.headers_mut()
        .insert("x", "y".repeat(70_000).parse().unwrap());
    let long = sender.send_request(long).await;
    assert!(long.is_err() || long.unwrap().status() == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let next = sender.send_request(get("a.test", "/")).await;
    if let Ok(next) = next {
        assert_eq!(next.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn alpn_decides_and_hosts_that_are_not_covered_are_misdirected() {
    let origin = origin::start("one");
    let mut build = Build::new(1).route("/", origin);
    let host = |host, names, least| TlsHost { host, names, least };
    let ders = with_tls(
        &mut build,
        &[
            host("a.test", &["a.test", "b.test"], TlsVersion::V12),
            host("b.test", &["b.test"], TlsVersion::V12),
            host("c.test", &["c.test"], TlsVersion::V12),
        ],
    );
    let served = serve(build.build());
    let tcp = TcpStream::connect(served.address()).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(client_config(&ders, &["h2", "http/1.1"]));
    let name = ServerName::try_from("a.test").unwrap();
    let stream = connector.connect(name, tcp).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, _) = over(stream).await;
    for (host, status) in [
        ("a.test", 200),
        ("b.test", 200),
        ("c.test", 421),
        ("d.test", 404),
    ] {
        let answer = sender.send_request(get(host, "/")).await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{host}");
    }
}

#[tokio::test]
async fn draining_says_goaway_and_finishes_streams() {
    let origin = origin::start("one");
    let served = serve(Build::new(1).route("/", origin).build());
    let (mut sender, connection) = plain(served.address()).await;
    let slow = sender.send_request(get("a.test", "/slow"));
    let (mut idle_sender, idle) = plain(served.address()).await;
    let answer = idle_sender.send_request(get("a.test", "/")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let draining = tokio::spawn(async move { served.gateway.drain(true).await });
    let answer = slow.await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(text(answer).await.starts_with("one"));
    connection.await.unwrap().unwrap();
    idle.await.unwrap().unwrap();
    tokio::time::timeout(Duration::from_secs(2), draining)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn websockets_over_http2_are_translated() {
    let origin = origin::start("one");
    let upgradable = PolicySet {
        upgrades: vec!["websocket".into()],
        ..policies()
    };
    let served = serve(Build::new(1).route_with("/", origin, upgradable).build());
    let tcp = TcpStream::connect(served.address()).await.unwrap();
    let (mut sender, connection) =
        http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), TokioIo::new(tcp))
            .await
            .unwrap();
    tokio::spawn(connection);
    // The server's settings must be here before an extended CONNECT may be sent.
    let first = Request::get("http://a.test/").body(Empty::new()).unwrap();
    let _ = sender.send_request(first).await.unwrap();
    let mut request = Request::connect("http://a.test/ws")
        .header("sec-websocket-version", "13")
        .body(Empty::new())
        .unwrap();
    request
        .extensions_mut()
        .insert(hyper::ext::Protocol::from_static("websocket"));
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    stream.write_all(b"hello").await.unwrap();
    let mut echoed = [0; 5];
    stream.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"HELLO");
    stream.shutdown().await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "BYE");
}

#[tokio::test]
async fn a_swap_leaves_streams_alone() {
    let (one, two) = (origin::start("one"), origin::start("two"));
    let served = serve(Build::new(1).route("/", one).build());
    let (mut sender, _) = plain(served.address()).await;
    let slow = sender.send_request(get("a.test", "/slow"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let next = Arc::new(Build::new(2).route("/", two).build());
    let gateway = Arc::new(served.gateway);
    let applying = Arc::clone(&gateway);
    let applied = tokio::task::spawn_blocking(move || applying.apply(next));
    assert_eq!(applied.await.unwrap().snapshot, 2);
    let body = text(sender.send_request(get("a.test", "/")).await.unwrap()).await;
    assert!(body.starts_with("two"));
    assert!(text(slow.await.unwrap()).await.starts_with("one"));
}

#[tokio::test]
async fn unfinished_headers_are_closed_in_time() {
    let origin = origin::start("one");
    let served = serve(Build::new(1).route("/", origin).build());
    let mut tcp = TcpStream::connect(served.address()).await.unwrap();
    tcp.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    // Empty SETTINGS; then the head of a HEADERS frame whose 100 bytes never come.
    tcp.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    tcp.write_all(&[0, 0, 100, 1, 5, 0, 0, 0, 1]).await.unwrap();
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(3), tcp.read_to_end(&mut rest));
    let _ = closed.await.expect("the connection closes");
}
