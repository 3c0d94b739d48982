//! External authorisation over gRPC, around the check: which route, which body, which service and which
//! connection; worked examples of spec/services §1.10.

use std::time::{Duration, Instant};

use envoy_types::ext_authz::v3::pb::OkHttpResponse;
use legate_testkit::Client;

use crate::auth::post;
use crate::auth_body::upgrade_is_refused;
use crate::auth_grpc::{Oracle, answer, asks, counted, denied, guarded, ok, set};
use crate::harness::{base, short, upstream_header};
use crate::rate_limit_server::{Limiter, RateLimitResponse, header, limited, ok as within_limits};
use crate::wire::within;

#[tokio::test]
async fn a_10_the_route_is_selected_again() {
    let then = || OkHttpResponse {
        headers: vec![set("x-tier", "gold")],
        ..OkHttpResponse::default()
    };
    let oracle = Oracle::says(ok(then())).await;
    let case = base()
        .map("a", "prefix: /")
        .map("gold", "prefix: /\nheaders: {x-tier: gold}");
    let gate = asks(case, "auth", &oracle, "").start().await;
    gate.rows(8080, &[("/", "gold:/")]).await;
    assert_eq!(oracle.asked().len(), 1, "the second selection does not ask");
}

#[tokio::test]
async fn a_11_the_check_takes_too_long() {
    let oracle = Oracle::answers(
        Ok(answer(0, None)),
        Duration::from_secs(3600),
        "127.0.0.1:0",
    )
    .await;
    let gate = guarded(&oracle, "timeout_ms: 200").await;
    let began = Instant::now();
    gate.rows(8080, &[("/", "403")]).await;
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert_eq!(counted(&gate, &oracle, "timeout").await, 1);
}

#[tokio::test]
async fn a_13_part_of_the_body() {
    let oracle = Oracle::says(answer(0, None)).await;
    let spec = "include_body: {max_bytes: 7, allow_partial: true}";
    let gate = guarded(&oracle, spec).await;
    let answer = post(&gate, "/", "0123456789").await;
    assert_eq!(answer.json()["body"], "0123456789");
    assert!(upstream_header(&answer, "x-envoy-auth-partial-body").is_empty());
    let http = oracle.http();
    assert_eq!((http.body.as_str(), http.size), ("0123456", 7));
    assert_eq!(http.headers["x-envoy-auth-partial-body"], "true");
    let answer = post(&gate, "/", "01234").await;
    assert_eq!(answer.json()["body"], "01234");
    let http = oracle.http();
    assert_eq!((http.body.as_str(), http.size), ("01234", 5));
    assert_eq!(http.headers["x-envoy-auth-partial-body"], "false");
    // Without a body there is nothing to tell, and the client's word does not count.
    gate.rows(8080, &[("/ x-envoy-auth-partial-body:false", "a:/")])
        .await;
    let http = oracle.http();
    assert!(!http.headers.contains_key("x-envoy-auth-partial-body"));
}

#[tokio::test]
async fn a_14_too_large_a_body() {
    let oracle = Oracle::says(answer(0, None)).await;
    let spec = "include_body: {max_bytes: 7, allow_partial: false}";
    let gate = guarded(&oracle, spec).await;
    assert_eq!(post(&gate, "/", "0123456789").await.status, 413);
    assert!(oracle.asked().is_empty());
    assert_eq!(post(&gate, "/", "0123456").await.json()["body"], "0123456");
}

#[tokio::test]
async fn a_15_bypass() {
    let oracle = Oracle::says(answer(7, None)).await;
    let case = base()
        .map("a", "prefix: /")
        .map("open", "prefix: /open/\nbypass_auth: true");
    let gate = asks(case, "auth", &oracle, "").start().await;
    gate.rows(8080, &[("/open/", "open:/")]).await;
    assert!(oracle.asked().is_empty());
    assert_eq!(counted(&gate, &oracle, "disabled").await, 1);
    gate.rows(8080, &[("/", "403")]).await;
}

#[tokio::test]
async fn a_21_two_services() {
    let first = Oracle::says(answer(0, None)).await;
    let second = Oracle::says(answer(0, None)).await;
    let case = asks(base().map("a", "prefix: /"), "one", &first, "");
    let gate = asks(case, "two", &second, "").start().await;
    gate.diagnoses(&[]);
    let mut client = Client::connect(gate.address(8080)).await.unwrap();
    for _ in 0..100 {
        assert_eq!(short(&client.get("t", "/").await.unwrap()), "a:/");
    }
    assert_eq!((first.asked().len(), second.asked().len()), (50, 50));
}

