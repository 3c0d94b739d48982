//! Passive ejection (spec/services §3.2), as origins and clients see it. Time is only ever a lower
//! bound: an endpoint that is out is asked once a second at most.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use legate_testkit::Client;

use crate::harness::{Case, Gate, base, service};
use crate::moody::{Mood, Moody};
use crate::wire::within;

const OUT: Duration = Duration::from_secs(1);
const FAILURES: usize = 5;

/// A gateway with a Mapping `m` to a Service `up` with these endpoints.
fn case(endpoints: &[SocketAddr]) -> Case {
    base().raw(&service("default", "up", 80, endpoints)).map(
        "m",
        "prefix: /\nservice: up\nresolver: endpoint\ntimeout_ms: 0",
    )
}

/// Sends requests that nobody repeats, one after the other; returns how many failed.
async fn post(gate: &Gate, path: &str, count: usize) -> usize {
    let mut failed = 0;
    for _ in 0..count {
        let answer = within(gate.send(8080, &format!("POST {path}"))).await;
        if answer.status == 503 {
            failed += 1;
        }
    }
    failed
}

/// How often an endpoint that is out may have been tried since then.
fn trials(since: Instant) -> usize {
    usize::try_from(since.elapsed().as_secs()).unwrap()
}

async fn active(gate: &Gate) -> u64 {
    let name = "envoy_cluster_outlier_detection_ejections_active";
    gate.cluster_metric(name, "up").await
}

async fn enforced(gate: &Gate) -> u64 {
    let name = "envoy_cluster_outlier_detection_ejections_enforced_total";
    gate.cluster_metric(name, "up").await
}

#[tokio::test]
async fn five_failures_in_a_row_and_back_by_one_trial() {
    let good = Moody::start(Mood::Answer(200)).await;
    let bad = Moody::start(Mood::Reset).await;
    let gate = case(&[good.address, bad.address]).start().await;
    let start = Instant::now();
    let failed = post(&gate, "/", 40).await;
    assert_eq!(failed, bad.requests(), "nobody repeats a POST");
    assert!(
        (FAILURES..=FAILURES + trials(start)).contains(&failed),
        "{failed}"
    );
    assert_eq!(good.requests(), 40 - failed);
    assert_eq!((active(&gate).await, enforced(&gate).await), (1, 1));
    assert_eq!(
        gate.cluster_metric("envoy_cluster_membership_healthy", "up")
            .await,
        1
    );
    let flags = format!("up::{}::health_flags::/failed_outlier_check", bad.address);
    assert!(gate.page("/clusters").await.contains(&flags));

    // It comes back by the first request that is answered, with its full share.
    let before = bad.requests();
    bad.set(Mood::Answer(200));
    let back = async {
        while bad.requests() == before {
            assert_eq!(post(&gate, "/", 1).await, 0);
        }
    };
    within(back).await;
    assert!(start.elapsed() >= OUT);
    let (one, other) = (good.requests(), bad.requests());
    assert_eq!(post(&gate, "/", 20).await, 0);
    assert_eq!(
        (good.requests() - one, bad.requests() - other),
        (10, 10),
        "in turn again"
    );
    assert_eq!((active(&gate).await, enforced(&gate).await), (0, 1));
}

