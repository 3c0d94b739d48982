//! Circuit breakers (spec/services §3.1), as origins and clients see them.

use std::time::Duration;

use futures_util::future::join_all;
use legate_testkit::{Answer, Client, Fault, Step};

use crate::counting::{Counting, Reply};
use crate::harness::{Gate, base, manifest, short};
use crate::wire::within;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn assert_overflow(answer: &Answer) {
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.text(),
        "upstream connect error or disconnect/reset before headers. reset reason: overflow"
    );
    assert_eq!(answer.header("x-envoy-overloaded"), Some("true"));
}

/// A gateway of two workers with one route to an origin, and these breakers.
async fn limited(origin: &Counting, breakers: &str) -> Gate {
    let spec = format!(
        "prefix: /\ntimeout_ms: 0\nservice: {}\ncircuit_breakers: [{{{breakers}}}]",
        origin.address
    );
    base().workers(2).map("m", &spec).start().await
}

#[tokio::test]
async fn t_01() {
    let fault = Fault::start(vec![Step::Head, Step::Hold, Step::say(OK), Step::Again]).await;
    let gate = base()
        .map(
            "m",
            &format!(
                "prefix: /\ntimeout_ms: 0\nservice: {}\n\
                 circuit_breakers: [{{max_connections: 1, max_pending_requests: 1}}]",
                fault.address()
            ),
        )
        .start()
        .await;
    gate.diagnoses(&[]);
    let answers = async {
        let mut sent: Vec<_> = (0..5).map(|_| Box::pin(gate.send(8080, "/"))).collect();
        let mut refused = 0;
        while refused < 3 {
            let (answer, _, rest) = futures_util::future::select_all(sent).await;
            assert_overflow(&answer);
            refused += 1;
            sent = rest;
        }
        fault.until(|tally| tally.heads == 1).await;
        fault.release();
        fault.until(|tally| tally.heads == 2).await;
        fault.release();
        join_all(sent).await
    };
    let served: Vec<String> = within(answers).await.iter().map(short).collect();
    assert_eq!(served, ["200", "200"]);
    assert_eq!(fault.tally().connections, 1, "the one waits for the other");
}

/// `max_requests` alone refuses, on HTTP/2 as on HTTP/1.1, and each priority has its own.
#[tokio::test]
async fn requests_in_flight_are_limited_by_priority() {
    for grpc in [false, true] {
        let name = if grpc { "h2" } else { "h1" };
        let breakers =
            "circuit_breakers:\n- {max_requests: 1}\n- {priority: high, max_requests: 2}";
        let gate = base()
            .map(
                name,
                &format!("prefix: /\ntimeout_ms: 0\ngrpc: {grpc}\n{breakers}"),
            )
            .map(
                "high",
                &format!(
                    "prefix: /high/\ntimeout_ms: 0\ngrpc: {grpc}\npriority: high\nservice: {name}\n\
                     {breakers}"
                ),
            )
            .start()
            .await;
        gate.diagnoses(&[]);
        let origin = &gate.origins[name];
        let slow = "x-test-delay-ms:1500";
        let gate = &gate;
        let sent = join_all(
            ["/a", "/high/a", "/high/b"]
                .map(|path| async move { gate.send(8080, &format!("{path} {slow}")).await }),
        );
        let refused = async {
            while origin
                .seen()
                .requests
                .load(std::sync::atomic::Ordering::SeqCst)
                < 3
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            for path in ["/x", "/high/x"] {
                assert_overflow(&gate.send(8080, path).await);
            }
        };
        let (served, ()) = within(futures_util::future::join(sent, refused)).await;
        assert!(served.iter().all(|answer| answer.status == 200));
        // And when they are over, there is room again.
        assert_eq!(gate.send(8080, "/x").await.status, 200);
    }
}

async fn load(gate: &Gate, clients: usize, requests: usize) -> (usize, usize) {
    let address = gate.address(8080);
    let clients = (0..clients).map(|_| async move {
        let mut client = Client::connect(address).await.unwrap();
        let (mut served, mut refused) = (0, 0);
        for _ in 0..requests {
            let answer = client.get("t", "/").await.unwrap();
            if answer.status == 200 {
                served += 1;
            } else {
                assert_overflow(&answer);
                refused += 1;
            }
        }
        (served, refused)
    });
    let counts = within(join_all(clients)).await;
    counts
        .into_iter()
        .fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1))
}

/// Two workers share the limits: the origin never sees more, and nobody starves.
#[tokio::test(flavor = "multi_thread")]
async fn connections_are_limited_over_all_workers() {
    let origin = Counting::start(vec![Reply::After(Duration::from_millis(2))]).await;
    let gate = limited(&origin, "max_connections: 3").await;
    assert_eq!(load(&gate, 40, 20).await, (800, 0));
    assert_eq!((origin.most_open(), origin.most_running()), (3, 3));
}

