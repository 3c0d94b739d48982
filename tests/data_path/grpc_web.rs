//! gRPC-Web in front of a real gRPC server (Module `enable_grpc_web`, spec/services §§0.1, 3.13).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::Request;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use legate_testkit::{Answer, Client};
use tokio::sync::mpsc;

use crate::harness::{Case, Gate, base};
use crate::tonic_echo::{Note, Server, message, messages, note, read};
use crate::wire::{Wire, within};

const BINARY: &str = "application/grpc-web+proto";
const TEXT: &str = "application/grpc-web-text";

fn case(server: &Server, module: &str) -> Case {
    base().module(module).map(
        "echo",
        &format!(
            "prefix: /test.Echo/\nrewrite: \"\"\ngrpc: true\ntimeout_ms: 0\nservice: {}\n\
             cors: {{origins: [https://a.example], exposed_headers: [grpc-status, grpc-message]}}",
            server.address
        ),
    )
}

async fn clients(gate: &Gate) -> [Client; 2] {
    [
        Client::connect(gate.address(8080)).await.unwrap(),
        Client::connect_h2c(gate.address(8080)).await.unwrap(),
    ]
}

async fn call(client: &mut Client, method: &str, kind: &str, body: Vec<u8>) -> Answer {
    let headers = [("content-type", kind), ("origin", "https://a.example")];
    within(client.request("POST", "t", method, &headers, Bytes::from(body)))
        .await
        .unwrap()
}

/// The bytes that text stands for, each padded piece by itself.
fn decode(text: &[u8]) -> Vec<u8> {
    assert_eq!(text.len() % 4, 0, "{}", String::from_utf8_lossy(text));
    text.chunks(4)
        .flat_map(|quad| STANDARD.decode(quad).unwrap())
        .collect()
}

/// Notes and trailers of a response body.
fn parts(body: &[u8]) -> (Vec<Note>, String) {
    let mut found = messages(body);
    let (flag, trailers) = found.pop().expect("trailers");
    assert_eq!(flag, 0x80);
    assert!(found.iter().all(|(flag, _)| *flag == 0));
    let notes = found.iter().map(|(_, bytes)| read(bytes)).collect();
    (notes, String::from_utf8(trailers).unwrap())
}

#[tokio::test]
async fn binary_calls() {
    let server = Server::start().await;
    let gate = case(&server, "enable_grpc_web: true").start().await;
    gate.diagnoses(&[]);
    for mut client in clients(&gate).await {
        for kind in ["application/grpc-web", BINARY] {
            let sent = note("hello", 0);
            let answer = call(&mut client, "/test.Echo/Say", kind, message(&sent)).await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("content-type"), Some(BINARY));
            assert_eq!(answer.header("x-saw-te"), Some("trailers"));
            assert_eq!(
                answer.header("x-saw-content-type"),
                Some("application/grpc")
            );
            assert_eq!(answer.header("grpc-status"), None, "it is in the body");
            let (notes, trailers) = parts(&answer.body);
            assert_eq!(notes, [sent]);
            assert_eq!(trailers, "grpc-status:0\r\n");
        }
    }
}

#[tokio::test]
async fn text_calls() {
    let server = Server::start().await;
    let gate = case(&server, "enable_grpc_web: true").start().await;
    for mut client in clients(&gate).await {
        for text in ["", "a", "ab", "abc", &"x".repeat(200_000)] {
            let sent = note(text, 1);
            let body = STANDARD.encode(message(&sent)).into_bytes();
            let answer = call(&mut client, "/test.Echo/Say", TEXT, body).await;
            assert_eq!(answer.status, 200);
            assert_eq!(
                answer.header("content-type"),
                Some("application/grpc-web-text+proto")
            );
            let (notes, trailers) = parts(&decode(&answer.body));
            assert_eq!(notes, [sent]);
            assert_eq!(trailers, "grpc-status:0\r\n");
        }
    }
}

