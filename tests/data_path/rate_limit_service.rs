//! Rate limits that a service counts: the worked examples of spec/services §2.5, over real sockets
//! to a real gRPC server, and what follows from them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use legate_testkit::{Answer, Client};

use crate::auth::{Judge, asks};
use crate::harness::{Case, Gate, Request, base, short, upstream_header};
use crate::rate_limit_server::{Limiter, header, limited, ok, over};
use crate::wire::{Log, within};

/// Labels of one group for the default domain.
const GENERIC: &str = "labels: {ambassador: [{g: [{generic_key: {value: a}}]}]}";

/// A Mapping `/` with backend `a` and these labels, on two workers.
fn labelled(labels: &str) -> Case {
    let spec = format!("prefix: /\nrewrite: \"\"\n{labels}");
    base().map("a", &spec).workers(2)
}

async fn gate(limiter: &Limiter, labels: &str, spec: &str) -> Gate {
    limited(labelled(labels), limiter.address, spec)
        .start()
        .await
}

/// What a limiter is asked about one request.
async fn asked(labels: &str, request: &str) -> Vec<Vec<String>> {
    let limiter = Limiter::always(ok()).await;
    let gate = gate(&limiter, labels, "").await;
    let answer = gate.send(8080, request).await;
    assert_eq!(answer.status, 200, "{:#?}", gate.running.diagnostics());
    limiter.descriptors("ambassador")
}

async fn h2(gate: &Gate, headers: &[(&str, &str)]) -> Answer {
    let mut client = Client::connect_h2c(gate.address(8080)).await.unwrap();
    let request = client.request("POST", "t", "/", headers, Bytes::new());
    within(request).await.unwrap()
}

#[tokio::test]
async fn r01_a_generic_key() {
    assert_eq!(asked(GENERIC, "/").await, [["generic_key=a"]]);
}

const TWO_GROUPS: &str = "labels:
  ambassador:
  - first: [{remote_address: {key: remote_address}}]
  - second: [{request_headers: {key: user, header_name: X-User}}]";

#[tokio::test]
async fn r02_a_group_without_its_header() {
    let found = asked(TWO_GROUPS, "/ peer=10.0.0.9").await;
    assert_eq!(found, [["remote_address=10.0.0.9"]]);
    let found = asked(TWO_GROUPS, "/ peer=10.0.0.9 x-user:u").await;
    assert_eq!(found, [["remote_address=10.0.0.9", "user=u"]]);
}

