//! HD: headers (spec/routing §8). Prefix `/` where none is given; the backend echoes what it got.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use legate_testkit::client::raw;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{base, short, upstream_header};

#[tokio::test]
async fn hd_01() {
    let gate = base()
        .map("a", "prefix: /\nadd_request_headers: {x-a: {value: \"1\"}}")
        .start()
        .await;
    let answer = gate.send(8080, "/ x-a:0").await;
    assert_eq!(upstream_header(&answer, "x-a"), ["0", "1"]);
}

#[tokio::test]
async fn hd_02() {
    let gate = base()
        .map(
            "a",
            "prefix: /\nadd_request_headers: {x-a: {value: \"1\", append: false}}",
        )
        .start()
        .await;
    let answer = gate.send(8080, "/ x-a:0").await;
    assert_eq!(upstream_header(&answer, "x-a"), ["1"]);
}

#[tokio::test]
async fn hd_03() {
    let gate = base()
        .map(
            "a",
            "prefix: /\nremove_request_headers: [x-a]\nadd_request_headers: {x-a: {value: \"1\"}}",
        )
        .start()
        .await;
    let answer = gate.send(8080, "/ x-a:0").await;
    assert_eq!(upstream_header(&answer, "x-a"), ["1"]);
}

#[tokio::test]
async fn hd_04() {
    let gate = base()
        .map("a", "prefix: /\nadd_response_headers: {x-r: {value: \"\"}}")
        .start()
        .await;
    assert_eq!(gate.send(8080, "/").await.header("x-r"), None);
}

#[tokio::test]
async fn hd_05() {
    let gate = base()
        .map(
            "a",
            "prefix: /\nadd_request_headers: {x-ip: {value: \"%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%\"}}",
        )
        .start()
        .await;
    let answer = gate.send(8080, "/ peer=192.0.2.7").await;
    assert_eq!(upstream_header(&answer, "x-ip"), ["192.0.2.7"]);
}

#[tokio::test]
async fn hd_06() {
    let gate = base()
        .map(
            "a",
            "prefix: /\nadd_request_headers: {x-p: {value: \"100%\"}, x-q: {value: q}}",
        )
        .start()
        .await;
    let answer = gate.send(8080, "/").await;
    assert_eq!(upstream_header(&answer, "x-p"), [""; 0]);
    assert_eq!(upstream_header(&answer, "x-q"), ["q"]);
    gate.diagnoses(&["E-MAP-HEADER"]);
}

#[tokio::test]
async fn hd_07() {
    let gate = base()
        .module("defaults: {httpmapping: {add_response_headers: {x-d: {value: d}}}}")
        .map("a", "prefix: /a/")
        .map("b", "prefix: /b/\nadd_response_headers: {x-b: {value: b}}")
        .map("c", "prefix: /c/\nadd_response_headers: {}")
        .start()
        .await;
    let seen = |answer: &legate_testkit::Answer| {
        (
            answer.header("x-d").map(str::to_owned),
            answer.header("x-b").map(str::to_owned),
        )
    };
    assert_eq!(
        seen(&gate.send(8080, "/a/").await),
        (Some("d".into()), None)
    );
    assert_eq!(
        seen(&gate.send(8080, "/b/").await),
        (None, Some("b".into()))
    );
    assert_eq!(seen(&gate.send(8080, "/c/").await), (None, None));
}

#[tokio::test]
async fn hd_08() {
    let gate = base()
        .module(
            "defaults:\n  add_request_headers: {x-d: {value: d}}\n  httpmapping: {add_request_headers: {x-h: {value: h}}}",
        )
        .map("a", "prefix: /")
        .start()
        .await;
    let answer = gate.send(8080, "/").await;
    assert_eq!(upstream_header(&answer, "x-h"), ["h"]);
    assert_eq!(upstream_header(&answer, "x-d"), [""; 0]);
}

#[tokio::test]
async fn hd_10() {
    let gate = base()
        .map("a", "prefix: /\nadd_request_headers: {Host: {value: x}}")
        .start()
        .await;
    let answer = gate.send(8080, "/ host=o.test").await;
    assert_eq!(answer.json()["host"], "o.test");
    gate.diagnoses(&["E-MAP-HEADER"]);
}

