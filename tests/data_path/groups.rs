//! CW: groups and weights (spec/routing §8). `draw` is the draw in [0,100).

use std::time::Duration;

use legate_testkit::Behaviour;

use crate::harness::{base, short};

#[tokio::test]
async fn cw_01() {
    base()
        .map("a", "prefix: /a/")
        .map("b", "prefix: /a/\nweight: 10")
        .check(&[("/a/ draw=9", "b:/"), ("/a/ draw=10", "a:/")])
        .await;
}

#[tokio::test]
async fn cw_02() {
    base()
        .map("a", "prefix: /a/\nweight: 10")
        .map("b", "prefix: /a/\nweight: 20")
        .map("c", "prefix: /a/")
        .map("d", "prefix: /a/")
        .check(&[
            ("/a/ draw=9", "a:/"),
            ("/a/ draw=29", "b:/"),
            ("/a/ draw=64", "c:/"),
            ("/a/ draw=65", "d:/"),
        ])
        .await;
}

#[tokio::test]
async fn cw_03() {
    base()
        .map("a", "prefix: /a/\nweight: 0")
        .check(&[("/a/ draw=0", "a:/"), ("/a/ draw=99", "a:/")])
        .await;
}

#[tokio::test]
async fn cw_04() {
    base()
        .map("a", "prefix: /a/")
        .map("b", "prefix: /a/\nweight: 0")
        .check(&[("/a/ draw=0", "a:/")])
        .await;
}

#[tokio::test]
async fn cw_05() {
    base()
        .map("a", "prefix: /a/\nweight: 100")
        .map("b", "prefix: /a/")
        .check(&[("/a/ draw=99", "a:/")])
        .await;
}

#[tokio::test]
async fn cw_06() {
    let gate = base()
        .map("a", "prefix: /a/\nweight: 30")
        .map("b", "prefix: /a/\nweight: 30")
        .map("c", "prefix: /")
        .check(&[("/a/ draw=59", "b:/"), ("/a/ draw=60", "c:/a/")])
        .await;
    gate.diagnoses(&["W-MAP-WEIGHT"]);
}

#[tokio::test]
async fn cw_07() {
    let gate = base()
        .map("a", "prefix: /a/\nweight: 60")
        .map("b", "prefix: /a/\nweight: 60")
        .check(&[("/a/ draw=55", "a:/"), ("/a/ draw=60", "a:/")])
        .await;
    gate.diagnoses(&["E-MAP-WEIGHT"]);
}

#[tokio::test]
async fn cw_08() {
    let gate = base()
        .map("a", "prefix: /a/\nweight: 150")
        .map("b", "prefix: /a/\nweight: 10")
        .check(&[("/a/ draw=0", "b:/"), ("/a/ draw=99", "b:/")])
        .await;
    let all = gate.running.diagnostics();
    let about_a = |item: &legate_config::Diagnostic| {
        item.code.as_str().starts_with("E-")
            && item.path == "spec.weight"
            && item
                .object
                .as_ref()
                .is_some_and(|object| object.name == "a")
    };
    assert!(all.iter().any(about_a), "{all:#?}");
}

#[tokio::test]
async fn cw_09() {
    base()
        .map("a", "prefix: /a/")
        .map("b", "prefix: /a/")
        .map("c", "prefix: /a/")
        .check(&[
            ("/a/ draw=32", "a:/"),
            ("/a/ draw=33", "b:/"),
            ("/a/ draw=66", "c:/"),
        ])
        .await;
}

#[tokio::test]
async fn cw_10() {
    let gate = base()
        .map("a", "prefix: /a/")
        .map("b", "prefix: /a/\nweight: 10\nconnect_timeout_ms: 2000")
        .check(&[("/a/ draw=0", "a:/")])
        .await;
    gate.diagnoses(&["E-MAP-GROUP"]);
    let all = gate.running.diagnostics();
    for name in ["a", "b"] {
        let on = |item: &&legate_config::Diagnostic| {
            item.code.as_str() == "E-MAP-GROUP"
                && item
                    .object
                    .as_ref()
                    .is_some_and(|object| object.name == name)
        };
        assert!(
            all.iter().any(|item| on(&item)),
            "E-MAP-GROUP on {name}: {all:#?}"
        );
    }
}

#[tokio::test]
async fn cw_11() {
    base()
        .map("a", "prefix: /a/\nconnect_timeout_ms: 2000")
        .map("b", "prefix: /a/\nweight: 10")
        .check(&[("/a/ draw=0", "b:/")])
        .await;
}

#[tokio::test]
async fn cw_12() {
    base()
        .map("a", "prefix: /a/\nprefix_exact: true\nrewrite: \"\"")
        .map("b", "prefix: /a/\nweight: 10\nrewrite: \"\"")
        .check(&[("/a/ draw=0", "b:/a/"), ("/a/x draw=0", "404")])
        .await;
}

#[tokio::test]
async fn cw_13() {
    base()
        .map("a", "prefix: /a/\nhostname: a.test")
        .map("b", "prefix: /a/\nweight: 10")
        .check(&[
            ("/a/ host=a.test draw=0", "a:/"),
            ("/a/ host=b.test draw=99", "b:/"),
        ])
        .await;
}

#[tokio::test]
async fn cw_14() {
    base()
        .map("a", "prefix: /a/")
        .map("b", "prefix: /a/\nheaders: {x-c: always}")
        .check(&[("/a/ x-c:always", "b:/"), ("/a/", "a:/")])
        .await;
}

#[tokio::test]
async fn cw_15() {
    base()
        .map("a", "prefix: /a/\nrewrite: \"\"")
        .map("b", "prefix: /a/\nweight: 10")
        .check(&[("/a/x draw=0", "b:/x"), ("/a/x draw=50", "a:/a/x")])
        .await;
}

#[tokio::test]
async fn cw_16() {
    base()
        .map(
            "a",
            "prefix: /a/\nregex_rewrite: {pattern: \"/a/(.*)\", substitution: '/z/\\1'}",
        )
        .map("b", "prefix: /a/\nweight: 10")
        .check(&[("/a/x draw=50", "a:/z/x"), ("/a/x draw=0", "b:/x")])
        .await;
}

#[tokio::test]
async fn cw_19() {
    let gate = base()
        .map("a", "prefix: /a/")
        .map(
            "b",
            "prefix: /a/\nweight: 10\nadd_response_headers: {x-c: {value: \"1\"}}",
        )
        .start()
        .await;
    let answer = gate.send(8080, "/a/ draw=50").await;
    assert_eq!(short(&answer), "a:/");
    assert_eq!(answer.header("x-c"), Some("1"));
    gate.diagnoses(&["I-MAP-DISAGREE"]);
}

#[tokio::test]
async fn cw_20() {
    let slow = Behaviour {
        delay: Duration::from_secs(2),
        ..Behaviour::default()
    };
    base()
        .map("a", "prefix: /a/\ntimeout_ms: 1000")
        .backend_with("default", "b", slow)
        .map("b", "prefix: /a/\nweight: 10\nservice: b")
        .check(&[("/a/ draw=0", "b:/")])
        .await;
}