#[tokio::test]
async fn r03_entries_keep_their_order() {
    let labels = "labels:
  ambassador:
  - g:
    - generic_key: {key: k, value: v}
    - request_headers: {key: user, header_name: x-user}
    - request_headers: {key: path, header_name: \":path\"}
    - source_cluster: {key: ignored}
    - destination_cluster: {key: ignored}";
    assert_eq!(
        asked(labels, "/?q=1 x-user:u").await,
        [
            [
                "k=v,user=u,path=/?q=1,source_cluster=ambassador-default,destination_cluster=a_default"
            ]
        ]
    );
}

#[tokio::test]
async fn r04_defaults_of_the_module() {
    let limiter = Limiter::always(ok()).await;
    let case = labelled("")
        .module("default_labels: {ambassador: {defaults: [{generic_key: {value: d}}, tenant]}}")
        .map("b", &format!("prefix: /b/\nrewrite: \"\"\n{GENERIC}"))
        .map("c", "prefix: /c/\nlabels: {other: []}\nrewrite: \"\"");
    let gate = limited(case, limiter.address, "").start().await;
    gate.rows(8080, &[("/", "a:/"), ("/b/", "b:/b/"), ("/c/", "c:/c/")])
        .await;
    assert_eq!(
        limiter.descriptors("ambassador"),
        [
            ["generic_key=d,generic_key=tenant"],
            ["generic_key=d,generic_key=tenant,generic_key=a"],
        ]
    );
}

#[tokio::test]
async fn r05_labels_of_another_domain() {
    let limiter = Limiter::always(over()).await;
    let labels = "labels: {other: [{g: [{generic_key: {value: a}}]}]}";
    let gate = gate(&limiter, labels, "").await;
    gate.rows(8080, &[("/", "a:/")]).await;
    gate.diagnoses(&["I-RL-DOMAIN"]);
    assert!(limiter.asked().is_empty());
    // The domain of the service is the one that counts; probes have no labels at all.
    let gate = self::gate(&limiter, labels, "domain: other").await;
    gate.rows(8080, &[("/", "429"), ("/ambassador/v0/check_alive", "200")])
        .await;
    assert_eq!(limiter.descriptors("other"), [["generic_key=a"]]);
}

#[tokio::test]
async fn r06_labels_see_what_authorisation_says() {
    let limiter = Limiter::always(ok()).await;
    let judge = Judge::says("200 OK", &["x-user: ann"], "").await;
    let case = asks(
        labelled(
            "labels: {ambassador: [{g: [{request_headers: {key: user, header_name: x-user}}]}]}",
        ),
        "auth",
        &judge,
        "allowed_authorization_headers: [x-user]",
    );
    let gate = limited(case, limiter.address, "").start().await;
    gate.rows(8080, &[("/ x-user:eve", "a:/")]).await;
    assert_eq!(limiter.descriptors("ambassador"), [["user=ann"]]);
    // Who is denied is not counted.
    let judge = Judge::says("401 Unauthorized", &[], "").await;
    let case = asks(labelled(GENERIC), "auth", &judge, "");
    let gate = limited(case, limiter.address, "").start().await;
    gate.rows(8080, &[("/", "401")]).await;
    assert_eq!(limiter.asked().len(), 1);
}

#[tokio::test]
async fn r07_over_the_limit() {
    let mut answer = over();
    answer.response_headers_to_add = vec![header("x-rl", "1"), header("x-rl", "2")];
    answer.raw_body = b"slow down".to_vec();
    let limiter = Limiter::always(answer.clone()).await;
    let mut log = Log::new();
    let labels = format!("add_response_headers: {{x-added: extra}}\n{GENERIC}");
    let case = labelled(&labels).module(&log.json());
    let gate = limited(case, limiter.address, "").start().await;
    for answer in [gate.send(8080, "/").await, h2(&gate, &[]).await] {
        assert_eq!(
            (answer.status.as_u16(), answer.text().as_str()),
            (429, "slow down")
        );
        let values: Vec<_> = answer.headers.get_all("x-rl").iter().collect();
        assert_eq!(values, ["1", "2"]);
        for (name, value) in [
            ("x-envoy-ratelimited", "true"),
            ("x-added", "extra"),
            ("content-type", "text/plain"),
            ("content-length", "9"),
            ("server", "envoy"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{name}");
        }
        let reasons = log.reasons().await;
        let expected = (429, "RL".to_owned(), "request_rate_limited".to_owned());
        assert_eq!(reasons, expected);
    }
    assert_eq!(gate.origins["a"].seen().requests.load(Ordering::SeqCst), 0);
    let counted = "legate_ratelimit_total{cluster=\"a_default\",result=\"over_limit\"}";
    assert_eq!(gate.metric(counted).await, 2);

    // The type is the service's, where it says one; without a body there is none.
    let json = header("content-type", "application/json");
    answer.response_headers_to_add = vec![json];
    let limiter = Limiter::always(answer).await;
    let gate = self::gate(&limiter, GENERIC, "").await;
    let answer = gate.send(8080, "/").await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let limiter = Limiter::always(over()).await;
    let gate = self::gate(&limiter, GENERIC, "").await;
    let answer = gate.send(8080, "/").await;
    assert_eq!(answer.header("content-type"), None);
    assert_eq!(answer.header("content-length"), Some("0"));
}

#[tokio::test]
async fn r08_a_service_that_is_down_or_late() {
    let result =
        |result| format!("legate_ratelimit_total{{cluster=\"a_default\",result=\"{result}\"}}");
    let late = Limiter::says(|_| async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Ok(over())
    })
    .await;
    // Nobody listens there any more.
    let down = Limiter::always(over()).await.address;
    for address in [late.address, down] {
        let gate = limited(labelled(GENERIC), address, "timeout_ms: 20")
            .start()
            .await;
        gate.rows(8080, &[("/", "a:/")]).await;
        assert_eq!(gate.metric(&result("error")).await, 1);
        assert_eq!(gate.metric(&result("failure_mode_allowed")).await, 1);
    }
}

#[tokio::test]
async fn r09_a_service_that_is_down_denies() {
    let down = Limiter::always(ok()).await.address;
    let mut log = Log::new();
    let case = labelled(GENERIC).module(&log.json());
    let gate = limited(case, down, "failure_mode_deny: true").start().await;
    let answer = gate.send(8080, "/").await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (500, ""));
    assert_eq!(answer.header("x-envoy-ratelimited"), None);
    let expected = (500, "RLSE".to_owned(), "rate_limiter_error".to_owned());
    assert_eq!(log.reasons().await, expected);
    let answer = h2(&gate, &[("content-type", "application/grpc")]).await;
    assert_eq!(answer.header("grpc-status"), Some("2"));
    let denied = "legate_ratelimit_total{cluster=\"a_default\",result=\"failure_mode_allowed\"}";
    assert_eq!(gate.metric(denied).await, 0);
}

