//! Unary gRPC for clients of HTTP/1.1 (Module `enable_grpc_http11_bridge`, spec/services §3.13).

use bytes::Bytes;
use legate_testkit::{Answer, Client, Fault, Step};

use crate::harness::{Case, Gate, base};
use crate::tonic_echo::{EchoClient, Server, message, messages, note, read};
use crate::wire::within;

fn case(server: &Server, module: &str) -> Case {
    base().module(module).map(
        "echo",
        &format!(
            "prefix: /test.Echo/\nrewrite: \"\"\ngrpc: true\nservice: {}",
            server.address
        ),
    )
}

async fn call(gate: &Gate, method: &str, body: Vec<u8>) -> Answer {
    let mut client = Client::connect(gate.address(8080)).await.unwrap();
    let headers = [("content-type", "application/grpc")];
    within(client.request("POST", "t", method, &headers, Bytes::from(body)))
        .await
        .unwrap()
}

#[tokio::test]
async fn trailers_become_headers() {
    let server = Server::start().await;
    let gate = case(&server, "enable_grpc_http11_bridge: true")
        .start()
        .await;
    gate.diagnoses(&[]);
    let sent = note("hello", 0);
    let answer = call(&gate, "/test.Echo/Say", message(&sent)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("grpc-status"), Some("0"));
    assert_eq!(answer.header("content-type"), Some("application/grpc"));
    assert_eq!(answer.header("x-saw-te"), Some("trailers"));
    let length = answer.body.len().to_string();
    assert_eq!(answer.header("content-length"), Some(length.as_str()));
    assert_eq!(read(&messages(&answer.body)[0].1), sent);
}

/// Another status than 0 is 503, whoever says so, and whether it is a trailer or came first.
#[tokio::test]
async fn failures_are_503() {
    let server = Server::start().await;
    let gate = case(&server, "enable_grpc_http11_bridge: true")
        .start()
        .await;
    server.steps.add_permits(2);
    for (method, sent, status, text) in [
        ("/test.Echo/Fail", note("not here", 5), "5", "not%20here"),
        ("/test.Echo/Count", note("fail", 2), "15", "lost"),
    ] {
        let answer = call(&gate, method, message(&sent)).await;
        assert_eq!(answer.status, 503, "{method}");
        assert_eq!(answer.header("grpc-status"), Some(status), "{method}");
        assert_eq!(answer.header("grpc-message"), Some(text), "{method}");
    }
    let answer = call(&gate, "/none/", Vec::new()).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("grpc-status"), Some("12"));
}

/// What comes by HTTP/2, and what is no gRPC, is none of the bridge's business.
#[tokio::test]
async fn others_pass_it_by() {
    let server = Server::start().await;
    let gate = case(&server, "enable_grpc_http11_bridge: true")
        .map("a", "prefix: /a/")
        .start()
        .await;
    let mut client = EchoClient::connect(gate.address(8080)).await;
    server.steps.add_permits(1);
    let mut notes = within(client.count(note("", 2))).await.unwrap();
    assert_eq!(
        within(notes.message()).await.unwrap(),
        Some(note("", 0)),
        "it is not collected"
    );
    let answer = gate.send(8080, "/none/").await;
    assert_eq!(answer.status, 404);
    let answer = gate.send(8080, "/a/ content-type:application/json").await;
    assert_eq!(answer.json()["name"], "a");
}

/// So much is collected, and no more; what breaks off is a failure like any other.
#[tokio::test]
async fn responses_are_bounded() {
    let server = Server::start().await;
    let gate = case(
        &server,
        "enable_grpc_http11_bridge: true\nbuffer_limit_bytes: 1000",
    )
    .start()
    .await;
    let fits = "x".repeat(900);
    let answer = call(&gate, "/test.Echo/Say", message(&note(&fits, 0))).await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 908));
    let large = "x".repeat(1000);
    let answer = call(&gate, "/test.Echo/Say", message(&note(&large, 0))).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("grpc-status"), Some("2"));
    assert!(answer.body.is_empty());
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ncontent-length: 9\r\n\r\nhalf";
    let fault = Fault::start(vec![Step::Head, Step::say(head)]).await;
    let gate = base()
        .module("enable_grpc_http11_bridge: true")
        .map("f", &format!("prefix: /f/\nservice: {}", fault.address()))
        .start()
        .await;
    let answer = call(&gate, "/f/x", Vec::new()).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("grpc-status"), Some("14"));
}

/// The value counts, and not that the key is there.
#[tokio::test]
async fn switched_off() {
    let server = Server::start().await;
    let gate = case(&server, "enable_grpc_http11_bridge: false")
        .start()
        .await;
    gate.diagnoses(&["W-MODULE-OFF"]);
    let answer = call(&gate, "/test.Echo/Say", message(&note("", 0))).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("grpc-status"), None);
    // A reply of ours has nothing but headers, and is 200 all the same.
    let answer = call(&gate, "/none/", Vec::new()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("grpc-status"), Some("12"));
}
