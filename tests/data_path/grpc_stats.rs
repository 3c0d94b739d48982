//! What is counted of gRPC methods (Module `grpc_stats`, spec/services §3.13).

use futures_util::stream;
use tonic::Request;

use crate::harness::{Case, Gate, base};
use crate::tonic_echo::{EchoClient, Server, note};
use crate::wire::within;

fn case(server: &Server, module: &str) -> Case {
    base().module(module).map(
        "echo",
        &format!(
            "prefix: /\nrewrite: \"\"\ngrpc: true\nstats_name: echo\nservice: {}",
            server.address
        ),
    )
}

/// A value of the test's service.
async fn value(gate: &Gate, what: &str, service: &str, method: &str) -> Option<u64> {
    let start = format!(
        "envoy_cluster_grpc_{what}{{envoy_cluster_name=\"echo\",\
         envoy_grpc_bridge_service=\"{service}\",envoy_grpc_bridge_method=\"{method}\"}} "
    );
    let lines = gate.metrics(&start).await;
    lines
        .first()
        .map(|line| line[start.len()..].parse().unwrap())
}

async fn values(gate: &Gate, method: &str, expected: &[(&str, u64)]) {
    for (what, number) in expected {
        let found = value(gate, what, "test.Echo", method).await;
        assert_eq!(found, Some(*number), "{method} {what}");
    }
}

async fn use_all(gate: &Gate, server: &Server) {
    let mut client = EchoClient::connect(gate.address(8080)).await;
    for _ in 0..3 {
        let request = Request::new(note("hello", 0));
        within(client.unary("/test.Echo/Say", request))
            .await
            .unwrap();
    }
    for number in [5, 5, 13] {
        let request = Request::new(note("", number));
        within(client.unary("/test.Echo/Fail", request))
            .await
            .unwrap_err();
    }
    server.steps.add_permits(4);
    let mut notes = within(client.count(note("", 4))).await.unwrap();
    while within(notes.message()).await.unwrap().is_some() {}
    let sent = stream::iter((0..7).map(|n| note("", n)));
    within(client.sum(sent)).await.unwrap();
    for method in ["/test.Echo/Nothing", "/no.Such/Thing"] {
        let request = Request::new(note("", 0));
        within(client.unary(method, request)).await.unwrap_err();
    }
}

#[tokio::test]
async fn all_methods() {
    let server = Server::start().await;
    let gate = case(&server, "grpc_stats: {all_methods: true}")
        .start()
        .await;
    gate.diagnoses(&[]);
    use_all(&gate, &server).await;
    values(
        &gate,
        "Say",
        &[
            ("success", 3),
            ("failure", 0),
            ("total", 3),
            ("0", 3),
            ("request_message_count", 3),
            ("response_message_count", 3),
        ],
    )
    .await;
    values(
        &gate,
        "Fail",
        &[
            ("success", 0),
            ("failure", 3),
            ("total", 3),
            ("5", 2),
            ("13", 1),
            ("request_message_count", 3),
            ("response_message_count", 0),
        ],
    )
    .await;
    values(
        &gate,
        "Count",
        &[("request_message_count", 1), ("response_message_count", 4)],
    )
    .await;
    values(
        &gate,
        "Sum",
        &[("request_message_count", 7), ("response_message_count", 1)],
    )
    .await;
    // Methods that there are not are no labels.
    assert_eq!(value(&gate, "total", "test.Echo", "Nothing").await, None);
    assert_eq!(value(&gate, "12", "_other", "_other").await, Some(2));
    assert_eq!(
        gate.metrics("envoy_cluster_grpc_upstream_rq_time").await,
        [""; 0]
    );
}

#[tokio::test]
async fn listed_methods_and_times() {
    let server = Server::start().await;
    let module = "grpc_stats: {services: [{name: test.Echo, method_names: [Say, Count]}], upstream_stats: true}";
    let gate = case(&server, module).start().await;
    gate.diagnoses(&[]);
    use_all(&gate, &server).await;
    values(&gate, "Say", &[("success", 3), ("total", 3)]).await;
    values(
        &gate,
        "Count",
        &[("success", 1), ("response_message_count", 4)],
    )
    .await;
    assert_eq!(value(&gate, "total", "test.Echo", "Fail").await, None);
    assert_eq!(value(&gate, "total", "_other", "_other").await, None);
    values(&gate, "Say", &[("upstream_rq_time_count", 3)]).await;
}

/// Two selectors exclude each other, and none of them is no selection.
#[tokio::test]
async fn bad_selections() {
    let server = Server::start().await;
    let module =
        "grpc_stats: {all_methods: true, services: [{name: test.Echo, method_names: [Say]}]}";
    let gate = case(&server, module).start().await;
    gate.diagnoses(&["E-MODULE-VALUE"]);
    use_all(&gate, &server).await;
    values(&gate, "Say", &[("success", 3)]).await;
    assert_eq!(value(&gate, "total", "test.Echo", "Fail").await, None);
    let gate = case(&server, "grpc_stats: {upstream_stats: true}")
        .start()
        .await;
    gate.diagnoses(&["W-IGNORED"]);
    use_all(&gate, &server).await;
    assert_eq!(gate.metrics("envoy_cluster_grpc").await, [""; 0]);
}

/// Replies of ours count as calls that failed; gRPC-Web counts like gRPC.
#[tokio::test]
async fn local_replies_and_web() {
    let server = Server::start().await;
    let module =
        "grpc_stats: {services: [{name: test.Echo, method_names: [Say]}]}\nenable_grpc_web: true";
    let gate = case(&server, module)
        .map(
            "dead",
            "prefix: /\nheaders: {x-user: dead}\nrewrite: \"\"\ngrpc: true\nstats_name: echo\nservice: 127.0.0.1:1",
        )
        .start()
        .await;
    let mut client = legate_testkit::Client::connect(gate.address(8080))
        .await
        .unwrap();
    for kind in ["application/grpc-web", "application/grpc-web-text"] {
        let bytes = crate::tonic_echo::message(&note("hello", 0));
        let body = if kind.ends_with("text") {
            base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes).into_bytes()
        } else {
            bytes
        };
        let headers = [("content-type", kind)];
        let asked = client.request("POST", "t", "/test.Echo/Say", &headers, body.into());
        assert_eq!(within(asked).await.unwrap().status, 200);
    }
    let mut client = EchoClient::connect(gate.address(8080)).await;
    let mut request = Request::new(note("", 0));
    request
        .metadata_mut()
        .insert("x-user", "dead".parse().unwrap());
    within(client.unary("/test.Echo/Say", request))
        .await
        .unwrap_err();
    values(
        &gate,
        "Say",
        &[
            ("success", 2),
            ("failure", 1),
            ("14", 1),
            ("request_message_count", 2),
            ("response_message_count", 2),
        ],
    )
    .await;
}