#[tokio::test]
async fn r10_grpc_clients() {
    let mut answer = over();
    answer.raw_body = "slow ü".as_bytes().to_vec();
    answer.response_headers_to_add = vec![
        header("x-rl", "1"),
        header("content-type", "application/json"),
    ];
    let limiter = Limiter::always(answer).await;
    for (spec, status) in [
        ("", "14"),
        ("grpc: {use_resource_exhausted_code: true}", "8"),
        ("grpc: {rate_limited_as_resource_exhausted: true}", "8"),
    ] {
        let gate = gate(&limiter, GENERIC, spec).await;
        let grpc = ("content-type", "application/grpc+proto");
        let over_h1 = gate
            .send(8080, "POST / content-type:application/grpc")
            .await;
        for answer in [h2(&gate, &[grpc]).await, over_h1] {
            assert_eq!(answer.status, 200);
            for (name, value) in [
                ("grpc-status", status),
                ("grpc-message", "slow %C3%BC"),
                ("content-type", "application/grpc"),
                ("x-envoy-ratelimited", "true"),
                ("x-rl", "1"),
            ] {
                assert_eq!(answer.header(name), Some(value), "{name}");
            }
        }
        // Others do not notice.
        assert_eq!(h2(&gate, &[]).await.status, 429);
    }
}

#[tokio::test]
async fn r11_versions_and_several_services() {
    let limiter = Limiter::always(over()).await;
    let spec = format!("service: {}\ntimeout_ms: 10000", limiter.address);
    // In a folder nothing has an age, and the names decide.
    let case = labelled(GENERIC)
        .object("RateLimitService", "b", "service: nowhere")
        .object("RateLimitService", "a", &spec);
    let gate = case.diagnoses(&["W-RL-PROTOCOL", "E-RL-DUPLICATE"]).await;
    gate.rows(8080, &[("/", "429")]).await;
    // A version that is not spoken is an error, and nobody is asked.
    let old = limited(labelled(GENERIC), limiter.address, "protocol_version: v2");
    let gate = old.diagnoses(&["E-RL-CONFIG"]).await;
    gate.rows(8080, &[("/", "a:/")]).await;
    assert_eq!(limiter.asked().len(), 1);
}

#[tokio::test]
async fn r12_an_empty_header_is_none() {
    let found = asked(TWO_GROUPS, "/ peer=10.0.0.9 x-user:").await;
    assert_eq!(found, [["remote_address=10.0.0.9"]]);
}

#[tokio::test]
async fn what_the_service_adds() {
    let mut answer = ok();
    answer.response_headers_to_add = vec![
        header("x-left", "3"),
        header("content-length", "1"),
        header("bad name", "x"),
    ];
    answer.request_headers_to_add = vec![
        header("x-plan", "gold"),
        header("host", "evil"),
        header(":path", "/evil"),
    ];
    let limiter = Limiter::always(answer).await;
    let labels = format!("remove_request_headers: [x-gone]\n{GENERIC}");
    let gate = gate(&limiter, &labels, "").await;
    let answer = gate.send(8080, "/x x-plan:free").await;
    assert_eq!(short(&answer), "a:/x");
    assert_eq!(answer.header("x-left"), Some("3"));
    assert_eq!(upstream_header(&answer, "x-plan"), ["free", "gold"]);
    assert_eq!(upstream_header(&answer, "host"), ["t"]);
    let dropped = "legate_ratelimit_dropped_headers_total{cluster=\"a_default\"}";
    assert_eq!(gate.metric(dropped).await, 4);
    // Onto replies of ours, too.
    drop(gate);
    let case = base().map("a", &format!("prefix: /\nservice: 127.0.0.1:1\n{GENERIC}"));
    let gate = limited(case, limiter.address, "").start().await;
    let answer = gate.send(8080, "/").await;
    assert_eq!(short(&answer), "503");
    assert_eq!(answer.header("x-left"), Some("3"));
}

