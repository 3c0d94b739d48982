//! Canaries and the default timeout (spec/services §§3.5, 3.6): each example named after its id.
//!
//! A request's draw is fixed here: each of the hundred comes equally often, so shares are exact.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use legate_testkit::Client;

use crate::harness::{Gate, Request, base, short};
use crate::wire::within;

/// How many of so many requests each backend got.
async fn shares(gate: &Gate, requests: u32) -> BTreeMap<String, u32> {
    let mut client = Client::connect(gate.address(8080)).await.unwrap();
    let mut shares = BTreeMap::new();
    for n in 0..requests {
        let request = Request::parse(&format!("/a/ draw={}", n % 100));
        let answer = within(gate.send_on(&mut client, &request)).await;
        *shares.entry(short(&answer)).or_default() += 1;
    }
    shares
}

fn expected<const N: usize>(shares: [(&str, u32); N]) -> BTreeMap<String, u32> {
    shares
        .map(|(name, share)| (format!("{name}:/"), share))
        .into()
}

#[tokio::test]
async fn t_10() {
    let gate = base()
        .map("a", "prefix: /a/")
        .map("b", "prefix: /a/\nweight: 10")
        .start()
        .await;
    gate.diagnoses(&[]);
    let found = shares(&gate, 10_000).await;
    assert_eq!(found, expected([("a", 9000), ("b", 1000)]));
}

#[tokio::test]
async fn t_11() {
    let gate = base()
        .map("a", "prefix: /a/")
        .map("b", "prefix: /a/\nweight: 10")
        .map("c", "prefix: /a/\nweight: 10")
        .start()
        .await;
    let found = shares(&gate, 100).await;
    assert_eq!(found, expected([("a", 80), ("b", 10), ("c", 10)]));
}

#[tokio::test]
async fn t_12() {
    let gate = base()
        .map("a", "prefix: /a/")
        .map("b", "prefix: /a/")
        .map("c", "prefix: /a/")
        .start()
        .await;
    let found = shares(&gate, 100).await;
    assert_eq!(found, expected([("a", 33), ("b", 33), ("c", 34)]));
}

#[tokio::test]
async fn t_13() {
    let gate = base()
        .map("a", "prefix: /a/\nweight: 60")
        .map("b", "prefix: /a/\nweight: 60")
        .start()
        .await;
    gate.diagnoses(&["E-MAP-WEIGHT"]);
    let found = shares(&gate, 100).await;
    assert_eq!(found, expected([("a", 100)]));
}

#[tokio::test]
async fn t_14() {
    let gate = base()
        .map("a", "prefix: /a/")
        .map("b", "prefix: /a/\nweight: 100")
        .start()
        .await;
    let found = shares(&gate, 100).await;
    assert_eq!(found, expected([("b", 100)]));
}

#[tokio::test]
async fn t_05() {
    let gate = base().map("a", "prefix: /").start().await;
    let start = Instant::now();
    let answer = within(gate.send(8080, "/ x-test-delay-ms:5000")).await;
    assert_eq!(answer.status, 504);
    assert_eq!(answer.text(), "upstream request timeout");
    assert!(start.elapsed() >= Duration::from_secs(3));
}

#[tokio::test]
async fn t_06() {
    let gate = base().map("a", "prefix: /\ntimeout_ms: 0").start().await;
    let start = Instant::now();
    let answer = within(gate.send(8080, "/x x-test-delay-ms:5000")).await;
    assert_eq!(short(&answer), "a:/x");
    assert!(start.elapsed() >= Duration::from_secs(5));
}
