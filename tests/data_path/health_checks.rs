//! Active health checks (spec/services §3.3), as origins and clients see them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::harness::{Case, Gate, base, manifest, service};
use crate::moody::{HEALTH, Mood, Moody};
use crate::wire::within;

/// A gateway with a Service `up` with these endpoints.
fn case(endpoints: &[SocketAddr]) -> Case {
    base().raw(&service("default", "up", 80, endpoints))
}

/// A Mapping to `up` with this check.
fn mapping(prefix: &str, check: &str) -> String {
    format!("prefix: {prefix}\nservice: up\nresolver: endpoint\nhealth_checks:\n{check}")
}

/// A check that asks often, with these further fields.
fn check(rest: &str) -> String {
    format!("- health_check: {{http: {{path: {HEALTH}}}}}\n  interval: 20ms\n{rest}")
}

async fn healthy(gate: &Gate) -> u64 {
    gate.cluster_metric("envoy_cluster_membership_healthy", "up")
        .await
}

/// Waits until so many endpoints count as healthy.
async fn until_healthy(gate: &Gate, count: u64) {
    let wait = async {
        while healthy(gate).await != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(wait).await;
}

/// Waits until each endpoint has a verdict.
async fn until_known(gate: &Gate) {
    let wait = async {
        while gate.page("/clusters").await.contains("/pending_active_hc") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(wait).await;
}

/// Sends requests, and says who got some: `+`, or none: `-`.
async fn used(gate: &Gate, origins: &[&Moody], path: &str) -> String {
    let before: Vec<_> = origins.iter().map(|it| it.requests()).collect();
    for _ in 0..24 {
        within(gate.send(8080, path)).await;
    }
    let now = origins.iter().map(|it| it.requests());
    let some = now.zip(before).map(|(now, before)| now > before);
    some.map(|some| if some { '+' } else { '-' }).collect()
}

async fn origins(count: usize) -> Vec<Moody> {
    let mut origins = Vec::new();
    for _ in 0..count {
        origins.push(Moody::start(Mood::Answer(200)).await);
    }
    origins
}

fn addresses(origins: &[Moody]) -> Vec<SocketAddr> {
    origins.iter().map(|it| it.address).collect()
}

/// A wrong status takes an endpoint out at once, a right one brings it back; a Mapping without checks
/// takes no notice.
#[tokio::test]
async fn unhealthy_endpoints_get_no_requests() {
    let [one, two, three] = &origins(3).await[..] else {
        unreachable!()
    };
    let all = [one, two, three];
    let gate = case(&all.map(|it| it.address))
        .map("m", &mapping("/", &check("")))
        .map(
            "other",
            "prefix: /plain/\nservice: up\nresolver: endpoint\nstats_name: plain",
        )
        .start()
        .await;
    gate.diagnoses(&[]);
    until_known(&gate).await;
    assert_eq!(healthy(&gate).await, 3);
    assert_eq!(used(&gate, &all, "/").await, "+++");

    two.set_health(Mood::Answer(503));
    until_healthy(&gate, 2).await;
    assert_eq!(used(&gate, &all, "/").await, "+-+");
    assert_eq!(used(&gate, &all, "/plain/").await, "+++");
    let flags = format!("up::{}::health_flags::/failed_active_hc", two.address);
    assert!(gate.page("/clusters").await.contains(&flags));

    two.set_health(Mood::Answer(200));
    until_healthy(&gate, 3).await;
    assert_eq!(used(&gate, &all, "/").await, "+++");
    for (name, some) in [
        ("attempt", true),
        ("success", true),
        ("failure", true),
        ("network_failure", false),
    ] {
        let name = format!("envoy_cluster_health_check_{name}");
        assert_eq!(gate.cluster_metric(&name, "up").await > 0, some, "{name}");
    }
}

/// What does not answer, resets or cannot be reached is unhealthy after `unhealthy_threshold` times.
#[tokio::test]
async fn silence_resets_and_refusals_count_to_the_threshold() {
    let three = origins(3).await;
    let gate = case(&addresses(&three))
        .map(
            "m",
            &mapping(
                "/",
                &check("  timeout: 200ms\n  unhealthy_threshold: 3\n  healthy_threshold: 2"),
            ),
        )
        .start()
        .await;
    until_known(&gate).await;
    let all: Vec<&Moody> = three.iter().collect();
    for mood in [Mood::Silent, Mood::Reset] {
        let before = three[0].checks().len();
        three[0].set_health(mood);
        until_healthy(&gate, 2).await;
        assert!(three[0].checks().len() >= before + 3, "{mood:?}");
        assert_eq!(used(&gate, &all, "/").await, "-++", "{mood:?}");
        let before = three[0].checks().len();
        three[0].set_health(Mood::Answer(200));
        until_healthy(&gate, 3).await;
        assert!(three[0].checks().len() >= before + 2, "{mood:?}");
    }
    assert!(
        gate.cluster_metric("envoy_cluster_health_check_network_failure", "up")
            .await
            >= 6
    );
    let mut three = three;
    drop(three.remove(0));
    until_healthy(&gate, 2).await;
}

/// Below one half of healthy endpoints health is ignored, and counted.
#[tokio::test]
async fn panic() {
    let four = origins(4).await;
    let all: Vec<&Moody> = four.iter().collect();
    let gate = case(&addresses(&four))
        .map("m", &mapping("/", &check("")))
        .start()
        .await;
    until_known(&gate).await;
    for sick in &four[..2] {
        sick.set_health(Mood::Answer(500));
    }
    until_healthy(&gate, 2).await;
    assert_eq!(used(&gate, &all, "/").await, "--++", "one half is enough");
    let panic = "envoy_cluster_lb_healthy_panic";
    assert_eq!(gate.cluster_metric(panic, "up").await, 0);
    four[2].set_health(Mood::Answer(500));
    until_healthy(&gate, 1).await;
    assert_eq!(used(&gate, &all, "/").await, "++++");
    assert_eq!(gate.cluster_metric(panic, "up").await, 24);
}

/// Before anybody answered all are used; who comes later is used when it has passed.
#[tokio::test]
async fn newcomers_have_to_pass() {
    let three = origins(3).await;
    let all: Vec<&Moody> = three.iter().collect();
    for origin in &three {
        origin.set_health(Mood::Silent);
    }
    let gate = case(&[])
        .map("m", &mapping("/", &check("  timeout: 60s")))
        .start()
        .await;
    let path = gate.folder.path().join("all.yaml");
    let rest = std::fs::read_to_string(&path).unwrap();
    let serve = async |endpoints: &[SocketAddr]| {
        let mut changes = gate.running.changes();
        changes.mark_unchanged();
        let text = format!("{rest}\n---\n{}", service("default", "up", 80, endpoints));
        std::fs::write(
            &path,
            text.replacen(&service("default", "up", 80, &[]), "", 1),
        )
        .unwrap();
        within(changes.changed()).await.unwrap();
    };
    serve(&[three[0].address, three[1].address]).await;
    for origin in &three[..2] {
        within(origin.checked(1)).await;
    }
    assert_eq!(used(&gate, &all, "/").await, "++-", "nobody has a verdict");
    assert_eq!(healthy(&gate).await, 2);

    three[2].set_health(Mood::Answer(200));
    serve(&[three[2].address]).await;
    until_known(&gate).await;
    let before = three[0].checks().len();
    // The one that is healthy stays while the others come.
    serve(&[three[2].address, three[0].address, three[1].address]).await;
    within(three[0].checked(before + 1)).await;
    within(three[1].checked(2)).await;
    assert_eq!(
        used(&gate, &all, "/").await,
        "--+",
        "the new ones have not passed"
    );
    assert_eq!(
        gate.cluster_metric("envoy_cluster_membership_excluded", "up")
            .await,
        2
    );
}

/// Equal checks of an endpoint are one probe, however many Mappings ask; another setting is another.
#[tokio::test]
async fn equal_checks_are_one_probe() {
    let origin = Moody::start(Mood::Answer(200)).await;
    let long = |path: &str| {
        format!("- health_check: {{http: {{path: {path}, hostname: h}}}}\n  interval: 1h")
    };
    let mut case = case(&[origin.address]);
    for index in 0..20 {
        let spec = mapping(&format!("/{index}/"), &long("/healthz/a"));
        case = case.map(
            &format!("m{index}"),
            &format!("{spec}\ncluster_tag: t{index}"),
        );
    }
    let gate = case
        .map("other", &mapping("/other/", &long("/healthz/b")))
        .start()
        .await;
    within(origin.checked(2)).await;
    // All of them know.
    until_healthy(&gate, 21).await;
    let checks = origin.checks();
    let asked = |path: &str| checks.iter().filter(|it| it.contains(path)).count();
    assert_eq!((asked("/healthz/a"), asked("/healthz/b")), (1, 1));
}

/// The request of a probe, with every field.
#[tokio::test]
async fn the_request() {
    let origin = Moody::start(Mood::Answer(200)).await;
    origin.set_health(Mood::Answer(404));
    let full = "- health_check: {http: {path: \"/healthz?a=b\", hostname: health.test, \
                add_request_headers: {x-a: one, user-agent: {value: mine, append: true}}, \
                expected_statuses: [{min: 200, max: 299}, {min: 404, max: 404}]}}\n  interval: 20ms";
    let plain = "- health_check: {http: {path: /healthz/plain, remove_request_headers: [User-Agent]}}\n  \
                 interval: 20ms";
    let gate = case(&[origin.address])
        .map("m", &mapping("/m/", full))
        .map(
            "other",
            &format!("{}\nstats_name: plain", mapping("/n/", plain)),
        )
        .start()
        .await;
    gate.diagnoses(&[]);
    within(origin.checked(4)).await;
    until_healthy(&gate, 1).await;
    let find = |path: &str| {
        let checks = origin.checks();
        let found = checks
            .iter()
            .find(|it| it.starts_with(&format!("GET {path} ")));
        found
            .cloned()
            .unwrap_or_else(|| panic!("{path} among {checks:?}"))
    };
    assert_eq!(
        find("/healthz?a=b"),
        "GET /healthz?a=b HTTP/1.1\r\nhost: health.test\r\nuser-agent: legate/health-check\r\n\
         user-agent: mine\r\nx-a: one\r\n\r\n"
    );
    assert_eq!(
        find("/healthz/plain"),
        "GET /healthz/plain HTTP/1.1\r\nhost: plain\r\n\r\n"
    );
}

/// Probes end with their Mapping, and those of others go on.
#[tokio::test]
async fn probes_stop() {
    let two = origins(2).await;
    let gate = base()
        .raw(&service("default", "up", 80, &[two[0].address]))
        .raw(&service("default", "other", 80, &[two[1].address]))
        .map("m", &mapping("/", &check("")))
        .start()
        .await;
    let spec = mapping("/other/", &check("")).replace("service: up", "service: other");
    let other = manifest(
        "Mapping",
        "default",
        "o",
        &format!("hostname: \"*\"\n{spec}"),
    );
    let path = gate.folder.path().join("other.yaml");
    let mut changes = gate.running.changes();
    changes.mark_unchanged();
    std::fs::write(&path, other).unwrap();
    within(changes.changed()).await.unwrap();
    within(two[1].checked(3)).await;
    changes.mark_unchanged();
    std::fs::remove_file(&path).unwrap();
    within(changes.changed()).await.unwrap();
    let (stopped, going) = (two[1].checks().len(), two[0].checks().len());
    within(two[0].checked(going + 10)).await;
    // One may have been under way.
    assert!(two[1].checks().len() <= stopped + 1);
}

/// An interval is kept between probes.
#[tokio::test]
async fn the_interval_is_kept() {
    let origin = Moody::start(Mood::Answer(200)).await;
    let start = Instant::now();
    let _gate = case(&[origin.address])
        .map("m", &mapping("/", &check("").replace("20ms", "200ms")))
        .start()
        .await;
    within(origin.checked(4)).await;
    // Three times, less the jitter.
    assert!(start.elapsed() >= Duration::from_millis(540));
}

/// A name in DNS is checked as well, and a single endpoint is used whatever is known of it.
#[tokio::test]
async fn names_are_checked_and_the_last_is_used() {
    let origin = Moody::start(Mood::Answer(200)).await;
    origin.set_health(Mood::Answer(503));
    let port = origin.address.port();
    let spec = format!(
        "prefix: /\nservice: localhost:{port}\nhealth_checks:\n{}",
        check("")
    );
    let gate = base().map("m", &spec).start().await;
    gate.diagnoses(&[]);
    within(origin.checked(2)).await;
    assert_eq!(within(gate.send(8080, "/")).await.status, 200);
    let unhealthy = async {
        while !gate.page("/clusters").await.contains("/failed_active_hc") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(unhealthy).await;
}

/// What cannot be meant is skipped and said; what is left counts.
#[tokio::test]
async fn bad_checks_are_skipped() {
    let two = origins(2).await;
    two[0].set_health(Mood::Answer(503));
    let bad = "- health_check: {http: {path: nowhere}}\n- health_check: {}\n";
    let gate = case(&addresses(&two))
        .map("m", &mapping("/", &format!("{bad}{}", check(""))))
        .map(
            "other",
            &format!("{}stats_name: none", mapping("/none/", bad)),
        )
        .start()
        .await;
    gate.diagnoses(&["E-POLICY-HEALTH"]);
    until_known(&gate).await;
    let all: Vec<&Moody> = two.iter().collect();
    assert_eq!(used(&gate, &all, "/").await, "-+");
    assert_eq!(used(&gate, &all, "/none/").await, "++");
}
