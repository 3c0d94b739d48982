//! H-01 with external authorisation: preflights are answered before anybody is asked, and what a
//! script may read of a refusal is said on the refusal.

use crate::auth::{Judge, asks};
use crate::harness::base;

const CORS: &str = "prefix: /\ncors: {origins: [\"https://a.example\"], methods: [GET, PUT]}";

#[tokio::test]
async fn h_01_before_external_authorisation() {
    let judge = Judge::says("403 Forbidden", &[], "no").await;
    let gate = asks(base().map("a", CORS), "auth", &judge, "")
        .start()
        .await;
    let preflight = "OPTIONS / origin:https://a.example access-control-request-method:PUT";
    let answer = gate.send(8080, preflight).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some("https://a.example")
    );
    assert_eq!(judge.asked().len(), 0, "no check");

    // The request itself is checked, and its script learns why it does not pass.
    let answer = gate.send(8080, "/ origin:https://a.example").await;
    assert_eq!((answer.status.as_u16(), answer.text()), (403, "no".into()));
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some("https://a.example")
    );
    // Others learn nothing, and their preflights are checked like any request.
    let answer = gate.send(8080, "/ origin:https://b.example").await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert_eq!(judge.asked().len(), 2);
}
