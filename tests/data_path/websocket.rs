//! WebSocket (spec/services §3.12): each example named after its id.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use legate_testkit::TlsOptions;
use legate_testkit::client::{raw, tls};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{Case, base, empty};
use crate::wire::within;

/// An echo that speaks WebSocket, and where it listens. It ends with the test's runtime.
async fn echo() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(legate::echo::serve(listener, "echo".to_owned(), None));
    address
}

async fn with_echo(case: Case, spec: &str) -> Case {
    let service = echo().await;
    case.map("ws", &format!("prefix: /\nservice: {service}\n{spec}"))
}

/// Through TLS, whatever the case of the token.
#[tokio::test]
async fn t_40() {
    let case = empty().l8443().tls_host("h", "a.test", "");
    let gate = with_echo(case, "allow_upgrade: [WebSocket]")
        .await
        .start()
        .await;
    let (stream, _) = tls(gate.address(8443), &TlsOptions::sni("a.test"))
        .await
        .unwrap();
    let asked = tokio_tungstenite::client_async("wss://a.test/chat", stream);
    let (mut socket, response) = Box::pin(within(asked)).await.unwrap();
    assert_eq!(response.status(), 101);
    for text in ["one", "two", &"x".repeat(200_000)] {
        within(socket.send(Message::text(text))).await.unwrap();
        let answer = within(socket.next()).await.unwrap().unwrap();
        assert_eq!(answer, Message::text(text));
    }
    within(socket.close(None)).await.unwrap();
}

/// Idle for longer than the idle timeout but for pings; without them it ends, and not before.
#[tokio::test]
async fn t_41() {
    let gate = with_echo(
        base(),
        "use_websocket: true\nidle_timeout_ms: 1000\ntimeout_ms: 300",
    )
    .await
    .start()
    .await;
    let url = format!("ws://{}/", gate.address(8080));
    let (mut socket, _) = within(tokio_tungstenite::connect_async(url)).await.unwrap();
    let start = Instant::now();
    let mut pings = tokio::time::interval(Duration::from_millis(250));
    while start.elapsed() < Duration::from_millis(2500) {
        pings.tick().await;
        within(socket.send(Message::Ping("still here".into())))
            .await
            .unwrap();
        let answer = within(socket.next()).await.unwrap().unwrap();
        assert!(matches!(answer, Message::Pong(_)), "{answer:?}");
    }
    let silent = Instant::now();
    let end = within(socket.next()).await;
    assert!(matches!(end, None | Some(Err(_))), "{end:?}");
    assert!(silent.elapsed() >= Duration::from_millis(900));
}

/// Without `allow_upgrade` it is 403, and without a route 404.
#[tokio::test]
async fn t_42() {
    let gate = base().map("a", "prefix: /a/").start().await;
    for (path, status) in [("/a/", "403 Forbidden"), ("/none/", "404 Not Found")] {
        let asked = format!(
            "GET {path} HTTP/1.1\r\nhost: t\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let answer = raw(gate.address(8080), asked.as_bytes()).await.unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{answer}"
        );
        assert!(answer.contains("\r\ncontent-length: 0\r\n"), "{answer}");
    }
}
