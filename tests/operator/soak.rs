//! Many objects, many changes: `cargo xtask soak` runs the long forms and prints their figures.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use legate_testkit::client::{Client, Error};
use legate_testkit::kube::{ApiServer, AuditMark, Launch, Legate, Namespace, eventually};
use libtest_mimic::Trial;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::bench::{self, Bench};
use crate::instance;
use crate::load::Load;

const PATIENCE: Duration = Duration::from_secs(60);

/// Requests to the API server at once while many objects are written.
const WRITERS: usize = 16;

pub(crate) fn trials(bench: &Arc<Bench>) -> Vec<Trial> {
    vec![
        bench.alone("soak_random_changes_pass_every_audit", random_changes),
        bench.alone("soak_one_more_mapping_among_many", one_more),
    ]
}

fn mapping(namespace: &str, id: &str, name: &str, prefix: &str, service: &str) -> Value {
    json!({
        "apiVersion": "getambassador.io/v3alpha1", "kind": "Mapping",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"ambassador_id": [id], "hostname": "*", "prefix": prefix, "service": service},
    })
}

// === Random changes ===

/// Creates, edits, rejected versions and deletes, 50 a second; at the end a fresh process, which
/// compiles everything at once, must come to the very same config.
async fn random_changes(server: Arc<ApiServer>) -> Result<(), Error> {
    let (duration, audits) = if bench::long() {
        (Duration::from_secs(600), 20.0)
    } else {
        (Duration::from_secs(20), 1.0)
    };
    let space = Namespace::create(&server, "soak").await?;
    let account = instance::account(&space).await?;
    space.cleartext().await?;
    let _origin = space.backend("shop").await?;
    space.mapping("steady", "/steady/", "shop").await?;
    let launch = Launch::new(&space, account.kubeconfig());
    let first = launch.ready().await?;
    first
        .serves("any.example", "/steady/", 200, PATIENCE)
        .await?;
    let load = Load::start(first.listener(8080), None, "any.example", "/steady/");

    let changes = change_at_random(&space, duration).await?;
    eventually("the last audits ran", PATIENCE, async || {
        let ran = first.metric("legate_config_audits_total", &[]).await.ok()?;
        (ran >= audits).then_some(())
    })
    .await?;
    let mismatches = first
        .metric("legate_config_audit_mismatch_total", &[])
        .await?;
    assert!(mismatches < 0.5, "{mismatches} mismatches");
    load.end().await?;

    space.mapping("last", "/last/", "shop").await?;
    let yes = ("Programmed", "True");
    space.wait_for("Mapping", "last", yes, PATIENCE).await?;
    let second = launch.pod("fresh").ready().await?;
    second
        .serves("any.example", "/last/", 200, PATIENCE)
        .await?;
    let (mut one, mut other) = (BTreeSet::new(), BTreeSet::new());
    let same = eventually("both have one config", PATIENCE, async || {
        one = hashes(&first).await.ok()?;
        other = hashes(&second).await.ok()?;
        (!one.is_empty() && one == other).then_some(())
    })
    .await;
    same.map_err(|error| format!("{error}: {one:?} and {other:?}"))?;
    let ran = first.metric("legate_config_audits_total", &[]).await?;
    eprintln!("soak: {changes} changes, {ran} audits, no mismatch");
    Ok(())
}

/// The hash of what was compiled last.
async fn hashes(legate: &Legate) -> Result<BTreeSet<String>, Error> {
    let text = legate.admin("/metrics").await?.text();
    let lines = text
        .lines()
        .filter(|line| line.starts_with("legate_published_info{"));
    Ok(lines.map(str::to_owned).collect())
}

