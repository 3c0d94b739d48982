//! The examples of rate limits: what their pages promise.

use bytes::Bytes;
use legate_testkit::{Answer, Client};

use crate::{Demo, eventually};

async fn orders(client: &mut Client, headers: &[(&str, &str)]) -> Answer {
    let request = client.request("GET", "localhost", "/orders/1", headers, Bytes::new());
    request.await.unwrap()
}

#[tokio::test]
async fn rate_limit_service() {
    let demo = Demo::start("rate-limit-service");
    let mut client = Client::connect(demo.address(8080)).await.unwrap();
    let ann = [("x-user", "ann")];
    // The demo's service may need a moment, and until then nobody is limited.
    let left = "x-left-this-minute";
    eventually("the service is asked", async || {
        let mut client = Client::connect(demo.address(8080)).await.unwrap();
        let answer = orders(&mut client, &[("x-user", "first")]).await;
        answer.header(left).is_some()
    })
    .await;
    for expected in ["4", "3", "2", "1", "0"] {
        let answer = orders(&mut client, &ann).await;
        assert_eq!(answer.json()["name"], "orders.shop");
        assert_eq!(answer.header(left), Some(expected));
    }
    let answer = orders(&mut client, &ann).await;
    assert_eq!(
        (answer.status.as_u16(), answer.text().as_str()),
        (429, "slow down\n")
    );
    assert_eq!(answer.header("x-envoy-ratelimited"), Some("true"));
    let answer = orders(&mut client, &[("x-user", "bob")]).await;
    assert_eq!(answer.header(left), Some("4"));
    let answer = orders(&mut client, &[]).await;
    assert_eq!((answer.status.as_u16(), answer.header(left)), (200, None));
    let answer = client.get("localhost", "/").await.unwrap();
    assert_eq!(answer.json()["name"], "front-page.shop");
    assert_eq!(answer.header(left), None);
}
