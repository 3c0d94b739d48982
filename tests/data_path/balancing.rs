//! Load balancers, and what keeps clients at their endpoints (spec/services §3.8, spec/routing §4.12).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use legate_testkit::{Answer, Behaviour, Origin};

use super::harness::{Case, Gate, base, service};

/// Origins `e0`, `e1`, ….
async fn origins(count: usize) -> Vec<Origin> {
    let mut all = Vec::new();
    for index in 0..count {
        all.push(Origin::start(&format!("e{index}")).await);
    }
    all
}

/// The Service `s` with these endpoints.
fn backends<'a>(origins: impl IntoIterator<Item = &'a Origin>) -> String {
    let addresses: Vec<_> = origins.into_iter().map(Origin::address).collect();
    service("default", "s", 80, &addresses)
}

/// A Mapping to the endpoints of `s` with this load balancer.
fn case(load_balancer: &str) -> Case {
    base().bare(
        "a",
        &format!(
            "hostname: \"*\"\nprefix: /\nservice: s\nresolver: endpoint\n\
             load_balancer: {{{load_balancer}}}"
        ),
    )
}

fn name(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["name"].as_str().unwrap().to_owned()
}

/// Where each of some users goes, whatever the connection.
async fn homes(gate: &Gate, users: usize) -> BTreeMap<usize, String> {
    let mut homes = BTreeMap::new();
    for user in 0..users {
        let request = format!("/ x-user:user-{user}");
        let home = name(&gate.send(8080, &request).await);
        for _ in 0..3 {
            assert_eq!(name(&gate.send(8080, &request).await), home, "{user}");
        }
        homes.insert(user, home);
    }
    homes
}

#[tokio::test]
async fn sv_16_a_load_balancer_asks_for_endpoints() {
    let origins = origins(2).await;
    let gate = base()
        .raw(&backends(&origins).replace("spec: {", "spec: {clusterIP: 192.0.2.1, "))
        .bare(
            "a",
            "hostname: \"*\"\nprefix: /\nservice: s\nload_balancer: {policy: least_request}",
        )
        .diagnoses(&["I-MAP-LB-ENDPOINTS"])
        .await;
    name(&gate.send(8080, "/").await);
}

#[tokio::test]
async fn sv_17_what_cannot_be_meant_is_rejected() {
    for load_balancer in [
        "policy: ring_hash",
        "policy: maglev, header: a, source_ip: true",
        "policy: round_robin, source_ip: true",
        "policy: least_request, cookie: {name: c}",
        "policy: ring_hash, cookie: {name: c, ttl: soon}",
    ] {
        case(load_balancer)
            .check(&[("/", "500")])
            .await
            .diagnoses(&["E-MAP-LB"]);
    }
}

#[tokio::test]
async fn sv_18_a_header_decides_the_same_on_all_workers_and_replicas() {
    let origins = origins(5).await;
    for policy in ["ring_hash", "maglev"] {
        let case = || case(&format!("policy: {policy}, header: X-User")).raw(&backends(&origins));
        let one = case().workers(2).start().await;
        let found = homes(&one, 20).await;
        let used: BTreeSet<_> = found.values().collect();
        assert!(used.len() > 1, "{found:?}");
        let other = case().start().await;
        assert_eq!(homes(&other, 20).await, found);
    }
}

#[tokio::test]
async fn without_its_source_a_hash_is_random() {
    let origins = origins(3).await;
    let gate = case("policy: maglev, header: x-user")
        .raw(&backends(&origins))
        .start()
        .await;
    let mut used = BTreeSet::new();
    while used.len() < 3 {
        used.insert(name(&gate.send(8080, "/").await));
    }
}

/// The header is the client's, not what the route makes of it.
#[tokio::test]
async fn edits_come_after_the_choice() {
    let origins = origins(5).await;
    let spec = "hostname: \"*\"\nprefix: /\nservice: s\nresolver: endpoint\n\
                load_balancer: {policy: ring_hash, header: x-user}\n\
                add_request_headers: {x-user: {value: other, append: false}}";
    let plain = case("policy: ring_hash, header: x-user").raw(&backends(&origins));
    let edited = base().bare("a", spec).raw(&backends(&origins));
    let (plain, edited) = (plain.start().await, edited.start().await);
    assert_eq!(homes(&plain, 10).await, homes(&edited, 10).await);
}

#[tokio::test]
async fn sv_19_a_cookie_is_made_and_brings_the_client_back() {
    let origins = origins(5).await;
    let made = async |cookie: &str| {
        let gate = case(&format!("policy: maglev, cookie: {{{cookie}}}"))
            .raw(&backends(&origins))
            .workers(2)
            .start()
            .await;
        let first = gate.send(8080, "/").await;
        let cookie = first.header("set-cookie").map(str::to_owned);
        (gate, name(&first), cookie)
    };
    let (gate, home, cookie) = made("name: sid, ttl: 600s, path: /app").await;
    let cookie = cookie.expect("a cookie");
    let (pair, attributes) = cookie.split_once(';').unwrap();
    assert_eq!(attributes, " Max-Age=600; Path=/app; HttpOnly");
    let value = pair
        .strip_prefix("sid=\"")
        .unwrap()
        .strip_suffix('"')
        .unwrap();
    assert!(value.len() == 16 && value.bytes().all(|it| it.is_ascii_hexdigit()));
    // As it came, and as clients that drop the quotes send it.
    for sent in [pair, &format!("sid={value}"), &format!("a=1;_{pair};_b=2")] {
        for _ in 0..5 {
            let again = gate.send(8080, &format!("/ cookie:{sent}")).await;
            assert_eq!(name(&again), home, "{sent}");
            assert_eq!(again.header("set-cookie"), None);
        }
    }
    let (_, _, session) = made("name: sid, ttl: 0s").await;
    let session = session.expect("a cookie");
    assert!(session.ends_with("\"; HttpOnly"), "{session}");
    let (_, _, none) = made("name: sid").await;
    assert_eq!(none, None);
}

