//! The examples of rate limits that the gateway counts itself: what their pages promise.

use bytes::Bytes;
use legate_testkit::{Answer, Client};

use crate::Demo;

async fn get(demo: &Demo, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut client = Client::connect(demo.address(8080)).await.unwrap();
    client
        .request("GET", "localhost", path, headers, Bytes::new())
        .await
        .unwrap()
}

#[tokio::test]
async fn rate_limit() {
    let demo = Demo::start("rate-limit");
    let first = get(&demo, "/catalog/", &[]).await;
    assert_eq!(first.json()["name"], "catalog.shop");
    let limit = first.header("x-ratelimit-limit");
    assert_eq!(limit, Some("10, 10;w=60;name=\"per-address\""));
    assert_eq!(first.header("x-ratelimit-remaining"), Some("9"));
    // One comes back every six seconds; a machine would have to be slow to pass forty.
    let mut refused = None;
    for _ in 0..40 {
        let answer = get(&demo, "/catalog/", &[]).await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("the limit holds");
    assert_eq!(refused.header("x-envoy-ratelimited"), Some("true"));
    assert!(refused.header("retry-after").is_some());
    for _ in 0..3 {
        let answer = get(&demo, "/orders/", &[("x-user", "ann")]).await;
        assert_eq!(answer.json()["name"], "orders.shop");
    }
    for (user, status) in [("ann", 429), ("bob", 200), ("mallory", 429)] {
        let answer = get(&demo, "/orders/", &[("x-user", user)]).await;
        assert_eq!(answer.status, status, "{user}");
    }
    assert_eq!(get(&demo, "/orders/", &[]).await.status, 200);
    // A change of the file takes effect, and nobody's count is lost.
    let text = demo.read("rate-limit.yaml");
    let text = text.replace("requests_per_unit: 3", "requests_per_unit: 4");
    demo.write("rate-limit.yaml", &text);
    crate::eventually("the fourth order passes", async || {
        get(&demo, "/orders/", &[("x-user", "ann")]).await.status == 200
    })
    .await;
    let answer = get(&demo, "/orders/", &[("x-user", "ann")]).await;
    assert_eq!(answer.status, 429);
}

#[tokio::test]
async fn rate_limit_shared() {
    let demo = Demo::start("rate-limit-shared");
    let mut passed = 0;
    for _ in 0..25 {
        match get(&demo, "/catalog/", &[]).await.status.as_u16() {
            200 => passed += 1,
            status => assert_eq!(status, 429),
        }
    }
    assert_eq!(passed, 20);
    demo.terminate();
}
