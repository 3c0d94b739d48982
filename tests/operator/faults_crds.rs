//! CRDs that are not ours, and CRDs that come late.

use std::sync::Arc;
use std::time::Duration;

use legate_testkit::client::Error;
use legate_testkit::kube::{ApiServer, AuditMark, Launch, Namespace, ServerOptions, eventually};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::bench::{self, Bench};
use crate::faults::{PATIENCE, Scene, YES};
use crate::instance;
use crate::load::Load;

pub(crate) fn trials(bench: &Arc<Bench>) -> Vec<Trial> {
    vec![
        bench.bare("fault_crds_of_emissary_instead_of_ours", |_| emissary()),
        bench.bare("fault_crds_come_late", |_| late()),
    ]
}

/// An API server with these CRDs.
async fn server(crds: &[Value]) -> Result<Arc<ApiServer>, Error> {
    let server = ApiServer::launch(ServerOptions::default()).await?;
    server.apply_crds(crds).await?;
    Ok(Arc::new(server))
}

/// Our CRDs with what Emissary's say of status: `state` and `reason`, and of TLSContexts nothing.
fn stripped() -> Vec<Value> {
    let mut crds = bench::crds();
    for crd in &mut crds {
        let bare = crd["spec"]["names"]["kind"] == "TLSContext";
        let versions = crd["spec"]["versions"].as_array_mut();
        for version in versions.into_iter().flatten() {
            let schema = &mut version["schema"]["openAPIV3Schema"]["properties"];
            let Some(properties) = schema.as_object_mut() else {
                continue;
            };
            if bare {
                properties.remove("status");
                version
                    .as_object_mut()
                    .map(|fields| fields.remove("subresources"));
                continue;
            }
            let text = json!({"type": "string"});
            let status = json!({
                "type": "object", "properties": {"state": text, "reason": text},
            });
            properties.insert("status".to_owned(), status);
        }
    }
    crds
}

async fn emissary() -> Result<(), Error> {
    let server = server(&stripped()).await?;
    let space = Namespace::create(&server, "fault").await?;
    let account = instance::account(&space).await?;
    let scene = Scene::silent(space, account, &[]).await?;
    let space = &scene.space;
    space
        .apply(
            "apiVersion: getambassador.io/v3alpha1\nkind: TLSContext\nmetadata: {name: bare}\n\
             spec: {hosts: [none.example], min_tls_version: v1.2}\n---\n\
             apiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {name: bad}\n\
             spec: {hostname: \"*\", prefix: \"/bad/(\", prefix_regex: true, service: shop}\n",
        )
        .await?;
    for (name, state) in [("shop", "Running"), ("bad", "Inactive")] {
        let what = format!("{name} has the state {state}");
        eventually(&what, PATIENCE, async || {
            let object = space.get("Mapping", name).await.ok()??;
            let status = object["status"].as_object()?;
            assert!(status.keys().all(|key| key == "state" || key == "reason"));
            (status.get("state")? == state).then_some(())
        })
        .await?;
    }
    let bad = space.get("Mapping", "bad").await?.ok_or("no Mapping")?;
    assert!(bad["status"]["reason"].is_string(), "{bad}");
    for (kind, said) in [
        ("Mapping", "The CRD knows no conditions"),
        ("TLSContext", "The CRD has no status"),
    ] {
        scene.logs(said).await?;
        let log = scene.legate.log();
        let lines = log.lines().filter(|line| line.contains(said));
        let ours = format!("\"{kind}\"");
        let lines: Vec<&str> = lines.filter(|line| line.contains(&ours)).collect();
        assert_eq!(lines.len(), 1, "{lines:#?}");
        assert!(lines[0].contains("kubectl apply -f crds/"));
    }
    // New ones are served, and nothing is written over and over.
    space.mapping("more", "/more/", "shop").await?;
    scene.served("/more/").await?;
    let mark = server.audit_mark().await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let events = server.audit_of(&scene.account.user(), mark).await?;
    let writes = events.iter().filter(|event| event.writes_status()).count();
    assert!(writes <= 3, "{writes} writes without a change");

    // Ours in their place, tried every half minute: all of the status is there.
    server.apply_crds(&bench::crds()).await?;
    for name in ["shop", "more"] {
        let patience = 2 * PATIENCE;
        space.wait_for("Mapping", name, YES, patience).await?;
    }
    scene.heals("after").await?;
    scene.end().await
}

async fn late() -> Result<(), Error> {
    let server = server(&[]).await?;
    let space = Namespace::create(&server, "late").await?;
    let account = instance::account(&space).await?;
    let mut legate = Launch::new(&space, account.kubeconfig()).start()?;
    eventually("it says what is missing", PATIENCE, async || {
        let answer = legate.admin("/ambassador/v0/check_ready").await.ok()?;
        let text = answer.text();
        let words = ["Listener", "Host", "Mapping", "kubectl apply -f crds/"];
        let all = words.iter().all(|word| text.contains(word));
        (answer.status == 503 && all).then_some(())
    })
    .await?;
    let alive = legate.admin("/ambassador/v0/check_alive").await?;
    assert_eq!(alive.status, 200);

    // Those that are needed come first.
    let kind = |crd: &Value| {
        crd["spec"]["names"]["kind"]
            .as_str()
            .unwrap_or("")
            .to_owned()
    };
    let (needed, others): (Vec<Value>, Vec<Value>) = bench::crds()
        .into_iter()
        .partition(|crd| matches!(kind(crd).as_str(), "Listener" | "Host" | "Mapping"));
    assert_eq!(needed.len(), 3);
    server.apply_crds(&needed).await?;
    space.cleartext().await?;
    let _origin = space.backend("shop").await?;
    space.mapping("shop", "/shop/", "shop").await?;
    legate.wait_ready().await?;
    space.wait_for("Mapping", "shop", YES, PATIENCE).await?;
    let load = Load::start(legate.listener(8080), None, "any.example", "/shop/");
    let said = |text: &str| legate.log().lines().filter(|l| l.contains(text)).count();
    assert_eq!(said("I-KIND-ABSENT"), 1, "{}", legate.log());

    server.apply_crds(&others).await?;
    let contexts = [("kind", "TLSContext")];
    let synced = "legate_watch_synced";
    legate
        .metric_reaches(synced, &contexts, 1.0, PATIENCE)
        .await?;
    let context = "apiVersion: getambassador.io/v3alpha1\nkind: TLSContext\n\
        metadata: {name: late}\nspec: {hosts: [none.example], min_tls_version: v1.2}\n";
    space.apply(context).await?;
    let accepted = ("Accepted", "True");
    space
        .wait_for("TLSContext", "late", accepted, PATIENCE)
        .await?;
    space.mapping("after", "/after/", "shop").await?;
    space.wait_for("Mapping", "after", YES, PATIENCE).await?;
    assert_eq!(legate.get("any.example", "/after/").await?.status, 200);
    load.more(20).await?;
    load.end().await?;
    let events = server.audit_of(&account.user(), AuditMark::START).await?;
    assert!(events.iter().all(|event| event.code != 403));
    Ok(())
}