#[tokio::test]
async fn a_client_address_decides() {
    let origins = origins(5).await;
    let case = || case("policy: ring_hash, source_ip: true").raw(&backends(&origins));
    let (one, other) = (case().workers(2).start().await, case().start().await);
    let mut used = BTreeSet::new();
    for host in 1..20 {
        let request = format!("/ peer=192.0.2.{host}");
        let home = name(&one.send(8080, &request).await);
        assert_eq!(name(&one.send(8080, &request).await), home, "{host}");
        assert_eq!(name(&other.send(8080, &request).await), home, "{host}");
        used.insert(home);
    }
    assert!(used.len() > 1);
}

/// The address that counts is the one that we believe.
#[tokio::test]
async fn a_trusted_forwarded_address_decides() {
    let origins = origins(5).await;
    let gate = case("policy: ring_hash, source_ip: true")
        .raw(&backends(&origins))
        .module("xff_num_trusted_hops: 1\nuse_remote_address: true")
        .start()
        .await;
    let mut used = BTreeSet::new();
    for host in 1..20 {
        let mut homes = BTreeSet::new();
        for peer in ["127.0.0.2", "127.0.0.3", "127.0.0.4"] {
            let request = format!("/ peer={peer} x-forwarded-for:203.0.113.{host}");
            homes.insert(name(&gate.send(8080, &request).await));
        }
        assert_eq!(homes.len(), 1, "{host}: {homes:?}");
        used.extend(homes);
    }
    assert!(used.len() > 1);
}

#[tokio::test]
async fn the_busier_endpoint_gets_nothing_new() {
    let busy = Behaviour {
        delay: Duration::from_secs(3600),
        ..Behaviour::default()
    };
    let busy = Origin::start_with("busy", busy, None).await;
    let idle = Origin::start("idle").await;
    let gate = case("policy: least_request")
        .raw(&backends([&busy, &idle]))
        .workers(2)
        .start()
        .await;
    let address = gate.address(8080);
    // Equals are chosen at random: sooner or later it has one.
    let held = loop {
        let mut client = legate_testkit::Client::connect(address).await.unwrap();
        let mut request = tokio::spawn(async move { client.get("t", "/").await.map(|_| ()) });
        let busy = busy.seen();
        let has_one = async {
            while busy.requests.load(Ordering::SeqCst) == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            answered = &mut request => answered.unwrap().unwrap(),
            () = has_one => break request,
        }
    };
    for _ in 0..50 {
        assert_eq!(name(&gate.send(8080, "/").await), "idle");
    }
    assert_eq!(busy.seen().requests.load(Ordering::SeqCst), 1);
    held.abort();
}

/// A retry goes to the next endpoint of the key's own order: always the same one.
#[tokio::test]
async fn the_second_choice_of_a_key_is_fixed() {
    let origins = origins(3).await;
    let dead = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let mut addresses: Vec<_> = origins.iter().map(Origin::address).collect();
    addresses.push(dead);
    for policy in ["ring_hash", "maglev"] {
        let gate = case(&format!("policy: {policy}, header: x-user"))
            .raw(&service("default", "s", 80, &addresses))
            .start()
            .await;
        let homes = homes(&gate, 20).await;
        let used: BTreeSet<_> = homes.values().collect();
        assert_eq!(used.len(), 3, "{homes:?}");
    }
}

/// T-30 through sockets: who stays where they were.
#[tokio::test]
async fn t30_clients_of_endpoints_that_stay_are_not_moved() {
    let origins = origins(10).await;
    let folder = case("policy: ring_hash, header: x-user").start().await;
    let path = folder.folder.path().join("s.yaml");
    let change = async |origins: &[Origin]| {
        let mut changes = folder.running.changes();
        changes.mark_unchanged();
        let partial = folder.folder.path().join(".partial");
        std::fs::write(&partial, backends(origins)).unwrap();
        std::fs::rename(&partial, &path).unwrap();
        tokio::time::timeout(Duration::from_secs(20), changes.changed())
            .await
            .expect("a new config")
            .unwrap();
    };
    change(&origins).await;
    let before = homes(&folder, 60).await;
    change(&origins[..9]).await;
    let gone = |user: &usize| before[user] == "e9";
    let after = homes(&folder, 60).await;
    for (user, home) in &after {
        assert!(
            home != "e9" && (gone(user) || *home == before[user]),
            "{user}"
        );
    }
    assert!(before.keys().any(gone), "{before:?}");
}

/// Without endpoints there is nowhere to go, and DNS is not asked instead.
#[tokio::test]
async fn endpoints_can_be_switched_off() {
    let origins = origins(1).await;
    case("policy: round_robin")
        .raw(&backends(&origins))
        .with(|options| options.endpoints = false)
        .check(&[("/", "503")])
        .await;
}

/// A group has one load balancer; another in a later Mapping is refused.
#[tokio::test]
async fn members_of_a_group_balance_alike() {
    let origins = origins(2).await;
    let spec = |lb: &str| {
        format!(
            "hostname: \"*\"\nprefix: /\nservice: s\nresolver: endpoint\nweight: 50\n\
             load_balancer: {{{lb}}}"
        )
    };
    let gate = base()
        .raw(&backends(&origins))
        .bare("a", &spec("policy: maglev, header: x-user"))
        .bare("b", &spec("policy: maglev, header: x-other"))
        .diagnoses(&["E-MAP-GROUP"])
        .await;
    for draw in [0, 99] {
        name(&gate.send(8080, &format!("/ draw={draw}")).await);
    }
}
