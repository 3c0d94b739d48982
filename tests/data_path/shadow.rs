//! Shadowing (spec/services §3.7, spec/routing §4.18): copies, and nothing else, go to the shadow.

use bytes::Bytes;
use legate_testkit::{Client, Fault, Step};

use crate::harness::{Case, Request, base, short};
use crate::wire::within;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// A Mapping `a` of `/a/`, and its shadow, which leads there.
fn case(shadow: &Fault, spec: &str) -> Case {
    let service = shadow.address();
    base().map("a", "prefix: /a/").map(
        "b",
        &format!("prefix: /a/\nshadow: true\nservice: {service}\n{spec}"),
    )
}

#[tokio::test]
async fn cw_17() {
    let shadow = Fault::keeps_answering(OK).await;
    let gate = case(&shadow, "weight: 20").start().await;
    gate.diagnoses(&[]);
    for draw in [19, 20, 99, 0] {
        let answer = gate.send(8080, &format!("/a/ draw={draw}")).await;
        assert_eq!(short(&answer), "a:/");
    }
    within(shadow.until(|tally| tally.heads >= 2)).await;
    assert_eq!(shadow.tally().heads, 2);
}

#[tokio::test]
async fn cw_18() {
    let gate = base().map("b", "prefix: /a/\nshadow: true").start().await;
    assert_eq!(gate.send(8080, "/a/").await.status, 404);
    gate.diagnoses(&["E-MAP-GROUP"]);
}

/// The draws are even here, so the share is exact.
#[tokio::test]
async fn t_20() {
    let shadow = Fault::keeps_answering(OK).await;
    let gate = case(&shadow, "weight: 20").start().await;
    let mut client = Client::connect(gate.address(8080)).await.unwrap();
    for n in 0..5000 {
        let request = Request::parse(&format!("/a/ draw={}", n % 100));
        assert_eq!(short(&gate.send_on(&mut client, &request).await), "a:/");
    }
    within(shadow.until(|tally| tally.heads >= 1000)).await;
    assert_eq!(shadow.tally().heads, 1000);
}

/// Host with a suffix, the path as the main upstream got it, headers, and the whole body.
#[tokio::test]
async fn what_a_copy_looks_like() {
    let shadow = Fault::start(vec![
        Step::Until(b"POST /new/x?y HTTP/1.1\r\n".to_vec()),
        Step::Until(b"host: t.test-shadow:81\r\n".to_vec()),
        Step::Until(b"x-kept: 1\r\n".to_vec()),
        Step::Until(b"\r\n\r\n".to_vec()),
        Step::Until(b"the whole body".to_vec()),
        Step::say(OK),
    ])
    .await;
    let service = shadow.address();
    let gate = base()
        .map("a", "prefix: /a/\nrewrite: /new/\nhost_rewrite: t.test:81")
        .map(
            "b",
            &format!("prefix: /a/\nshadow: true\nservice: {service}"),
        )
        .start()
        .await;
    let mut client = Client::connect(gate.address(8080)).await.unwrap();
    let body = Bytes::from_static(b"the whole body");
    let answer = client
        .request("POST", "t", "/a/x?y", &[("x-kept", "1")], body)
        .await
        .unwrap();
    assert_eq!(short(&answer), "a:/new/x?y");
    assert_eq!(answer.json()["host"], "t.test:81");
    assert_eq!(answer.json()["body"], "the whole body");
    within(shadow.until(|tally| tally.written > 0)).await;
}

/// A shadow that takes nothing, answers nothing, answers garbage, resets, or is not there.
#[tokio::test]
async fn a_bad_shadow_is_invisible() {
    for script in [
        vec![Step::Head, Step::Hold],
        vec![Step::Head, Step::say("garbage\r\n\r\n")],
        vec![
            Step::Head,
            Step::say("HTTP/1.1 503 No\r\ncontent-length: 9\r\n\r\n"),
        ],
        vec![Step::Head, Step::Reset],
        vec![Step::Reset],
    ] {
        let shadow = Fault::start(script.clone()).await;
        let gate = case(&shadow, "").start().await;
        let mut client = Client::connect(gate.address(8080)).await.unwrap();
        for size in [0, 10, 8 * 1024 * 1024] {
            let body = Bytes::from(vec![b'x'; size]);
            let answer = within(client.request("POST", "t", "/a/", &[], body)).await;
            let answer = answer.unwrap();
            assert_eq!(short(&answer), "a:/", "{script:?}");
            assert_eq!(answer.json()["body_bytes"], size, "{script:?}");
        }
        within(shadow.until(|tally| tally.connections > 0)).await;
    }
    let gate = base()
        .map("a", "prefix: /a/")
        .map("b", "prefix: /a/\nshadow: true\nservice: 127.0.0.1:1")
        .check(&[("/a/", "a:/"), ("/a/x", "a:/x")])
        .await;
    gate.diagnoses(&[]);
}

/// The shadow of a canary group gets copies whichever member answers, but only one per match.
#[tokio::test]
async fn groups_have_one_shadow() {
    let shadow = Fault::keeps_answering(OK).await;
    let service = shadow.address();
    let gate = case(&shadow, "")
        .map("a2", "prefix: /a/\nweight: 50")
        .map(
            "c",
            &format!("prefix: /a/\nshadow: true\nservice: {service}"),
        )
        .start()
        .await;
    gate.diagnoses(&["E-MAP-GROUP"]);
    gate.rows(8080, &[("/a/ draw=0", "a2:/"), ("/a/ draw=50", "a:/")])
        .await;
    within(shadow.until(|tally| tally.heads >= 2)).await;
    assert_eq!(shadow.tally().heads, 2);
}