/// While the trial is under way, everybody else goes elsewhere; a client that leaves decides nothing.
#[tokio::test]
async fn one_trial_at_a_time() {
    let good = Moody::start(Mood::Answer(200)).await;
    let bad = Moody::start(Mood::Reset).await;
    let gate = case(&[good.address, bad.address]).start().await;
    while active(&gate).await == 0 {
        post(&gate, "/", 1).await;
    }
    bad.set(Mood::Silent);
    let before = bad.requests();
    let mut waiting = Vec::new();
    let trial = async {
        while bad.requests() == before {
            let mut client = Client::connect(gate.address(8080)).await.unwrap();
            let task = tokio::spawn(async move { client.get("t", "/").await });
            // Either the good one has answered, or the other one has it.
            while !task.is_finished() && bad.requests() == before {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            waiting.push(task);
        }
    };
    within(trial).await;
    assert_eq!(bad.requests(), before + 1);
    let answers = within(join_all((0..20).map(|_| gate.send(8080, "/")))).await;
    assert!(answers.iter().all(|it| it.status == 200));
    assert_eq!(bad.requests(), before + 1, "the trial is still under way");

    // The client goes away: the next request is a trial at once.
    bad.set(Mood::Answer(200));
    for task in &waiting {
        task.abort();
    }
    let back = async {
        while bad.requests() == before + 1 {
            gate.send(8080, "/").await;
        }
    };
    within(back).await;
    assert_eq!(active(&gate).await, 0);
}

/// A trial that fails keeps the endpoint out for a second more.
#[tokio::test]
async fn a_failed_trial_is_a_second_more() {
    let good = Moody::start(Mood::Answer(200)).await;
    let bad = Moody::start(Mood::Reset).await;
    let gate = case(&[good.address, bad.address]).start().await;
    let start = Instant::now();
    let tried = async {
        while bad.requests() < FAILURES + 2 {
            post(&gate, "/", 1).await;
        }
    };
    within(tried).await;
    assert!(start.elapsed() >= 2 * OUT, "{:?}", start.elapsed());
    assert_eq!((active(&gate).await, enforced(&gate).await), (1, 1));
}

#[tokio::test]
async fn at_most_half_and_never_the_last() {
    for (count, most) in [(1, 0), (2, 1), (3, 1), (4, 2)] {
        let mut origins = Vec::new();
        for _ in 0..count {
            origins.push(Moody::start(Mood::Reset).await);
        }
        let addresses: Vec<_> = origins.iter().map(|it| it.address).collect();
        let gate = case(&addresses).start().await;
        let sent = 12 * count;
        assert_eq!(post(&gate, "/", sent).await, sent);
        assert_eq!(active(&gate).await, most, "of {count}");
        let arrived: usize = origins.iter().map(Moody::requests).sum();
        assert_eq!(arrived, sent, "each is sent somewhere");
        if count > 1 {
            let name = "envoy_cluster_outlier_detection_ejections_overflow";
            assert!(gate.cluster_metric(name, "up").await > 0);
        }
    }
}

/// Answers are never failures, whatever they say, nor are routes' timeouts: only some paths may be
/// bad.
#[tokio::test]
async fn answers_and_timeouts_do_not_count() {
    let good = Moody::start(Mood::Answer(200)).await;
    let bad = Moody::start(Mood::Answer(503)).await;
    let gate = base()
        .raw(&service("default", "up", 80, &[good.address, bad.address]))
        .map(
            "m",
            "prefix: /\nservice: up\nresolver: endpoint\ntimeout_ms: 50",
        )
        .start()
        .await;
    post(&gate, "/", 20).await;
    assert_eq!((good.requests(), bad.requests()), (10, 10));
    bad.set(Mood::Silent);
    post(&gate, "/", 14).await;
    assert_eq!((good.requests(), bad.requests()), (17, 17));
    assert_eq!(active(&gate).await, 0);
}

/// A connect that is refused goes elsewhere without the client's noticing, and is soon not tried any
/// more.
#[tokio::test]
async fn refused_connects_count() {
    let good = Moody::start(Mood::Answer(200)).await;
    let closed = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let gate = case(&[good.address, closed]).start().await;
    let start = Instant::now();
    assert_eq!(post(&gate, "/", 40).await, 0);
    let page = gate.page("/clusters").await;
    let refused: usize = page
        .lines()
        .find_map(|line| line.strip_prefix("up::cx_connect_fail::"))
        .unwrap()
        .parse()
        .unwrap();
    assert!(
        (FAILURES..=FAILURES + trials(start)).contains(&refused),
        "{refused}"
    );
    assert_eq!((good.requests(), active(&gate).await), (40, 1));
}

/// What one route finds out spares all others that use the endpoint, whatever their settings.
#[tokio::test]
async fn all_routes_share_it() {
    let good = Moody::start(Mood::Answer(200)).await;
    let bad = Moody::start(Mood::Reset).await;
    let mut case = base().raw(&service("default", "up", 80, &[good.address, bad.address]));
    for name in ["a", "b", "c"] {
        case = case.map(
            name,
            &format!("prefix: /{name}/\nservice: up\nresolver: endpoint\ncluster_tag: {name}"),
        );
    }
    let gate = case.start().await;
    let start = Instant::now();
    let mut failed = 0;
    for _ in 0..10 {
        for name in ["a", "b", "c"] {
            failed += post(&gate, &format!("/{name}/"), 1).await;
        }
    }
    assert!(
        (FAILURES..=FAILURES + trials(start)).contains(&failed),
        "{failed}"
    );
    assert_eq!(failed, bad.requests());
}

#[tokio::test]
async fn the_module_switches_it_off() {
    let good = Moody::start(Mood::Answer(200)).await;
    let bad = Moody::start(Mood::Reset).await;
    let gate = case(&[good.address, bad.address])
        .module("outlier_detection: {enabled: false}")
        .start()
        .await;
    gate.diagnoses(&[]);
    assert_eq!(post(&gate, "/", 30).await, 15);
    assert_eq!((good.requests(), bad.requests()), (15, 15));
}

/// Two workers fail at once, and one endpoint is left out once.
#[tokio::test(flavor = "multi_thread")]
async fn workers_share_it() {
    let good = Moody::start(Mood::Answer(200)).await;
    let bad = Moody::start(Mood::Reset).await;
    let gate = case(&[good.address, bad.address]).workers(2).start().await;
    let address = gate.address(8080);
    let start = Instant::now();
    let clients = (0..20).map(|_| async move {
        let mut failed = 0;
        let mut client = Client::connect(address).await.unwrap();
        for _ in 0..20 {
            let body = bytes::Bytes::new();
            let answer = client.request("POST", "t", "/", &[], body).await.unwrap();
            failed += usize::from(answer.status == 503);
        }
        failed
    });
    let failed: usize = within(join_all(clients)).await.into_iter().sum();
    // Those that were under way when it was left out fail as well.
    let most = FAILURES + 20 + trials(start);
    assert!((FAILURES..=most).contains(&failed), "{failed}");
    assert_eq!((active(&gate).await, enforced(&gate).await), (1, 1));
}