/// Retries are the same request; unknown codes let pass; the members of a group share its labels.
#[tokio::test]
async fn one_question_for_each_request() {
    let limiter = Limiter::always(crate::rate_limit_server::RateLimitResponse::default()).await;
    let retrying = format!("{GENERIC}\nretry_policy: {{retry_on: 5xx, num_retries: 2}}");
    let case = labelled(&retrying).map("b", "prefix: /\nrewrite: \"\"\nweight: 50");
    let gate = limited(case, limiter.address, "").start().await;
    for request in ["/ draw=0", "/ draw=60"] {
        assert_eq!(gate.send(8080, request).await.status, 200, "{request}");
    }
    let answer = gate.send(8080, "/ x-test-status:503").await;
    assert_eq!(answer.status, 503);
    assert_eq!(limiter.asked().len(), 3);
}

/// A preflight is answered before anybody is asked, and a refusal says whom it may concern.
#[tokio::test]
async fn preflights_are_not_counted() {
    let limiter = Limiter::always(over()).await;
    let labels = format!("cors: {{origins: [\"https://a.example\"]}}\n{GENERIC}");
    let gate = gate(&limiter, &labels, "").await;
    let preflight = "OPTIONS / origin:https://a.example access-control-request-method:PUT";
    let origin = "access-control-allow-origin";
    let answer = gate.send(8080, preflight).await;
    assert_eq!(answer.status, 200);
    assert!(limiter.asked().is_empty());
    let answer = gate.send(8080, "/ origin:https://a.example").await;
    assert_eq!(answer.status, 429);
    assert_eq!(answer.header(origin), Some("https://a.example"));
}

/// The time that the service takes is not the route's.
#[tokio::test]
async fn the_routes_timeout_begins_afterwards() {
    let limiter = Limiter::says(|_| async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        Ok(ok())
    })
    .await;
    let gate = gate(&limiter, &format!("timeout_ms: 300\n{GENERIC}"), "").await;
    gate.rows(8080, &[("/", "a:/")]).await;
}

/// Served and refused are what the service said, whatever runs at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_counts_are_the_services() {
    const CLIENTS: usize = 32;
    const EACH: usize = 25;
    const LIMIT: usize = 300;
    let (said_ok, said_over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counts = (Arc::clone(&said_ok), Arc::clone(&said_over));
    let limiter = Limiter::says(move |_| {
        let granted = counts
            .0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| {
                (count < LIMIT).then_some(count + 1)
            });
        let answer = match granted {
            Ok(_) => ok(),
            Err(_) => {
                counts.1.fetch_add(1, Ordering::SeqCst);
                over()
            }
        };
        std::future::ready(Ok(answer))
    })
    .await;
    let gate = gate(&limiter, GENERIC, "timeout_ms: 60000").await;
    let address = gate.address(8080);
    let clients = (0..CLIENTS).map(|index| {
        tokio::spawn(async move {
            let mut client = match index % 2 {
                0 => Client::connect(address).await.unwrap(),
                _ => Client::connect_h2c(address).await.unwrap(),
            };
            let (mut served, mut refused) = (0, 0);
            for _ in 0..EACH {
                match within(client.get("t", "/")).await.unwrap().status.as_u16() {
                    200 => served += 1,
                    429 => refused += 1,
                    other => panic!("{other}"),
                }
            }
            (served, refused)
        })
    });
    let (mut served, mut refused) = (0, 0);
    for client in clients.collect::<Vec<_>>() {
        let (more_served, more_refused) = client.await.unwrap();
        served += more_served;
        refused += more_refused;
    }
    assert_eq!((served, refused), (LIMIT, CLIENTS * EACH - LIMIT));
    let said = (
        said_ok.load(Ordering::SeqCst),
        said_over.load(Ordering::SeqCst),
    );
    assert_eq!((served, refused), said);
    let seen = gate.origins["a"].seen().requests.load(Ordering::SeqCst);
    assert_eq!(seen, served);
}

/// An object that changes is followed, and a faulty version does not end what the good one did.
#[tokio::test]
async fn a_faulty_version_does_not_open_the_gate() {
    let limiter = Limiter::always(over()).await;
    let gate = gate(&limiter, GENERIC, "").await;
    let path = gate.folder.path().join("all.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let spoilt = text.replace("protocol_version: v3", "protocol_version: v2");
    assert_ne!(text, spoilt);
    std::fs::write(&path, spoilt).unwrap();
    let mut changes = gate.running.changes();
    let said = |gate: &Gate| {
        let all = gate.running.diagnostics();
        all.iter().any(|item| item.code.as_str() == "E-RL-CONFIG")
    };
    within(async {
        while !said(&gate) {
            changes.changed().await.unwrap();
        }
    })
    .await;
    let request = Request::parse("/");
    let mut client = Client::connect(gate.address(8080)).await.unwrap();
    let answer = gate.send_on(&mut client, &request).await;
    assert_eq!(answer.status, 429);
}