/// Text may be cut anywhere, and every piece may be padded by itself.
#[tokio::test]
async fn text_in_pieces() {
    let server = Server::start().await;
    let gate = case(&server, "enable_grpc_web: true").start().await;
    let sent = note("pieces", 0);
    let bytes = message(&sent);
    let (first, second) = bytes.split_at(4);
    let text = format!("{}{}", STANDARD.encode(first), STANDARD.encode(second));
    for step in [1, 3, 5] {
        let mut wire = Wire::connect(gate.address(8080)).await;
        wire.say(format!(
            "POST /test.Echo/Say HTTP/1.1\r\nhost: t\r\ncontent-type: {TEXT}\r\n\
             connection: close\r\ntransfer-encoding: chunked\r\n\r\n"
        ))
        .await;
        for piece in text.as_bytes().chunks(step) {
            wire.say(format!("{:x}\r\n", piece.len())).await;
            wire.say(piece).await;
            wire.say("\r\n").await;
        }
        wire.say("0\r\n\r\n").await;
        let head = wire.head().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        // Chunks of the response are pieces of text, too.
        let mut body = Vec::new();
        let rest = wire.rest_text().await;
        for line in rest.split("\r\n").skip(1).step_by(2) {
            body.extend(decode(line.as_bytes()));
        }
        assert_eq!(parts(&body).0, std::slice::from_ref(&sent));
    }
}

/// Every note reaches the client before the next one is sent, in both forms.
#[tokio::test]
async fn streams_are_not_held_back() {
    let server = Server::start().await;
    let gate = case(&server, "enable_grpc_web: true").start().await;
    for mut client in clients(&gate).await {
        for kind in [BINARY, TEXT] {
            let ask = message(&note("", 4));
            let ask = if kind == TEXT {
                STANDARD.encode(ask).into_bytes()
            } else {
                ask
            };
            let body = http_body_util::Full::new(Bytes::from(ask));
            let request = Request::post("http://t/test.Echo/Count")
                .header("host", "t")
                .header("content-type", kind)
                .body(body.map_err(|never| match never {}).boxed_unsync())
                .unwrap();
            let mut body = within(client.open(request)).await.unwrap().into_body();
            for n in 0..4 {
                server.steps.add_permits(1);
                let mut bytes = Vec::new();
                // It may come in pieces, but it comes.
                while bytes.len() < message(&note("", n)).len() {
                    let frame = within(body.frame()).await.unwrap().unwrap();
                    let data = frame.into_data().unwrap();
                    bytes.extend(if kind == TEXT {
                        decode(&data)
                    } else {
                        data.to_vec()
                    });
                }
                assert_eq!(read(&messages(&bytes)[0].1), note("", n));
            }
            let rest = within(body.collect()).await.unwrap().to_bytes();
            let rest = if kind == TEXT {
                decode(&rest)
            } else {
                rest.to_vec()
            };
            assert_eq!(parts(&rest).1, "grpc-status:0\r\n");
        }
    }
}

/// A client that may stream does.
#[tokio::test]
async fn both_ways_at_once() {
    let server = Server::start().await;
    let gate = case(&server, "enable_grpc_web: true").start().await;
    let mut client = Client::connect_h2c(gate.address(8080)).await.unwrap();
    let (sender, receiver) = mpsc::unbounded_channel::<Note>();
    let body = stream::unfold(receiver, |mut receiver| async move {
        let note = receiver.recv().await?;
        let text = STANDARD.encode(message(&note));
        Some((Ok(Frame::data(Bytes::from(text))), receiver))
    });
    let request = Request::post("http://t/test.Echo/Chat")
        .header("content-type", TEXT)
        .body(StreamBody::new(body.boxed()).boxed_unsync())
        .unwrap();
    sender.send(note("first", 0)).unwrap();
    let mut body = within(client.open(request)).await.unwrap().into_body();
    for n in 0..5 {
        let data = within(body.frame()).await.unwrap().unwrap();
        let bytes = decode(&data.into_data().unwrap());
        assert_eq!(read(&messages(&bytes)[0].1).number, n);
        sender.send(note("more", n + 1)).unwrap();
    }
    drop(sender);
    let rest = within(body.collect()).await.unwrap().to_bytes();
    assert_eq!(parts(&decode(&rest)).1, "grpc-status:0\r\n");
}

