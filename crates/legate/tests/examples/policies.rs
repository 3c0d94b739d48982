//! The examples of traffic policies: what their pages promise.

use bytes::Bytes;
use legate_testkit::{Answer, Client};

use crate::{Demo, eventually};

async fn ask(demo: &Demo, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut client = Client::connect(demo.address(8080)).await.unwrap();
    client
        .request(method, "localhost", path, headers, Bytes::new())
        .await
        .unwrap()
}

#[tokio::test]
async fn cors() {
    let demo = Demo::start("cors");
    let put = ("access-control-request-method", "PUT");
    let shop = ("origin", "https://shop.example.com");
    let evil = ("origin", "https://evil.example.com");
    let answer = ask(&demo, "OPTIONS", "/orders/1", &[shop, put]).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.is_empty());
    for (name, value) in [
        ("access-control-allow-origin", shop.1),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", "GET, PUT"),
        ("access-control-allow-headers", "Content-Type"),
        ("access-control-max-age", "600"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    let answer = ask(&demo, "OPTIONS", "/orders/1", &[evil, put]).await;
    assert_eq!(answer.json()["name"], "orders.default");
    assert_eq!(answer.header("access-control-allow-origin"), None);
    let answer = ask(&demo, "GET", "/orders/1", &[shop]).await;
    assert_eq!(answer.json()["name"], "orders.default");
    for (name, value) in [
        ("access-control-allow-origin", shop.1),
        ("access-control-allow-credentials", "true"),
        ("access-control-expose-headers", "x-request-id"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    for (path, allowed) in [("/catalog/", Some(evil.1)), ("/internal/", None)] {
        let answer = ask(&demo, "GET", path, &[evil]).await;
        assert_eq!(
            answer.header("access-control-allow-origin"),
            allowed,
            "{path}"
        );
    }
}

#[tokio::test]
async fn shadow() {
    let demo = Demo::start("shadow");
    let mut client = Client::connect(demo.address(8080)).await.unwrap();
    for n in 0..200 {
        let answer = client
            .get("localhost", &format!("/search/?q={n}"))
            .await
            .unwrap();
        assert_eq!(answer.json()["name"], "search.default");
    }
    let mut admin = Client::connect(demo.address(8877)).await.unwrap();
    let clusters = admin.get("localhost", "/clusters").await.unwrap().text();
    assert!(
        clusters.lines().any(|line| line == "search::rq_total::200"),
        "{clusters}"
    );
    // Fewer than 60 or more than 140 of 200: once in a hundred million runs.
    let copies = |text: &str| -> u64 {
        let count = text
            .lines()
            .find_map(|line| line.strip_prefix("shadow_search_next::rq_total::"));
        count.unwrap_or("0").parse().unwrap()
    };
    eventually("copies arrive", async || {
        let mut admin = Client::connect(demo.address(8877)).await.unwrap();
        let text = admin.get("localhost", "/clusters").await.unwrap().text();
        copies(&text) >= 60
    })
    .await;
    let text = admin.get("localhost", "/clusters").await.unwrap().text();
    assert!(copies(&text) <= 140, "{text}");
}
