//! What the policies of the request path cost in allocations: nothing.
//!
//! A binary of its own, because the allocator that counts is the whole process's. Gateway, client
//! and backends live in it together, so what is compared is the same traffic with and without the
//! policies.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first surprise; the helpers are not marked as tests"
)]

#[allow(dead_code, reason = "shared with tests that need more of it")]
#[path = "data_path/harness.rs"]
mod harness;

use std::alloc::System;

use harness::{Case, Gate, Request, base, service};
use legate_testkit::{Client, Origin};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const REQUESTS: usize = 2000;

/// Allocations per request on one connection, once everything that is made once was made; and the
/// gateway.
async fn per_request(case: Case) -> (f64, Gate) {
    let gate = case.start().await;
    gate.diagnoses(&[]);
    let mut client = Client::connect(gate.address(8080)).await.unwrap();
    let request = Request::parse("/a/x");
    for _ in 0..REQUESTS {
        assert_eq!(gate.send_on(&mut client, &request).await.status, 200);
    }
    let region = Region::new(COUNTED);
    for _ in 0..REQUESTS {
        assert_eq!(gate.send_on(&mut client, &request).await.status, 200);
    }
    let change = region.change();
    let calls = change.allocations + change.reallocations;
    #[expect(clippy::cast_precision_loss, reason = "a count of thousands")]
    let share = calls as f64 / REQUESTS as f64;
    (share, gate)
}

const LIMIT: &str = "apiVersion: legate.dev/v1alpha1
kind: RateLimitPolicy
metadata: {name: all, namespace: default}
spec:
  descriptors:
  - key: remote_address
    rate_limit: {unit: second, requests_per_unit: 1000000}
";

#[tokio::test]
async fn breakers_ejection_and_a_local_limit_allocate_nothing() {
    let origins = [Origin::start("a").await, Origin::start("b").await];
    let addresses = origins.each_ref().map(Origin::address);
    // Ejection is at work where there is more than one endpoint, and not switched off.
    let case = |module: &str, mapping: &str| {
        base()
            .module(&format!("envoy_log_path: /dev/null\n{module}"))
            .raw(&service("default", "up", 80, &addresses))
            .map("a", &format!("prefix: /a/\nservice: up.default\n{mapping}"))
    };
    let plain = case("outlier_detection: {enabled: false}", "");
    let (plain, _gate) = per_request(plain).await;
    let guarded = case(
        "",
        "circuit_breakers: [{max_connections: 50, max_requests: 50}]\n\
         labels: {ambassador: [{all: [{remote_address: {key: remote_address}}]}]}",
    );
    let (guarded, gate) = per_request(guarded.raw(LIMIT)).await;
    let counted = gate.metrics("legate_ratelimit_decisions_total").await;
    let all = format!(" {}", 2 * REQUESTS);
    assert!(
        counted.iter().any(|line| line.ends_with(&all)),
        "{counted:?}"
    );
    // What the rest of the process does meanwhile is far less than that.
    assert!(
        guarded < plain + 0.1 && plain > 1.0,
        "{guarded} allocations per request with the policies, {plain} without"
    );
}
