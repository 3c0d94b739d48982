//! Rate limits that gateways share through a real Redis (spec/services §2.7.5).

use std::time::{Duration, Instant};

use legate_testkit::{Client, Redis};
use redis::AsyncCommands as _;

use crate::harness::{Case, Gate, Request};
use crate::limits::{ADDRESS, counts, grouped, policy};
use crate::wire::within;

/// A policy of `requests` per `unit` and address, in this store.
fn shared(store: &str, unit: &str, requests: u32) -> String {
    let spec = format!(
        "enforcement: shared\n{store}descriptors:\n- key: remote_address\n  \
         rate_limit: {{unit: {unit}, requests_per_unit: {requests}}}"
    );
    policy("p", &spec)
}

/// The same, patient, at a Redis.
fn at(redis: &Redis, unit: &str, requests: u32) -> String {
    let store = format!(
        "store: {{service: \"{}\", timeout_ms: 10000}}\n",
        redis.address()
    );
    shared(&store, unit, requests)
}

fn case(policy: &str) -> Case {
    grouped(&[ADDRESS]).raw(policy)
}

async fn two(policy: &str) -> [Gate; 2] {
    let gates = [case(policy).start().await, case(policy).start().await];
    for gate in &gates {
        gate.diagnoses(&[]);
    }
    gates
}

async fn client(redis: &Redis) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(format!("redis://{}", redis.address())).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

async fn errors(gate: &Gate) -> u64 {
    gate.metric("legate_ratelimit_store_errors_total").await
}

async fn fallbacks(gate: &Gate) -> u64 {
    gate.metric("legate_ratelimit_store_fallback_total").await
}

#[tokio::test]
async fn two_gateways_share_one_burst() {
    let redis = Redis::start().await.unwrap();
    let [one, two] = two(&at(&redis, "day", 120)).await;
    let (first, second) = tokio::join!(counts(&one, "/", 100), counts(&two, "/", 100));
    assert_eq!(first.0 + second.0, 120, "{first:?} {second:?}");
    for gate in [&one, &two] {
        assert_eq!((errors(gate).await, fallbacks(gate).await), (0, 0));
    }
    // What is there is as it was agreed: one slot for a domain, no request text, and an end.
    let mut redis = client(&redis).await;
    let keys: Vec<String> = redis.keys("*").await.unwrap();
    let [key] = &keys[..] else { panic!("{keys:?}") };
    let (start, hash) = key.rsplit_once(':').unwrap();
    assert!(
        start.starts_with("legate:rl:{default/ambassador}:"),
        "{key}"
    );
    assert_eq!(hash.len(), 32);
    let ttl: i64 = redis.pttl(key).await.unwrap();
    assert!((86_000_000..=86_400_001).contains(&ttl), "{ttl}");
}

/// Once the burst is gone, what passes is the rate, over both gateways together.
#[tokio::test]
async fn two_gateways_share_one_rate() {
    let redis = Redis::start().await.unwrap();
    let [one, two] = two(&at(&redis, "second", 100)).await;
    let request = Request::parse("/");
    let mut clients = [
        Client::connect(one.address(8080)).await.unwrap(),
        Client::connect(two.address(8080)).await.unwrap(),
    ];
    let gates = [&one, &two];
    let mut began: Option<Instant> = None;
    let mut passed = 0_u32;
    let mut turn = 0_usize;
    let elapsed = loop {
        let answer = gates[turn % 2]
            .send_on(&mut clients[turn % 2], &request)
            .await;
        turn += 1;
        match (answer.status.as_u16(), began) {
            (429, None) => began = Some(Instant::now()),
            (200, Some(_)) => passed += 1,
            _ => {}
        }
        if let Some(elapsed) = began
            .map(|began| began.elapsed())
            .filter(|it| it.as_secs() >= 10)
        {
            break elapsed;
        }
    };
    let expected = elapsed.as_secs_f64() * 100.0;
    assert!(
        (f64::from(passed) - expected).abs() <= expected * 0.02,
        "{passed} of {expected}"
    );
}

