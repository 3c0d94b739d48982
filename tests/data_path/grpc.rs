//! gRPC end to end: tonic's client, the gateway, tonic's server (spec/services §3.13).

use std::time::{Duration, Instant};

use futures_util::stream;
use tokio::sync::mpsc;
use tonic::{Code, Request, Status};

use crate::harness::{Gate, base};
use crate::tonic_echo::{EchoClient, Server, note};
use crate::wire::within;

/// A Mapping for the service, with further fields.
async fn gate(server: &Server, spec: &str) -> Gate {
    let service = server.address;
    base()
        .map(
            "echo",
            &format!(
                "prefix: /test.Echo/\nrewrite: \"\"\ngrpc: true\ntimeout_ms: 0\nservice: {service}\n{spec}"
            ),
        )
        .start()
        .await
}

#[tokio::test]
async fn unary_calls() {
    let server = Server::start().await;
    let gate = gate(&server, "").await;
    let mut client = EchoClient::connect(gate.address(8080)).await;
    let mut request = Request::new(note("hello", 0));
    request
        .metadata_mut()
        .insert("x-user", "ann".parse().unwrap());
    let response = within(client.unary("/test.Echo/Say", request))
        .await
        .unwrap();
    assert_eq!(response.metadata().get("x-saw-te").unwrap(), "trailers");
    assert_eq!(response.metadata().get("x-saw-x-user").unwrap(), "ann");
    assert_eq!(response.into_inner(), note("hello", 0));
    let large = "x".repeat(3_000_000);
    let request = Request::new(note(&large, 0));
    let response = within(client.unary("/test.Echo/Say", request))
        .await
        .unwrap();
    assert_eq!(response.into_inner().text, large);
}

/// What the upstream says of a failure comes as it is, percent-encoded text included.
#[tokio::test]
async fn failures_of_the_upstream() {
    let server = Server::start().await;
    let gate = gate(&server, "").await;
    let mut client = EchoClient::connect(gate.address(8080)).await;
    for (number, code) in [(5, Code::NotFound), (16, Code::Unauthenticated)] {
        let request = Request::new(note("nö 100 %", number));
        let status = within(client.unary("/test.Echo/Fail", request))
            .await
            .unwrap_err();
        assert_eq!((status.code(), status.message()), (code, "nö 100 %"));
    }
    let request = Request::new(note("", 0));
    let status = within(client.unary("/test.Echo/Nothing", request))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

/// Each note comes before the next one is sent.
#[tokio::test]
async fn server_streaming() {
    let server = Server::start().await;
    let gate = gate(&server, "").await;
    let mut client = EchoClient::connect(gate.address(8080)).await;
    let mut notes = within(client.count(note("", 3))).await.unwrap();
    for n in 0..3 {
        server.steps.add_permits(1);
        assert_eq!(within(notes.message()).await.unwrap(), Some(note("", n)));
    }
    assert_eq!(within(notes.message()).await.unwrap(), None);
    // A status after notes is a trailer.
    server.steps.add_permits(1);
    let mut notes = within(client.count(note("fail", 1))).await.unwrap();
    assert_eq!(within(notes.message()).await.unwrap(), Some(note("", 0)));
    let status: Status = within(notes.message()).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::DataLoss, "lost"));
}

#[tokio::test]
async fn client_streaming() {
    let server = Server::start().await;
    let gate = gate(&server, "").await;
    let mut client = EchoClient::connect(gate.address(8080)).await;
    let notes = stream::iter((1..=100).map(|n| note("n", n)));
    let sum = within(client.sum(notes)).await.unwrap();
    assert_eq!(sum, note("sum", 5050));
}

/// Both directions are open at once, and nothing waits for an end.
#[tokio::test]
async fn bidirectional_streaming() {
    let server = Server::start().await;
    let gate = gate(&server, "").await;
    let mut client = EchoClient::connect(gate.address(8080)).await;
    let (sender, receiver) = mpsc::unbounded_channel();
    let asked = stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    });
    sender.send(note("first", 0)).unwrap();
    let mut answers = within(client.chat(asked)).await.unwrap();
    assert_eq!(
        within(answers.message()).await.unwrap(),
        Some(note("first", 0))
    );
    for n in 1..50 {
        sender.send(note("more", n)).unwrap();
        assert_eq!(
            within(answers.message()).await.unwrap(),
            Some(note("more", n))
        );
    }
    drop(sender);
    assert_eq!(within(answers.message()).await.unwrap(), None);
}

/// The client's deadline, where the upstream does not keep it, and the route's.
#[tokio::test]
async fn deadlines() {
    let server = Server::start().await;
    let gate = base()
        .map(
            "echo",
            &format!(
                "prefix: /test.Echo/\nrewrite: \"\"\ngrpc: true\ntimeout_ms: 600\nservice: {}",
                server.address
            ),
        )
        .start()
        .await;
    let mut client = EchoClient::connect(gate.address(8080)).await;
    let start = Instant::now();
    let request = Request::new(note("slow", 60_000));
    let status = within(client.unary("/test.Echo/Say", request))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unavailable, "upstream request timeout")
    );
    assert!(start.elapsed() >= Duration::from_millis(600));
    // The header alone: with a timeout of its own the client would not wait for the answer.
    let start = Instant::now();
    let mut request = Request::new(note("slow", 60_000));
    request
        .metadata_mut()
        .insert("grpc-timeout", "200m".parse().unwrap());
    let status = within(client.unary("/test.Echo/Say", request))
        .await
        .unwrap_err();
    assert!(
        matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled),
        "{status:?}"
    );
    assert!(start.elapsed() >= Duration::from_millis(200));
}

/// Replies of ours are trailers only, with the code that stands for their status.
#[tokio::test]
async fn local_replies() {
    let server = Server::start().await;
    let gate = gate(&server, "").await;
    let mut client = EchoClient::connect(gate.address(8080)).await;
    let request = Request::new(note("", 0));
    let status = within(client.unary("/none.Such/Say", request))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    drop(server);
    let request = Request::new(note("", 0));
    let status = within(client.unary("/test.Echo/Say", request))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(
        status.message().starts_with("upstream connect error"),
        "{status:?}"
    );
}