#[tokio::test]
async fn hd_12() {
    let gate = base()
        .map("a", "prefix: /ws/\nallow_upgrade: [websocket]")
        .map("b", "prefix: /nows/")
        .start()
        .await;
    let address = gate.address(8080);
    let (mut socket, response) = tokio_tungstenite::connect_async(format!("ws://{address}/ws/"))
        .await
        .unwrap();
    assert_eq!(response.status(), 101);
    socket.send(Message::text("hello")).await.unwrap();
    // The origin echoes raw bytes; a masked frame from a server is refused, so look at the close.
    drop(socket);
    let answer = raw(
        address,
        b"GET /nows/ HTTP/1.1\r\nhost: t\r\nconnection: upgrade, close\r\nupgrade: WebSocket\r\n\r\n",
    )
    .await
    .unwrap();
    assert!(
        answer.starts_with(b"HTTP/1.1 403 "),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    let answer = raw(
        address,
        b"GET /ws/ HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n",
    )
    .await
    .unwrap();
    assert!(
        answer.starts_with(b"HTTP/1.1 200 "),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

#[tokio::test]
async fn hd_13() {
    let gate = base()
        .map("b", "prefix: /nows/\nuse_websocket: false")
        .start()
        .await;
    let answer = raw(
        gate.address(8080),
        b"GET /nows/ HTTP/1.1\r\nhost: t\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\r\n",
    )
    .await
    .unwrap();
    assert!(
        answer.starts_with(b"HTTP/1.1 403 "),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

/// Not a row: `use_websocket: true` is `allow_upgrade: [websocket]`, and frames pass both ways.
#[tokio::test]
async fn websocket_frames_pass_both_ways() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let echo = tokio::spawn(legate::echo::serve(listener, "echo".to_owned(), None));
    let gate = base()
        .map(
            "ws",
            &format!("prefix: /\nuse_websocket: true\nservice: 127.0.0.1:{port}"),
        )
        .start()
        .await;
    let url = format!("ws://{}/", gate.address(8080));
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    for text in ["one", "two", &"x".repeat(100_000)] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
    }
    socket.close(None).await.unwrap();
    echo.abort();
}

/// Not rows: what the gateway itself adds and removes (spec/services §5.1–5.4).
#[tokio::test]
async fn generated_and_removed_headers() {
    let gate = base().map("a", "prefix: /").start().await;
    let answer = gate
        .send(
            8080,
            "/ peer=192.0.2.5 x-forwarded-for:203.0.113.9 x-envoy-internal:true x-request-id:mine te:trailers,_gzip keep-alive:5",
        )
        .await;
    assert_eq!(short(&answer), "a:/");
    assert_eq!(
        upstream_header(&answer, "x-forwarded-for"),
        ["203.0.113.9,192.0.2.5"]
    );
    assert_eq!(upstream_header(&answer, "x-forwarded-proto"), ["http"]);
    assert_eq!(
        upstream_header(&answer, "x-envoy-external-address"),
        ["192.0.2.5"]
    );
    assert_eq!(upstream_header(&answer, "x-envoy-internal"), [""; 0]);
    assert_eq!(
        upstream_header(&answer, "x-envoy-expected-rq-timeout-ms"),
        ["3000"]
    );
    assert_eq!(upstream_header(&answer, "keep-alive"), [""; 0]);
    assert_eq!(upstream_header(&answer, "te"), ["trailers"]);
    let id = upstream_header(&answer, "x-request-id");
    assert_eq!(id.len(), 1);
    assert_ne!(id, ["mine"]);
    assert!(answer.header("x-envoy-upstream-service-time").is_some());
    assert!(answer.header("date").is_some());
    assert_eq!(answer.header("server"), Some("envoy"));
}

#[tokio::test]
async fn connection_header_rules_h_30() {
    let gate = base().map("a", "prefix: /").start().await;
    for value in ["x-forwarded-for", "close,_:path", "a,b,c,d,e,f,g,h,i,j"] {
        let answer = gate.send(8080, &format!("/ connection:{value}")).await;
        assert_eq!(answer.status, 400, "connection: {value}");
    }
    let answer = gate.send(8080, "/ connection:x-secret x-secret:1").await;
    assert_eq!(upstream_header(&answer, "x-secret"), [""; 0]);
}

#[tokio::test]
async fn a_body_streams_through() {
    let gate = base().map("a", "prefix: /").start().await;
    let mut client = legate_testkit::Client::connect(gate.address(8080))
        .await
        .unwrap();
    let body = Bytes::from(vec![b'x'; 1_000_000]);
    let answer = client.request("POST", "t", "/up", &[], body).await.unwrap();
    assert_eq!(answer.json()["body_bytes"], 1_000_000);
    // The connection is still good.
    assert_eq!(client.get("t", "/again").await.unwrap().status, 200);
}