#[tokio::test]
async fn a_refusal_is_remembered_until_its_time_is_over() {
    let redis = Redis::start().await.unwrap();
    let gate = case(&at(&redis, "day", 2)).workers(1).start().await;
    assert_eq!(counts(&gate, "/", 3).await, (2, 1));
    let calls = async || -> u64 {
        let mut redis = client(&redis).await;
        let stats: String = redis::cmd("INFO")
            .arg("commandstats")
            .query_async(&mut redis)
            .await
            .unwrap();
        let line = stats
            .lines()
            .find(|line| line.starts_with("cmdstat_evalsha"));
        let calls = line.unwrap().split(['=', ',']).nth(1).unwrap();
        calls.parse().unwrap()
    };
    let before = calls().await;
    assert_eq!(counts(&gate, "/", 20).await, (0, 20));
    assert_eq!(calls().await, before, "nobody asked again");
}

#[tokio::test]
async fn a_store_that_dies_costs_no_request() {
    let mut redis = Redis::start().await.unwrap();
    let gate = case(&at(&redis, "day", 30)).workers(1).start().await;
    assert_eq!(counts(&gate, "/", 10).await, (10, 0));
    redis.kill();
    // The gateway goes on from what it let pass itself.
    assert_eq!(counts(&gate, "/", 30).await, (20, 10));
    assert!(errors(&gate).await >= 1);
    assert!(fallbacks(&gate).await >= 1);
    // The store comes back, empty, and counts again.
    redis.restart().await.unwrap();
    within(async {
        for client_number in 1_u32.. {
            let address = std::net::Ipv4Addr::from(0x0707_0000 + client_number);
            let answered = counts(&gate, &format!("/ peer={address}"), 1).await;
            assert_eq!(answered, (1, 0));
            let mut redis = client(&redis).await;
            let keys: Vec<String> = redis.keys("*").await.unwrap();
            if !keys.is_empty() {
                return;
            }
            // Nothing tells when the next trial is due.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_store_that_is_silent_is_not_waited_for() {
    let redis = Redis::start().await.unwrap();
    let store = format!(
        "store: {{service: \"{}\", timeout_ms: 50}}\n",
        redis.address()
    );
    let gate = case(&shared(&store, "day", 5)).workers(1).start().await;
    redis.pause().unwrap();
    // Decided here, and most of them without another question.
    assert_eq!(counts(&gate, "/", 20).await, (5, 15));
    assert!(errors(&gate).await >= 1);
    assert!(fallbacks(&gate).await >= 20);
    redis.resume().unwrap();
}

#[tokio::test]
async fn a_store_of_the_process_and_edge_stacks_limits() {
    let redis = Redis::start().await.unwrap();
    let spec = "domain: ambassador\nlimits:\n- pattern: [{remote_address: \"*\"}]\n  rate: 40\n  unit: day";
    let start = async || {
        let case = grouped(&[ADDRESS]).object("RateLimit", "r", spec);
        case.store(&redis.address().to_string()).start().await
    };
    let (one, two) = (start().await, start().await);
    let sum = counts(&one, "/", 30).await.0 + counts(&two, "/", 30).await.0;
    // The process's store has 20 ms to answer; on a busy machine it may be late, once.
    if errors(&one).await + errors(&two).await == 0 {
        assert_eq!(sum, 40);
    }
}

#[tokio::test]
async fn a_store_with_a_password() {
    let redis = Redis::start_with(Some("hunter2")).await.unwrap();
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: redis-auth, namespace: default}\n\
                  stringData: {password: hunter2}";
    let store = format!(
        "store: {{service: \"{}\", secretName: redis-auth, timeout_ms: 10000}}\n",
        redis.address()
    );
    let start = async || {
        let case = case(&shared(&store, "day", 20)).raw(secret);
        case.start().await
    };
    let (one, two) = (start().await, start().await);
    let sum = counts(&one, "/", 15).await.0 + counts(&two, "/", 15).await.0;
    assert_eq!(sum, 20);
    assert_eq!(errors(&one).await + errors(&two).await, 0);
}

#[tokio::test]
async fn without_a_store_each_gateway_counts() {
    let gate = case(&shared("", "day", 5)).start().await;
    assert_eq!(counts(&gate, "/", 7).await, (5, 2));
}