#[tokio::test]
async fn a_23_upgrades_are_checked_without_a_body() {
    let oracle = Oracle::says(denied(401, &[], "")).await;
    let case = base().map("a", "prefix: /\nallow_upgrade: [websocket]");
    let spec = "include_body: {max_bytes: 7, allow_partial: true}";
    let gate = asks(case, "auth", &oracle, spec).start().await;
    upgrade_is_refused(&gate).await;
    assert_eq!(oracle.http().body, "");
}

/// §1.9: probes on the gateway's ports have no special place.
#[tokio::test]
async fn probes_are_checked() {
    let oracle = Oracle::says(denied(401, &[], "")).await;
    let gate = guarded(&oracle, "").await;
    gate.rows(
        8080,
        &[
            ("/ambassador/v0/check_ready", "401"),
            ("/ambassador/v0/check_alive", "401"),
        ],
    )
    .await;
    assert_eq!(oracle.asked().len(), 2);
    let oracle = Oracle::says(answer(0, None)).await;
    let gate = guarded(&oracle, "").await;
    let answer = gate.send(8080, "/ambassador/v0/check_ready").await;
    assert_eq!(answer.status, 200);
    assert_eq!(oracle.asked().len(), 1);
}

/// The connection is there before the first request, and again after it was lost.
#[tokio::test]
async fn connections_are_opened_ahead() {
    // Its connections end with it.
    let elsewhere = tokio::runtime::Runtime::new().unwrap();
    let oracle = elsewhere.spawn(Oracle::says(answer(0, None)));
    let oracle = oracle.await.unwrap();
    let gate = guarded(&oracle, "stats_name: oracle").await;
    let open = || gate.metric("legate_upstream_connections_active{cluster=\"oracle\"}");
    within(async { while open().await != 1 {} }).await;
    assert!(oracle.asked().is_empty());
    gate.rows(8080, &[("/", "a:/")]).await;
    assert_eq!(open().await, 1, "the request used it");
    // It is opened again when it is lost.
    let address = oracle.address.to_string();
    elsewhere.shutdown_background();
    within(async { while open().await != 0 {} }).await;
    let _oracle = Oracle::answers(Ok(answer(0, None)), Duration::ZERO, &address).await;
    within(async { while open().await != 1 {} }).await;
}

/// A faulty version does not open routes: the last good one serves on.
#[tokio::test]
async fn the_last_good_version_serves_on() {
    let oracle = Oracle::says(denied(401, &[], "")).await;
    let gate = guarded(&oracle, "").await;
    gate.rows(8080, &[("/", "401")]).await;
    let file = gate.folder.path().join("all.yaml");
    let manifests = std::fs::read_to_string(&file).unwrap();
    let broken = manifests.replace("protocol_version: v3", "protocol_version: v2");
    let mut changes = gate.running.changes();
    changes.mark_unchanged();
    std::fs::write(&file, broken).unwrap();
    within(changes.changed()).await.unwrap();
    gate.diagnoses(&["E-AUTH-CONFIG"]);
    gate.rows(8080, &[("/", "401")]).await;
    assert_eq!(oracle.asked().len(), 2);
}

/// Responses meet the filters in reverse: authorisation has the last word.
#[tokio::test]
async fn its_response_headers_go_after_those_of_rate_limits() {
    let limiter = Limiter::always(RateLimitResponse {
        response_headers_to_add: vec![header("x-from", "limits"), header("x-left", "1")],
        ..within_limits()
    })
    .await;
    let oracle = Oracle::says(ok(OkHttpResponse {
        response_headers_to_add: vec![set("x-from", "check")],
        ..OkHttpResponse::default()
    }))
    .await;
    let labels = "labels: {ambassador: [{g: [{generic_key: {value: a}}]}]}";
    let case = base().map("a", &format!("prefix: /\n{labels}"));
    let case = limited(case, limiter.address, "");
    let gate = asks(case, "auth", &oracle, "").start().await;
    let answer = gate.send(8080, "/").await;
    assert_eq!(answer.header("x-left"), Some("1"));
    let values: Vec<_> = answer.headers.get_all("x-from").iter().collect();
    assert_eq!(values, ["check"]);
}