async fn change_at_random(space: &Namespace, duration: Duration) -> Result<u64, Error> {
    const NAMES: u32 = 200;
    let mut random = StdRng::seed_from_u64(4);
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let end = Instant::now() + duration;
    let mut tasks = tokio::task::JoinSet::new();
    let mut changes = 0;
    while Instant::now() < end {
        tick.tick().await;
        // A change to an object waits for the one before, so that the last one is known to be last.
        while tasks.len() >= WRITERS {
            if let Some(done) = tasks.join_next().await {
                done??;
            }
        }
        changes += 1;
        let name = format!("m{}", random.random_range(0..NAMES));
        let (kind, detail) = (random.random_range(0..10), random.random_range(0..50));
        let space = space.clone();
        tasks.spawn(async move { change(&space, &name, kind, detail).await });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(changes)
}

async fn change(space: &Namespace, name: &str, kind: u32, detail: u32) -> Result<(), Error> {
    let (namespace, id) = (space.name(), space.id());
    let mut object = mapping(namespace, id, name, &format!("/{name}/{detail}/"), "shop");
    match kind {
        0..5 => {}
        5 => object["spec"]["weight"] = json!(detail),
        6 => object["spec"]["headers"] = json!({"x-variant": detail.to_string()}),
        // Rejected: what was good before goes on.
        7 => {
            object["spec"]["prefix"] = json!(format!("/{name}/("));
            object["spec"]["prefix_regex"] = json!(true);
        }
        _ => {
            // It may not exist.
            let _ = space.delete("Mapping", name).await;
            return Ok(());
        }
    }
    space.server().apply(&[object]).await.map(|_objects| ())
}

// === One more among many ===

struct Size {
    namespaces: usize,
    mappings: usize,
    more: usize,
    unchanged: usize,
}

/// From the moment a new Mapping is sent to the API server until it is served, among thousands; one
/// status write for each; and no write at all when a process starts that has nothing to say.
async fn one_more(server: Arc<ApiServer>) -> Result<(), Error> {
    let size = if bench::long() {
        Size {
            namespaces: 50,
            mappings: 5_000,
            more: 500,
            unchanged: 10_000,
        }
    } else {
        Size {
            namespaces: 5,
            mappings: 200,
            more: 10,
            unchanged: 300,
        }
    };
    let space = Namespace::create(&server, "many").await?;
    let account = instance::account(&space).await?;
    space.cleartext().await?;
    let _origin = space.backend("shop").await?;
    let namespaces: Vec<String> = (0..size.namespaces).map(|n| format!("team-{n}")).collect();
    let manifests: Vec<Value> = namespaces
        .iter()
        .map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
        .collect();
    server.apply(&manifests).await?;
    fill(&space, &namespaces, 0..size.mappings).await?;

    let launch = Launch::new(&space, account.kubeconfig());
    let started = Instant::now();
    let mut legate = launch.ready().await?;
    let ready = started.elapsed();
    settled(&server, &account.user(), size.mappings).await?;
    let mark = server.audit_mark().await?;
    let mut figures = time(&space, &legate, &namespaces, size.more).await?;
    // One write for each object, or the last one has still to come.
    let written = eventually("each has its status", PATIENCE, async || {
        let writes = writes(&server, &account.user(), mark).await.ok()?;
        (writes.len() >= size.more).then_some(writes)
    })
    .await?;
    let objects: BTreeSet<&String> = written.iter().collect();
    assert_eq!(objects.len(), size.more);
    assert_eq!(written.len(), size.more, "one status write per change");
    let memory = legate.process().resident_kib()? / 1024;
    figures.print(size.mappings, memory, ready);

    fill(&space, &namespaces, size.mappings..size.unchanged).await?;
    settled(&server, &account.user(), size.unchanged + size.more).await?;
    assert!(legate.terminate(PATIENCE)?.success(), "{}", legate.log());
    let mark = server.audit_mark().await?;
    let again = launch.ready().await?;
    again.serves("any.example", "/m0/", 200, PATIENCE).await?;
    // It leads, and its first second and the leader's first five are over.
    eventually("it leads", PATIENCE, async || {
        let leads = again.metric("legate_leader", &[]).await.ok()?;
        (leads > 0.5).then_some(())
    })
    .await?;
    tokio::time::sleep(Duration::from_secs(8)).await;
    let writes = writes(&server, &account.user(), mark).await?;
    assert!(
        writes.is_empty(),
        "{} writes: {:?}",
        writes.len(),
        writes.first()
    );
    Ok(())
}

async fn fill(
    space: &Namespace,
    namespaces: &[String],
    numbers: std::ops::Range<usize>,
) -> Result<(), Error> {
    let service = format!("shop.{}", space.name());
    stream::iter(numbers)
        .map(|number| {
            let namespace = &namespaces[number % namespaces.len()];
            let name = format!("m{number}");
            let object = mapping(namespace, space.id(), &name, &format!("/{name}/"), &service);
            async move { space.server().apply(&[object]).await }
        })
        .buffer_unordered(WRITERS)
        .try_for_each(|_| async { Ok(()) })
        .await
}

/// Names of objects whose status a user wrote since then, with their repetitions.
async fn writes(server: &ApiServer, user: &str, mark: AuditMark) -> Result<Vec<String>, Error> {
    let events = server.audit_of(user, mark).await?;
    let writes = events
        .into_iter()
        .filter(|event| event.writes_status() && event.complete());
    Ok(writes.map(|event| event.name).collect())
}

/// Waits until so many objects have their status, and nothing more is written.
async fn settled(server: &ApiServer, user: &str, objects: usize) -> Result<(), Error> {
    let deadline = Duration::from_secs(300);
    let mut last = 0;
    eventually("every object has its status", deadline, async || {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let all = writes(server, user, AuditMark::START).await.ok()?;
        let names: BTreeSet<&String> = all.iter().collect();
        let quiet = all.len() == last;
        last = all.len();
        (quiet && names.len() >= objects).then_some(())
    })
    .await
}

#[derive(Default)]
struct Figures {
    served: Vec<f64>,
    watched: Vec<f64>,
}

impl Figures {
    fn print(&mut self, mappings: usize, memory: u64, ready: Duration) {
        for list in [&mut self.served, &mut self.watched] {
            list.sort_by(f64::total_cmp);
        }
        let at = |list: &[f64], share: usize| list[(list.len() * share / 100).min(list.len() - 1)];
        eprintln!(
            "one more among {mappings}: sent to served p50 {:.1} ms, p99 {:.1} ms; the API server's own \
             watch p50 {:.1} ms, p99 {:.1} ms; {} times; start to ready {} ms; {memory} MiB resident",
            at(&self.served, 50),
            at(&self.served, 99),
            at(&self.watched, 50),
            at(&self.watched, 99),
            self.served.len(),
            ready.as_millis(),
        );
    }
}

/// Times new Mappings: until a request finds them, and until a plain watch sees them.
async fn time(
    space: &Namespace,
    legate: &Legate,
    namespaces: &[String],
    more: usize,
) -> Result<Figures, Error> {
    let server = space.server();
    let api = server
        .api("getambassador.io/v3alpha1", "Mapping", "")
        .await?;
    let (seen, mut sees) = watch::channel((String::new(), Instant::now()));
    let version = api
        .list(&kube::api::ListParams::default().limit(1))
        .await?
        .metadata
        .resource_version
        .unwrap_or_default();
    let watcher = tokio::spawn(async move {
        let parameters = kube::api::WatchParams::default();
        let mut events = api.watch(&parameters, &version).await?.boxed();
        while let Some(event) = events.try_next().await? {
            if let kube::api::WatchEvent::Added(object) = event {
                let name = object.metadata.name.unwrap_or_default();
                seen.send_replace((name, Instant::now()));
            }
        }
        Ok::<_, kube::Error>(())
    });
    let service = format!("shop.{}", space.name());
    let mut client = Client::connect(legate.listener(8080)).await?;
    let mut figures = Figures::default();
    for number in 0..more {
        let name = format!("new{number}");
        let namespace = &namespaces[number % namespaces.len()];
        let object = mapping(namespace, space.id(), &name, &format!("/{name}/"), &service);
        let sent = Instant::now();
        let objects = [object];
        let written = server.apply(&objects);
        let served = async {
            let path = format!("/{name}/");
            loop {
                let answer = client.get("any.example", &path).await?;
                if answer.status == 200 {
                    return Ok::<_, Error>(sent.elapsed());
                }
                if sent.elapsed() > PATIENCE {
                    return Err(format!("{path} is not served").into());
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let watched = async {
            let found = sees.wait_for(|(last, _)| *last == name).await?;
            Ok::<_, Error>(found.1.saturating_duration_since(sent))
        };
        let (written, served, watched) = tokio::join!(written, served, watched);
        written?;
        figures.served.push(served?.as_secs_f64() * 1000.0);
        figures.watched.push(watched?.as_secs_f64() * 1000.0);
    }
    watcher.abort();
    Ok(figures)
}
