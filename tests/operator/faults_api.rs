//! What an API server answers when it starts, compacts, changes a CRD or does not know a token.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use legate_testkit::client::Error;
use legate_testkit::kube::{ApiServer, Injection, Namespace, Rule, eventually};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::bench::{self, Bench};
use crate::faults::{PATIENCE, Scene, YES};
use crate::instance;

/// More than what a list hands out at once.
const MANY: usize = 505;

/// How long the client uses a token before it looks into the file again.
const REREAD: Duration = Duration::from_secs(60);

/// How often the API server starts again; the long run has ten.
const SHORT: usize = 2;
const LONG: usize = 10;

/// What would be said of a right that is lost.
const FORBIDDEN: &str = "W-WATCH-FORBIDDEN";

pub(crate) fn trials(bench: &Arc<Bench>) -> Vec<Trial> {
    vec![
        // The longest, though it only waits.
        bench.trial("fault_token_expires_and_is_renewed", expired),
        bench.alone("fault_crd_edit_ends_watches", edited_crd),
        bench.alone("fault_continue_token_is_gone", compacted),
        bench.alone("fault_api_server_restarts", restarts),
        bench.trial("fault_403_for_moments_is_no_lost_right", moments),
    ]
}

/// A token whose time is over, until a new one is in the file. The client reads the file about every
/// 50 s, so this takes a minute.
async fn expired(space: Namespace) -> Result<(), Error> {
    let server = Arc::clone(space.server());
    let account = instance::account(&space).await?;
    // The API server remembers for ten seconds more what it has taken.
    server.renew(&account, Duration::from_secs(10)).await?;
    let mark = server.audit_mark().await?;
    let scene = Scene::start_as(space, account, &[]).await?;
    eventually("the token is refused", PATIENCE, async || {
        scene.proxy.cut();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let events = server.audit(mark).await.ok()?;
        let mut refused = events.iter().filter(|event| event.code == 401);
        refused
            .any(|event| event.user_agent.starts_with("legate/"))
            .then_some(())
    })
    .await?;
    scene.synced(false).await?;
    scene.goes_on().await?;
    server
        .renew(&scene.account, Duration::from_secs(3600))
        .await?;
    let space = &scene.space;
    space.mapping("late", "/late/", "shop").await?;
    let served = scene
        .legate
        .serves("any.example", "/late/", 200, REREAD + PATIENCE);
    served.await?;
    space.wait_for("Mapping", "late", YES, PATIENCE).await?;
    scene.heals("after").await?;
    scene.end().await
}

/// Editing a CRD ends its watches; they are answered 429, and then 410 within the stream.
async fn edited_crd(server: Arc<ApiServer>) -> Result<(), Error> {
    let scene = Scene::alone(&server).await?;
    for round in 0..2 {
        let before = scene.restarts().await?;
        let column = json!([{
            "op": "add", "path": "/spec/versions/0/additionalPrinterColumns/-",
            "value": {"name": format!("Extra{round}"), "type": "string", "jsonPath": ".spec.prefix"},
        }]);
        let crd = "crd/mappings.getambassador.io";
        let patch = ["patch", crd, "--type=json", "-p", &column.to_string()];
        server.kubectl(&patch, "")?.success()?;
        scene.restarted(before).await?;
        scene.heals(&format!("after-{round}")).await?;
    }
    assert_eq!(scene.said("W-KIND-FROZEN"), 0, "{}", scene.legate.log());
    scene.end().await
}

/// A list is answered in pages; between two of them etcd is compacted and the API server starts
/// again, which makes the rest of the list impossible.
async fn compacted(server: Arc<ApiServer>) -> Result<(), Error> {
    // Listed before everything of ours.
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a-many"}});
    server.apply(&[namespace]).await?;
    let mut making = JoinSet::new();
    for part in (0..MANY).collect::<Vec<_>>().chunks(MANY / 8 + 1) {
        let objects: Vec<Value> = part.iter().map(|number| foreign(*number)).collect();
        let server = Arc::clone(&server);
        making.spawn(async move { server.apply(&objects).await.map(|_made| ()) });
    }
    while let Some(made) = making.join_next().await {
        made??;
    }
    let scene = Scene::alone(&server).await?;
    let before = scene.restarts().await?;
    let (go, held) = watch::channel(false);
    let pages = Rule::new(Injection::Until(held)).path("/mappings");
    let pages = scene.proxy.place(pages.query("continue=").times(1));
    let relist = Rule::new(Injection::Status(StatusCode::GONE)).path("/mappings");
    let relist = scene.proxy.place(relist.query("watch=").times(1));
    scene.proxy.cut();
    eventually("a second page is asked for", PATIENCE, async || {
        (pages.hits() == 1).then_some(())
    })
    .await?;
    assert_eq!(relist.hits(), 1);
    // What the first page did not have is not gone.
    scene.goes_on().await?;
    // A token is of use as long as nothing came after it.
    let between = ("between", "/between/");
    scene.space.mapping(between.0, between.1, "shop").await?;
    server.compact().await?;
    server.kill();
    server.start().await?;
    let mark = server.audit_mark().await?;
    go.send_replace(true);
    eventually("the token is too old", PATIENCE, async || {
        let events = server.audit(mark).await.ok()?;
        let mut events = events.iter();
        events
            .any(|event| event.code == 410 && event.request_uri.contains("continue="))
            .then_some(())
    })
    .await?;
    scene.restarted(before + 1.0).await?;
    scene.served(between.1).await?;
    scene.heals("after").await?;
    scene.end().await
}

/// A Mapping of nobody's here.
fn foreign(number: usize) -> Value {
    json!({
        "apiVersion": "getambassador.io/v3alpha1", "kind": "Mapping",
        "metadata": {"name": format!("m-{number:03}"), "namespace": "a-many"},
        "spec": {"ambassador_id": ["nobody"], "hostname": "*", "prefix": "/m/", "service": "m"},
    })
}

/// A starting API server answers 429, 403 and 410 for some moments.
async fn restarts(server: Arc<ApiServer>) -> Result<(), Error> {
    let scene = Scene::alone(&server).await?;
    for round in 0..if bench::long() { LONG } else { SHORT } {
        let before = scene.restarts().await?;
        server.kill();
        scene.restarted(before).await?;
        scene.synced(false).await?;
        scene.goes_on().await?;
        server.start().await?;
        scene.heals(&format!("after-{round}")).await?;
    }
    for wrong in [FORBIDDEN, "W-KIND-FROZEN", "I-KIND-ABSENT"] {
        assert_eq!(scene.said(wrong), 0, "{}", scene.legate.log());
    }
    scene.end().await
}

async fn moments(space: Namespace) -> Result<(), Error> {
    let scene = Scene::start(space).await?;
    let before = scene.restarts().await?;
    let forbidden = Injection::Status(StatusCode::FORBIDDEN);
    for method in [Method::GET, Method::PUT, Method::PATCH] {
        let rule = Rule::new(forbidden.clone()).method(method);
        scene.proxy.place(rule);
    }
    scene.proxy.cut();
    scene.restarted(before).await?;
    scene.synced(false).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    scene.goes_on().await?;
    scene.proxy.clear();
    scene.heals("after").await?;
    assert_eq!(scene.said(FORBIDDEN), 0, "{}", scene.legate.log());
    scene.end().await
}
