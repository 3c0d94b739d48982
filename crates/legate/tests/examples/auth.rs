//! The examples of external authorisation.

use bytes::Bytes;
use legate_testkit::Client;
use serde_json::json;

use crate::Demo;

/// What both services do with requests to the shop.
async fn lets_users_pass(demo: &Demo) -> serde_json::Value {
    let mut client = Client::connect(demo.address(8080)).await.unwrap();
    let answer = client.get("any.test", "/").await.unwrap();
    assert_eq!(answer.json()["name"], "front-page.shop");
    let answer = client.get("any.test", "/orders/1").await.unwrap();
    assert_eq!(answer.status, 401);
    assert_eq!(answer.text(), "say who you are\n");
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    let headers = [("authorization", "Bearer ann"), ("x-user", "admin")];
    let answer = client
        .request("GET", "any.test", "/orders/1", &headers, Bytes::new())
        .await
        .unwrap();
    let json = answer.json();
    assert_eq!(json["name"], "orders.shop");
    assert_eq!(json["headers"]["x-user"], json!(["ann"]));
    json
}

#[tokio::test]
async fn auth_http() {
    lets_users_pass(&Demo::start("auth-http")).await;
}

#[tokio::test]
async fn auth_grpc() {
    let demo = Demo::start("auth-grpc");
    let seen = lets_users_pass(&demo).await;
    assert_eq!(seen["headers"]["x-auth-team"], json!(["orders"]));
    let mut admin = Client::connect(demo.address(8877)).await.unwrap();
    let metrics = admin.get("localhost", "/metrics").await.unwrap().text();
    for result in ["ok", "denied"] {
        let line = format!("cluster=\"auth_3000\",result=\"{result}\"}} 1");
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
}
