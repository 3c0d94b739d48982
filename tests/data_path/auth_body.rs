//! External authorisation over HTTP and the bodies of requests: worked examples of spec/services §1.10.

use crate::auth::{Judge, asks, guarded, has, post};
use crate::harness::{Gate, base, short};
use crate::wire::{Wire, within};

#[tokio::test]
async fn a_13_part_of_the_body() {
    let judge = Judge::says("200 OK", &[], "").await;
    let spec = "include_body: {max_bytes: 7, allow_partial: true}";
    let gate = guarded(&judge, spec).await;
    let answer = post(&gate, "/", "0123456789").await;
    assert_eq!(answer.json()["body"], "0123456789");
    let check = judge.check();
    assert!(check.ends_with("\r\n\r\n0123456"), "{check}");
    assert!(has(&check, "x-envoy-auth-partial-body: true"), "{check}");
    // A body in pieces, and one that fits.
    let mut wire = Wire::connect(gate.address(8080)).await;
    wire.say("POST /c HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n")
        .await;
    wire.say("3\r\ncde\r\n0\r\n\r\n").await;
    assert_eq!(within(wire.response()).await.json()["body"], "abcde");
    let check = judge.asked().pop().unwrap();
    assert!(check.ends_with("\r\n\r\nabcde"), "{check}");
    assert!(has(&check, "x-envoy-auth-partial-body: false"), "{check}");
    assert!(has(&check, "content-length: 5"), "{check}");
}

#[tokio::test]
async fn a_14_too_large_a_body() {
    let judge = Judge::says("200 OK", &[], "").await;
    let spec = "include_body: {max_bytes: 7, allow_partial: false}";
    let gate = guarded(&judge, spec).await;
    let answer = post(&gate, "/", "0123456789").await;
    assert_eq!(
        (answer.status.as_u16(), answer.text().as_str()),
        (413, "Payload Too Large")
    );
    let mut wire = Wire::connect(gate.address(8080)).await;
    wire.say("POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n8\r\n01234567\r\n")
        .await;
    assert_eq!(within(wire.response()).await.status, 413);
    assert!(judge.asked().is_empty());
    let answer = post(&gate, "/", "0123456").await;
    assert_eq!(answer.json()["body"], "0123456");
}

#[tokio::test]
async fn a_23_upgrades_are_checked_without_a_body() {
    let judge = Judge::says("401 Unauthorized", &[], "").await;
    let case = base().map("a", "prefix: /\nallow_upgrade: [websocket]");
    let spec = "include_body: {max_bytes: 7, allow_partial: true}";
    let gate = asks(case, "auth", &judge, spec).start().await;
    upgrade_is_refused(&gate).await;
    assert!(!judge.check().contains("upgrade"));
}

/// An upgrade that announces a body and brings none is refused by whoever is asked.
pub(crate) async fn upgrade_is_refused(gate: &Gate) {
    let mut wire = Wire::connect(gate.address(8080)).await;
    wire.say(
        "GET / HTTP/1.1\r\nhost: t\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         content-length: 3\r\n\r\n",
    )
    .await;
    assert_eq!(within(wire.response()).await.status, 401);
}

#[tokio::test]
async fn a_24_the_partial_flag_is_not_the_clients() {
    let judge = Judge::says("200 OK", &[], "").await;
    let gate = guarded(
        &judge,
        "allowed_request_headers: [x-envoy-auth-partial-body]",
    )
    .await;
    let answer = gate.send(8080, "/ x-envoy-auth-partial-body:false").await;
    assert_eq!(short(&answer), "a:/");
    assert!(!judge.check().contains("x-envoy-auth-partial-body"));
}
