//! Rate limits that the gateway counts itself: the worked examples of spec/services §2.6, and the rules
//! of §2.7.

use bytes::Bytes;
use futures_util::future::join_all;
use legate_testkit::{Answer, Client};

use crate::harness::{Case, Gate, base, upstream_header};
use crate::rate_limit_server::{Limiter, limited, ok, over};
use crate::wire::within;

/// A RateLimitPolicy of this name.
pub(crate) fn policy(name: &str, spec: &str) -> String {
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "apiVersion: legate.dev/v1alpha1\nkind: RateLimitPolicy\n\
         metadata: {{name: {name}, namespace: default}}\nspec:\n{spec}"
    )
}

/// A Mapping `/` to backend `a` whose groups are these lines, on two workers.
pub(crate) fn grouped(groups: &[&str]) -> Case {
    let groups: String = groups
        .iter()
        .map(|group| format!("  - g: {group}\n"))
        .collect();
    let spec = format!("prefix: /\nrewrite: \"\"\nlabels:\n  ambassador:\n{groups}");
    base().map("a", &spec).workers(2)
}

pub(crate) const ADDRESS: &str = "[{remote_address: {key: remote_address}}]";
const USER: &str = "[{request_headers: {key: user, header_name: x-user}}]";

/// The example of spec/services §2.6, with units that no test outlives.
const EXAMPLE: &str = "descriptors:
- key: remote_address
  rate_limit: {unit: day, requests_per_unit: 100}
- key: user
  value: blocked
  rate_limit: {unit: second, requests_per_unit: 0}
- key: plan
  value: free
  descriptors:
  - key: path
    rate_limit: {unit: day, requests_per_unit: 1000, name: free-path}
    shadow_mode: true
- key: partner
  value: acme
  rate_limit: {unlimited: true}";

async fn example(groups: &[&str]) -> Gate {
    let gate = grouped(groups).raw(&policy("p", EXAMPLE)).start().await;
    gate.diagnoses(&[]);
    gate
}

/// Statuses of so many requests over one connection, as counts of 200 and 429.
pub(crate) async fn counts(gate: &Gate, request: &str, times: usize) -> (usize, usize) {
    let request = crate::harness::Request::parse(request);
    gate.set_peer(&request);
    let mut client = Client::connect(gate.address(8080)).await.unwrap();
    let (mut passed, mut refused) = (0, 0);
    for _ in 0..times {
        match gate.send_on(&mut client, &request).await.status.as_u16() {
            200 => passed += 1,
            429 => refused += 1,
            other => panic!("{other}"),
        }
    }
    (passed, refused)
}

#[tokio::test]
async fn r20_each_address_has_a_count_of_its_own() {
    let gate = example(&[ADDRESS]).await;
    assert_eq!(counts(&gate, "/ peer=1.1.1.1", 101).await, (100, 1));
    assert_eq!(counts(&gate, "/ peer=1.1.1.2", 1).await, (1, 0));
}

#[tokio::test]
async fn r21_zero_is_never() {
    let gate = example(&[USER]).await;
    let blocked = gate.send(8080, "/ x-user:blocked").await;
    assert_eq!(blocked.status, 429);
    assert_eq!(blocked.header("x-envoy-ratelimited"), Some("true"));
    assert_eq!(blocked.header("retry-after"), None, "waiting does not help");
    assert_eq!(blocked.body.len(), 0);
    gate.rows(8080, &[("/ x-user:ann", "a:/"), ("/", "a:/")])
        .await;
}

#[tokio::test]
async fn r22_a_limit_is_for_descriptors_of_its_depth() {
    let gate = example(&["[{generic_key: {key: plan, value: free}}]"]).await;
    assert_eq!(counts(&gate, "/", 20).await, (20, 0));
}