/// Many clients on both workers: the origin never has more than the limits, and as much; every request
/// is served or refused; and who asks while an idle connection is there does not wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_clients_on_two_workers() {
    const LIMIT: usize = 8;
    let origin = Counting::start(vec![Reply::After(Duration::from_millis(5))]).await;
    let mapping = |limit: usize| {
        let spec = format!(
            "hostname: \"*\"\nprefix: /\ntimeout_ms: 0\nservice: {}\ncircuit_breakers: \
             [{{max_connections: {limit}, max_pending_requests: 40}}]",
            origin.address
        );
        manifest("Mapping", "default", "m", &spec)
    };
    let gate = base().workers(2).start().await;
    let path = gate.folder.path().join("m.yaml");
    let change = async |limit: usize| {
        let mut changes = gate.running.changes();
        changes.mark_unchanged();
        std::fs::write(&path, mapping(limit)).unwrap();
        within(changes.changed()).await.unwrap();
    };
    change(LIMIT).await;
    let mut clients = Vec::new();
    let few = |gate: &Gate| {
        let accepted = gate.accepted.lock().unwrap();
        accepted.len() < 2 || accepted.values().any(|count| *count < 50)
    };
    while clients.len() < 200 || few(&gate) {
        let mut client = Client::connect(gate.address(8080)).await.unwrap();
        // It is accepted, and by somebody.
        assert_eq!(client.get("t", "/").await.unwrap().status, 200);
        clients.push(client);
    }
    let first = clients.len();
    let sent = first * 21;
    let running = clients.into_iter().map(|client| {
        tokio::spawn(async move {
            let mut client = client;
            let (mut served, mut refused) = (0, 0);
            for _ in 0..20 {
                let body = bytes::Bytes::new();
                let answer = client.request("POST", "t", "/", &[], body).await.unwrap();
                if answer.status == 200 {
                    served += 1;
                } else {
                    assert_overflow(&answer);
                    refused += 1;
                }
            }
            (served, refused, client)
        })
    });
    let running: Vec<_> = running.collect();
    // Halving closes nothing that is busy: no answer is lost below.
    let before = origin.requests();
    while origin.requests() < before + 200 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let most = (origin.most_open(), origin.most_running());
    change(LIMIT / 2).await;
    let (mut served, mut refused, mut clients) = (first, 0, Vec::new());
    for task in running {
        let (some, others, client) = within(task).await.unwrap();
        served += some;
        refused += others;
        clients.push(client);
    }
    assert_eq!(most, (LIMIT, LIMIT));
    assert_eq!((origin.most_open(), origin.most_running()), (LIMIT, LIMIT));
    assert_eq!(served + refused, sent);
    assert_eq!(origin.requests(), served);
    assert!(refused > 0);
    let flag = "legate_local_replies_total{flag=\"UO\"} ";
    let page = gate.page("/metrics").await;
    let counted = page.lines().find_map(|line| line.strip_prefix(flag));
    assert_eq!(counted, Some(refused.to_string().as_str()));

    // All connections are idle now, whoever's they are.
    for client in &mut clients {
        let start = std::time::Instant::now();
        assert_eq!(within(client.get("t", "/")).await.unwrap().status, 200);
        assert!(start.elapsed() < Duration::from_secs(1));
    }
}

/// A single connection serves two workers, and a request waits no second for one that is idle.
#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_handed_over() {
    let origin = Counting::start(vec![Reply::Status(200)]).await;
    let gate = limited(&origin, "max_connections: 1").await;
    let start = std::time::Instant::now();
    // Connections are spread by the system: among so many are some of either worker.
    for _ in 0..20 {
        assert_eq!(within(gate.send(8080, "/")).await.status, 200);
    }
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(origin.most_open(), 1);
}

/// Refused and served requests add up, whoever refuses.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_served_is_refused() {
    let origin = Counting::start(vec![Reply::After(Duration::from_millis(2))]).await;
    let gate = limited(&origin, "max_connections: 2, max_pending_requests: 2").await;
    let (served, refused) = load(&gate, 30, 10).await;
    assert_eq!(served + refused, 300);
    assert_eq!(served, origin.requests());
    assert!(refused > 0);
    assert_eq!((origin.most_open(), origin.most_running()), (2, 2));
}

/// Halving a limit closes no busy connection; the new limit holds from then on.
#[tokio::test]
async fn limits_change_under_load() {
    let fault = Fault::start(vec![Step::Head, Step::Hold, Step::say(OK), Step::Again]).await;
    let mapping = |limit: u32| {
        let spec = format!(
            "hostname: \"*\"\nprefix: /\ntimeout_ms: 0\nservice: {}\n\
             circuit_breakers: [{{max_connections: {limit}}}]",
            fault.address()
        );
        manifest("Mapping", "default", "m", &spec)
    };
    let gate = base().start().await;
    let path = gate.folder.path().join("m.yaml");
    let change = async |limit: u32| {
        let mut changes = gate.running.changes();
        changes.mark_unchanged();
        std::fs::write(&path, mapping(limit)).unwrap();
        within(changes.changed()).await.unwrap();
    };
    change(4).await;
    let first = join_all((0..4).map(|_| gate.send(8080, "/")));
    let rest = async {
        fault.until(|tally| tally.heads == 4).await;
        change(2).await;
        let more = join_all((0..4).map(|_| gate.send(8080, "/")));
        let release = async {
            for _ in 0..8 {
                fault.release();
                let heads = fault.tally().heads;
                fault
                    .until(|tally| tally.heads > heads || tally.heads == 8)
                    .await;
            }
            fault.release();
            fault.release();
        };
        futures_util::future::join(more, release).await.0
    };
    let (first, more) = within(futures_util::future::join(first, rest)).await;
    for answer in first.iter().chain(&more) {
        assert_eq!(answer.status, 200);
    }
    assert_eq!(fault.tally().lost, 0, "no connection was broken");
}

/// What cannot be meant is said, and the Mapping fails rather than run without its limits.
#[tokio::test]
async fn bad_breakers_are_refused() {
    base()
        .map("a", "prefix: /a/\ncircuit_breakers: [{max_requests: -1}]")
        .map("b", "prefix: /b/\npriority: low")
        .check(&[("/a/", "500"), ("/b/", "500")])
        .await
        .diagnoses(&["E-POLICY-BREAKER"]);
}
