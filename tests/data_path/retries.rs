//! Retries (spec/services §3.4), as origins and clients see them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use legate_testkit::{Answer, Client};

use crate::counting::{Counting, Reply};
use crate::harness::{Gate, base, service};
use crate::wire::within;

/// A gateway with one Mapping to these endpoints.
async fn gate(endpoints: &[SocketAddr], spec: &str) -> Gate {
    let gate = base()
        .raw(&service("default", "up", 80, endpoints))
        .map(
            "m",
            &format!("prefix: /\nservice: up\nresolver: endpoint\n{spec}"),
        )
        .start()
        .await;
    gate.diagnoses(&[]);
    gate
}

async fn post(gate: &Gate, body: Bytes) -> Answer {
    let mut client = Client::connect(gate.address(8080)).await.unwrap();
    within(client.request("POST", "t", "/", &[], body))
        .await
        .unwrap()
}

fn statuses(list: &[u16]) -> Vec<Reply> {
    list.iter().map(|status| Reply::Status(*status)).collect()
}

#[tokio::test]
async fn t_02() {
    let origin = Counting::start(statuses(&[503, 503, 200])).await;
    let gate = gate(
        &[origin.address],
        "retry_policy: {retry_on: 5xx, num_retries: 3}",
    )
    .await;
    let answer = within(gate.send(8080, "/")).await;
    assert_eq!((answer.status.as_u16(), origin.requests()), (200, 3));
}

#[tokio::test]
async fn t_03() {
    let origin = Counting::start(statuses(&[503])).await;
    let spec = "retry_policy: {retry_on: 5xx, num_retries: 1}";
    let gate = gate(&[origin.address], spec).await;
    let answer = within(gate.send(8080, "/")).await;
    assert_eq!((answer.status.as_u16(), origin.requests()), (503, 2));
    assert_eq!(answer.text(), "ok", "the upstream's own answer");
}

#[tokio::test]
async fn t_04() {
    let origin = Counting::start(vec![Reply::After(Duration::from_secs(60))]).await;
    let gate = gate(
        &[origin.address],
        "timeout_ms: 5000\nretry_policy: {retry_on: 5xx, num_retries: 2, per_try_timeout: 100ms}",
    )
    .await;
    let start = Instant::now();
    let answer = within(gate.send(8080, "/")).await;
    assert_eq!(
        (answer.status.as_u16(), answer.text().as_str()),
        (504, "upstream request timeout")
    );
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert_eq!(origin.requests(), 3);
}

/// The route's timeout ends all attempts.
#[tokio::test]
async fn the_route_timeout_ends_retries() {
    let origin = Counting::start(vec![Reply::After(Duration::from_secs(60))]).await;
    let gate = gate(
        &[origin.address],
        "timeout_ms: 250\nretry_policy: {retry_on: 5xx, num_retries: 1000, per_try_timeout: 0.1s}",
    )
    .await;
    let answer = within(gate.send(8080, "/")).await;
    assert_eq!(answer.status, 504);
    assert!(
        (2..=3).contains(&origin.requests()),
        "{}",
        origin.requests()
    );
}