#[tokio::test]
async fn r23_a_shadow_counts_and_lets_pass() {
    let group = "[{generic_key: {key: plan, value: free}}, {generic_key: {key: path, value: /a}}]";
    let gate = example(&[group]).await;
    assert_eq!(counts(&gate, "/", 1001).await, (1001, 0));
    let decided = async |result: &str| {
        gate.metric(&format!(
            "legate_ratelimit_decisions_total{{domain=\"ambassador\",limit=\"free-path\",result=\"{result}\"}}"
        ))
        .await
    };
    assert_eq!(decided("ok").await, 1000);
    assert_eq!(decided("shadow_over").await, 1);
    assert_eq!(decided("over").await, 0);
}

#[tokio::test]
async fn r24_unlimited_is_always() {
    let gate = example(&["[{generic_key: {key: partner, value: acme}}]"]).await;
    assert_eq!(counts(&gate, "/", 200).await, (200, 0));
}

const TEN_A_DAY: &str = "descriptors:
- key: remote_address
  rate_limit: {unit: day, requests_per_unit: 10, name: per-ip}";

#[tokio::test]
async fn clients_are_told_what_is_left() {
    let spec = format!("headers: draft03\n{TEN_A_DAY}");
    let gate = grouped(&[ADDRESS]).raw(&policy("p", &spec)).start().await;
    let text = |answer: &Answer, name: &str| answer.header(name).unwrap_or("-").to_owned();
    let first = gate.send(8080, "/").await;
    assert_eq!(
        text(&first, "x-ratelimit-limit"),
        "10, 10;w=86400;name=\"per-ip\""
    );
    assert_eq!(text(&first, "x-ratelimit-remaining"), "9");
    assert_eq!(text(&first, "x-ratelimit-reset"), "8640");
    assert_eq!(counts(&gate, "/", 9).await, (9, 0));
    let refused = gate.send(8080, "/").await;
    assert_eq!(refused.status, 429);
    assert_eq!(text(&refused, "x-ratelimit-remaining"), "0");
    let wait: u64 = text(&refused, "retry-after").parse().unwrap();
    assert!((8600..=8640).contains(&wait), "{wait}");
    // Off unless asked for.
    let quiet = grouped(&[ADDRESS])
        .raw(&policy("p", TEN_A_DAY))
        .start()
        .await;
    assert_eq!(text(&quiet.send(8080, "/").await, "x-ratelimit-limit"), "-");
}

#[tokio::test]
async fn grpc_clients_are_told_in_their_own_way() {
    for (option, expected) in [("", "14"), ("grpc_resource_exhausted: true\n", "8")] {
        let spec = format!(
            "{option}descriptors: [{{key: user, value: x, rate_limit: {{unit: day, requests_per_unit: 0}}}}]"
        );
        let gate = grouped(&[USER]).raw(&policy("p", &spec)).start().await;
        let mut client = Client::connect_h2c(gate.address(8080)).await.unwrap();
        let headers = [("content-type", "application/grpc"), ("x-user", "x")];
        let answer = client
            .request("POST", "t", "/", &headers, Bytes::new())
            .await
            .unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("grpc-status"), Some(expected));
    }
}

#[tokio::test]
async fn a_burst_is_exact_over_workers() {
    let spec =
        "descriptors: [{key: remote_address, rate_limit: {unit: day, requests_per_unit: 150}}]";
    let gate = grouped(&[ADDRESS]).raw(&policy("p", spec)).start().await;
    // Sixteen connections at once: the kernel spreads them over both workers.
    let all = join_all((0..16).map(|_| counts(&gate, "/", 25))).await;
    let passed: usize = all.iter().map(|(passed, _)| passed).sum();
    assert_eq!(passed, 150);
}

