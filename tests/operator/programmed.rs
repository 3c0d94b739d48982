//! `Programmed` tells the truth: who sees it may send a request at once, and nobody sees it before.

use std::sync::Arc;
use std::time::Duration;

use legate::run::Seams;
use legate_api::{Kind, ObjectKey};
use legate_testkit::Pair;
use legate_testkit::client::{Client, Error, TlsOptions};
use legate_testkit::kube::{ApiServer, Launch, Namespace, eventually};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use crate::bench::{self, Bench};
use crate::inproc::InProcess;
use crate::instance;

const PATIENCE: Duration = Duration::from_secs(20);

/// How many new Mappings are waited for, one after the other; the long run has 300.
const SHORT: usize = 40;
const LONG: usize = 300;

pub(crate) fn trials(bench: &Arc<Bench>) -> Vec<Trial> {
    vec![
        bench.alone("quickstart_answers_whenever_it_says_so", quickstart),
        bench.trial("nothing_is_true_while_publishing_is_held", held),
        bench.trial("an_audit_heals_what_a_bug_spoils", spoilt),
    ]
}

/// examples/quickstart with its Secrets, Services and EndpointSlices; then new Mappings, each waited
/// for as a user's script would.
async fn quickstart(server: Arc<ApiServer>) -> Result<(), Error> {
    let gateway = Namespace::create(&server, "gateway").await?;
    let folder = format!("{}/../examples/quickstart", env!("CARGO_MANIFEST_DIR"));
    for namespace in ["gateway", "cart", "catalog", "web"] {
        let object = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace},
        });
        server.apply(&[object]).await?;
    }
    server.kubectl(&["apply", "-f", &folder], "")?.success()?;
    for host in ["shop", "vault"] {
        let pair = Pair::self_signed(&[&format!("{host}.example.com")]);
        let secret = pair.secret("gateway", &format!("{host}-cert"));
        server.apply_yaml(&secret).await?;
    }
    let mut origins = Vec::new();
    for (namespace, name, port) in [
        ("cart", "cart", 8080),
        ("catalog", "catalog", 80),
        ("catalog", "catalog-canary", 80),
        ("web", "web", 8080),
    ] {
        origins.push(instance::backend_in(&server, namespace, name, port).await?);
    }
    // The quickstart belongs to the id `default`.
    let account = instance::account_of(&gateway, "default").await?;
    let legate = Launch::new(&gateway, account.kubeconfig())
        .id("default")
        .ready()
        .await?;
    let rounds = if bench::long() { LONG } else { SHORT };
    let mut client =
        Client::connect_tls(legate.listener(8443), &TlsOptions::sni("shop.example.com")).await?;
    for round in 0..rounds {
        let mapping = json!({
            "apiVersion": "getambassador.io/v3alpha1", "kind": "Mapping",
            "metadata": {"name": format!("new-{round}"), "namespace": "web"},
            "spec": {"hostname": "shop.example.com", "prefix": format!("/new-{round}/"),
                "rewrite": "/", "service": "web:8080"},
        });
        server.apply(&[mapping]).await?;
        let wait = [
            "wait",
            "-A",
            "--for=condition=Programmed",
            "--timeout=30s",
            "mapping",
            "--all",
        ];
        server.kubectl(&wait, "")?.success()?;
        let answer = client
            .get("shop.example.com", &format!("/new-{round}/x"))
            .await?;
        assert_eq!(answer.status, 200, "round {round}: {}", answer.text());
        assert_eq!(answer.json()["path"], "/x", "round {round}");
        // Few objects at a time: kubectl waits for one after the other.
        let old = format!("mapping/new-{round}");
        let delete = ["delete", "-n", "web", "--wait=false", &old];
        server.kubectl(&delete, "")?.success()?;
    }
    Ok(())
}

async fn held(space: Namespace) -> Result<(), Error> {
    let account = instance::account(&space).await?;
    space.cleartext().await?;
    let _origin = space.backend("shop").await?;
    space.mapping("first", "/first/", "shop").await?;
    let (hold, held) = watch::channel(false);
    let seams = Seams {
        hold: Some(held),
        ..Seams::default()
    };
    let process = InProcess::start(&space, &account, seams)?;
    let yes = ("Programmed", "True");
    space.wait_for("Mapping", "first", yes, PATIENCE).await?;

    hold.send_replace(true);
    space.mapping("second", "/second/", "shop").await?;
    // The rest of its status is written, so it was compiled, published, and not acknowledged.
    let accepted = ("Accepted", "True");
    let object = space
        .wait_for("Mapping", "second", accepted, PATIENCE)
        .await?;
    assert_ne!(programmed(&object), "True", "{object}");
    assert_eq!(process.status("/second/").await, 404);
    // What serves already stays true: it is served.
    let first = space.get("Mapping", "first").await?.unwrap_or_default();
    assert_eq!(programmed(&first), "True", "{first}");

    hold.send_replace(false);
    space.wait_for("Mapping", "second", yes, PATIENCE).await?;
    assert_eq!(process.status("/second/").await, 200);
    tokio::task::spawn_blocking(move || drop(process)).await?;
    Ok(())
}

fn programmed(object: &Value) -> &str {
    let conditions = object.pointer("/status/conditions");
    let conditions = conditions.and_then(Value::as_array).into_iter().flatten();
    conditions
        .filter(|condition| condition["type"] == "Programmed")
        .find_map(|condition| condition["status"].as_str())
        .unwrap_or_default()
}

async fn spoilt(space: Namespace) -> Result<(), Error> {
    let account = instance::account(&space).await?;
    space.cleartext().await?;
    let _origin = space.backend("shop").await?;
    for name in ["a", "b"] {
        space.mapping(name, &format!("/{name}/"), "shop").await?;
    }
    let (spoil, spoilt) = mpsc::unbounded_channel();
    let seams = Seams {
        spoil: Some(spoilt),
        ..Seams::default()
    };
    let process = InProcess::start(&space, &account, seams)?;
    let yes = ("Programmed", "True");
    space.wait_for("Mapping", "a", yes, PATIENCE).await?;
    assert_eq!(process.status("/a/").await, 200);

    spoil.send(ObjectKey {
        kind: Kind::Mapping,
        namespace: space.name().to_owned(),
        name: "a".to_owned(),
    })?;
    const MISMATCHES: &str = "legate_config_audit_mismatch_total";
    eventually("the audit finds it", PATIENCE, async || {
        (process.metric(MISMATCHES).await > 0.0).then_some(())
    })
    .await?;
    eventually("the route is back", PATIENCE, async || {
        (process.status("/a/").await == 200).then_some(())
    })
    .await?;
    assert_eq!(process.metric(MISMATCHES).await, 1.0);
    assert_eq!(process.status("/b/").await, 200);
    tokio::task::spawn_blocking(move || drop(process)).await?;
    Ok(())
}