/// Failures are 200 with the status in the last frame, whoever says so.
#[tokio::test]
async fn failures() {
    let server = Server::start().await;
    let gate = case(&server, "enable_grpc_web: true")
        .map("dead", "prefix: /dead/\nservice: 127.0.0.1:1")
        .start()
        .await;
    for mut client in clients(&gate).await {
        let body = message(&note("not here", 5));
        let answer = call(&mut client, "/test.Echo/Fail", BINARY, body).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("grpc-status"), None);
        let (notes, trailers) = parts(&answer.body);
        assert!(notes.is_empty());
        let lines: Vec<&str> = trailers.lines().collect();
        assert!(lines.contains(&"grpc-status:5"), "{trailers}");
        assert!(lines.contains(&"grpc-message:not%20here"), "{trailers}");

        let answer = call(&mut client, "/none/", BINARY, Vec::new()).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some(BINARY));
        assert_eq!(parts(&answer.body).1, "grpc-status:12\r\n");
        let answer = call(&mut client, "/none/", TEXT, Vec::new()).await;
        assert_eq!(parts(&decode(&answer.body)).1, "grpc-status:12\r\n");
    }
    let mut client = Client::connect(gate.address(8080)).await.unwrap();
    let answer = call(&mut client, "/dead/", BINARY, message(&note("", 0))).await;
    let trailers = parts(&answer.body).1;
    assert!(
        trailers.starts_with("grpc-status:14\r\ngrpc-message:upstream connect error"),
        "{trailers}"
    );
}

/// What is no base64 is the client's fault, and told so.
#[tokio::test]
async fn text_that_is_none() {
    let server = Server::start().await;
    let gate = case(&server, "enable_grpc_web: true").start().await;
    for body in ["AAAAAA!=", "AAAAAAA", "===="] {
        for mut client in clients(&gate).await {
            let answer = call(&mut client, "/test.Echo/Say", TEXT, body.into()).await;
            assert_eq!(answer.status, 200);
            let trailers = parts(&decode(&answer.body)).1;
            assert!(
                trailers.starts_with("grpc-status:13\r\n"),
                "{body}: {trailers}"
            );
        }
    }
}

/// A browser asks first, and may read what it gets.
#[tokio::test]
async fn cors() {
    let server = Server::start().await;
    let gate = case(&server, "enable_grpc_web: true").start().await;
    for mut client in clients(&gate).await {
        let headers = [
            ("origin", "https://a.example"),
            ("access-control-request-method", "POST"),
        ];
        let asked = client.request("OPTIONS", "t", "/test.Echo/Say", &headers, Bytes::new());
        let answer = within(asked).await.unwrap();
        assert_eq!(answer.status, 200);
        let origin = answer.header("access-control-allow-origin");
        assert_eq!(origin, Some("https://a.example"));
        for method in ["/test.Echo/Say", "/test.Echo/Fail"] {
            let answer = call(&mut client, method, BINARY, message(&note("", 5))).await;
            assert_eq!(
                answer.header("access-control-allow-origin"),
                Some("https://a.example")
            );
            assert_eq!(
                answer.header("access-control-expose-headers"),
                Some("grpc-status, grpc-message")
            );
        }
    }
}

/// The value counts, and not that the key is there; without it gRPC-Web is any other type.
#[tokio::test]
async fn switched_off() {
    let server = Server::start().await;
    for (module, codes) in [
        ("enable_grpc_web: false", &["W-MODULE-OFF"][..]),
        ("merge_slashes: true", &[]),
    ] {
        let gate = case(&server, module).start().await;
        gate.diagnoses(codes);
        let mut client = Client::connect(gate.address(8080)).await.unwrap();
        let answer = call(&mut client, "/none/", BINARY, Vec::new()).await;
        assert_eq!(answer.status, 404);
        let sent = message(&note("as it is", 0));
        let answer = call(&mut client, "/test.Echo/Say", BINARY, sent.clone()).await;
        assert_eq!(answer.header("x-saw-content-type"), Some(BINARY));
        assert_eq!(answer.header("content-type"), Some("application/grpc"));
        assert_eq!(answer.body, sent);
    }
}