/// A body is sent again from its start, by any method; beyond the limit there is no retry.
#[tokio::test]
async fn bodies_are_sent_again() {
    let origin = Counting::start(statuses(&[503, 200, 503, 200])).await;
    let spec = "retry_policy: {retry_on: gateway-error}";
    let gate = gate(&[origin.address], spec).await;
    let answer = post(&gate, Bytes::from_static(b"something")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(origin.bodies(), ["something", "something"]);
    let answer = post(&gate, Bytes::from(vec![b'x'; 1024 * 1024 + 1])).await;
    assert_eq!((answer.status.as_u16(), origin.requests()), (503, 3));
}

/// Each condition retries its own, and nothing else.
#[tokio::test]
async fn conditions() {
    for (condition, status, attempts) in [
        ("5xx", 500, 2),
        ("gateway-error", 500, 1),
        ("gateway-error", 502, 2),
        ("retriable-4xx", 409, 2),
        ("retriable-4xx", 404, 1),
        ("connect-failure", 503, 1),
        ("refused-stream", 503, 1),
    ] {
        let origin = Counting::start(statuses(&[status])).await;
        let spec = format!("retry_policy: {{retry_on: {condition}}}");
        let gate = gate(&[origin.address], &spec).await;
        let answer = within(gate.send(8080, "/")).await;
        assert_eq!(
            (answer.status.as_u16(), origin.requests()),
            (status, attempts),
            "{condition}"
        );
    }
}

/// A reset moves to another endpoint; so does a refused connection without any policy.
#[tokio::test]
async fn another_endpoint_is_tried() {
    let bad = Counting::start(vec![Reply::Reset]).await;
    let good = Counting::start(statuses(&[200])).await;
    let spec = "retry_policy: {retry_on: gateway-error, num_retries: 1}";
    let first = gate(&[bad.address, good.address], spec).await;
    for _ in 0..10 {
        let answer = post(&first, Bytes::from_static(b"x")).await;
        assert_eq!(answer.status, 200);
    }
    assert_eq!((bad.requests(), good.requests()), (5, 10));

    let closed = Counting::start(statuses(&[200])).await;
    let address = closed.address;
    drop(closed);
    let second = gate(&[address, good.address], "").await;
    for _ in 0..10 {
        assert_eq!(post(&second, Bytes::from_static(b"x")).await.status, 200);
    }
    // Without a policy what may have been processed is not sent again.
    let third = gate(&[bad.address], "").await;
    let before = bad.requests();
    let answer = post(&third, Bytes::from_static(b"x")).await;
    assert_eq!((answer.status.as_u16(), bad.requests()), (503, before + 1));
}

/// Spent retries change the text of our own answers, and a refused one leaves the original.
#[tokio::test]
async fn the_last_outcome_is_the_answer() {
    let bad = Counting::start(vec![Reply::Reset]).await;
    let spec = "retry_policy: {retry_on: 5xx, num_retries: 2}";
    let spent = gate(&[bad.address], spec).await;
    let answer = post(&spent, Bytes::from_static(b"x")).await;
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.text(),
        "upstream connect error or disconnect/reset before headers. retried and the latest reset \
         reason: connection termination"
    );
    assert_eq!(bad.requests(), 3);

    let spec =
        "retry_policy: {retry_on: 5xx, num_retries: 2}\ncircuit_breakers: [{max_retries: 0}]";
    let refused = gate(&[bad.address], spec).await;
    let answer = post(&refused, Bytes::from_static(b"x")).await;
    assert_eq!(
        answer.text(),
        "upstream connect error or disconnect/reset before headers. reset reason: connection \
         termination"
    );
    assert_eq!(bad.requests(), 4);
}

/// The Module's policy is for Mappings that have none.
#[tokio::test]
async fn the_module_has_a_default() {
    let origin = Counting::start(statuses(&[503, 200])).await;
    let gate = base()
        .module("retry_policy: {retry_on: 5xx, num_retries: 1}")
        .map("m", &format!("prefix: /\nservice: {}", origin.address))
        .start()
        .await;
    gate.diagnoses(&[]);
    assert_eq!(within(gate.send(8080, "/")).await.status, 200);
}

#[tokio::test]
async fn bad_policies_are_refused() {
    base()
        .map("a", "prefix: /a/\nretry_policy: {retry_on: sometimes}")
        .map("b", "prefix: /b/\nretry_policy: {num_retries: 1}")
        .map(
            "c",
            "prefix: /c/\nretry_policy: {retry_on: 5xx, per_try_timeout: soon}",
        )
        .map(
            "d",
            "prefix: /d/\nretry_policy: {retry_on: retriable-status-codes}",
        )
        .check(&[
            ("/a/", "500"),
            ("/b/", "500"),
            ("/c/", "500"),
            ("/d/", "d:/"),
        ])
        .await
        .diagnoses(&["E-POLICY-RETRY", "W-IGNORED"]);
}