#[tokio::test]
async fn counters_survive_a_change_of_the_policy() {
    let gate = grouped(&[ADDRESS, USER])
        .raw(&policy("p", TEN_A_DAY))
        .start()
        .await;
    assert_eq!(counts(&gate, "/", 11).await, (10, 1));
    let path = gate.folder.path().join("all.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let more =
        format!("{TEN_A_DAY}\n- key: user\n  rate_limit: {{unit: day, requests_per_unit: 1}}");
    let changed = text.replace(&policy("p", TEN_A_DAY), &policy("p", &more));
    assert_ne!(changed, text);
    let mut changes = gate.running.changes();
    changes.mark_unchanged();
    std::fs::write(&path, changed).unwrap();
    within(changes.changed()).await.unwrap();
    // The limit that is as it was still owes; the new one counts.
    assert_eq!(counts(&gate, "/", 2).await, (0, 2));
    assert_eq!(counts(&gate, "/ peer=9.9.9.9 x-user:u", 3).await, (1, 2));
}

#[tokio::test]
async fn edge_stack_limits_match_prefixes() {
    let spec = "domain: ambassador
limits:
- pattern: [{generic_key: g}]
  rate: 3
  unit: day
- pattern: [{generic_key: g}, {user: \"*\"}]
  rate: 1
  unit: Day
  burstFactor: 2
  injectRequestHeaders: [{name: x-limited-by, value: user}]
  injectResponseHeaders: [{name: x-limit, value: \"2\"}]";
    let groups = [
        "[{generic_key: {value: g}}, {request_headers: {key: user, header_name: x-user}}]",
        "[{generic_key: {value: g}}, {request_headers: {key: other, header_name: x-other}}]",
    ];
    let gate = grouped(&groups)
        .object("RateLimit", "r", spec)
        .start()
        .await;
    gate.diagnoses(&["I-RL-WINDOW"]);
    let answer = gate.send(8080, "/ x-user:u").await;
    assert_eq!(upstream_header(&answer, "x-limited-by"), ["user"]);
    assert_eq!(answer.header("x-limit"), Some("2"));
    assert_eq!(counts(&gate, "/ x-user:u", 3).await, (1, 2));
    assert_eq!(counts(&gate, "/ x-user:v", 3).await, (2, 1));
    // Only the shorter pattern: what follows in the group does not tell requests apart.
    assert_eq!(counts(&gate, "/ x-other:1", 2).await, (2, 0));
    assert_eq!(counts(&gate, "/ x-other:2", 2).await, (1, 1));
}

#[tokio::test]
async fn a_service_is_asked_about_what_passes_here() {
    let limiter = Limiter::always(ok()).await;
    let case = limited(grouped(&[ADDRESS]), limiter.address, "");
    let gate = case.raw(&policy("p", TEN_A_DAY)).start().await;
    assert_eq!(counts(&gate, "/", 15).await, (10, 5));
    assert_eq!(limiter.descriptors("ambassador").len(), 10);
    // Either may refuse.
    let limiter = Limiter::always(over()).await;
    let case = limited(grouped(&[ADDRESS]), limiter.address, "");
    let gate = case.raw(&policy("p", TEN_A_DAY)).start().await;
    assert_eq!(counts(&gate, "/", 3).await, (0, 3));
}

#[tokio::test]
async fn millions_of_keys_take_no_more_memory() {
    let spec = "descriptors: [{key: user, rate_limit: {unit: day, requests_per_unit: 3}}]";
    let gate = grouped(&[USER])
        .cells(1024)
        .raw(&policy("p", spec))
        .start()
        .await;
    assert_eq!(counts(&gate, "/ x-user:attacker", 4).await, (3, 1));
    let mut client = Client::connect(gate.address(8080)).await.unwrap();
    for user in 0..5000 {
        let user = user.to_string();
        let headers = [("x-user", user.as_str())];
        let answer = client.request("GET", "t", "/", &headers, Bytes::new());
        assert_eq!(answer.await.unwrap().status, 200);
    }
    assert!(gate.metric("legate_ratelimit_evictions_total").await > 3000);
    // Its cell is spent, those of the others are not: it stayed.
    assert_eq!(counts(&gate, "/ x-user:attacker", 2).await, (0, 2));
}
