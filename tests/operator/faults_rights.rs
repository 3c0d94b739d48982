//! Rights: one that is taken away while it is used, and instances that have few.

use std::sync::Arc;
use std::time::Duration;

use legate::run::Seams;
use legate_operator::rbac::{Scope, SecretScope};
use legate_source::kube::Timing;
use legate_testkit::client::Error;
use legate_testkit::kube::{
    Account, ApiServer, AuditEvent, AuditMark, FaultProxy, Launch, Namespace, eventually,
};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::bench::{self, Bench};
use crate::faults::{PATIENCE, YES, tells_no_secret};
use crate::inproc::InProcess;
use crate::instance;
use crate::load::Load;

const RBAC: &str = "rbac.authorization.k8s.io/v1";

const NO_ACCESS_LOG: &str = "apiVersion: getambassador.io/v3alpha1\nkind: Module\n\
    metadata: {name: ambassador}\nspec: {config: {envoy_log_path: /dev/null}}\n";

/// How long a refusal has to last until it is believed; the long run has the default.
const SHORT: Duration = Duration::from_secs(3);

pub(crate) fn trials(bench: &Arc<Bench>) -> Vec<Trial> {
    vec![
        bench.trial("fault_right_is_taken_away", taken_away),
        bench.trial("fault_roles_of_two_namespaces_suffice", two_namespaces),
    ]
}

/// The rules of the account's ClusterRole, and its name.
fn cluster_role(account: &Account) -> Option<(String, Vec<Value>)> {
    let known = instance::known();
    let known = known.iter().find(|known| known.user == account.user())?;
    let mut manifests = known.manifests.iter();
    let role = manifests.find(|manifest| manifest["kind"] == "ClusterRole")?;
    let name = role["metadata"]["name"].as_str()?.to_owned();
    Some((name, role["rules"].as_array()?.clone()))
}

/// Sets the rules, and waits until Mappings may be watched or not.
async fn set_rules(
    server: &ApiServer,
    account: &Account,
    (name, rules): (&str, &[Value]),
    watch: bool,
) -> Result<(), Error> {
    let rules = json!({"rules": rules});
    server.merge(RBAC, "ClusterRole", "", name, &rules).await?;
    let access = ["", "getambassador.io", "mappings", "watch", ""];
    eventually("the rules count", PATIENCE, async || {
        let may = server.allows(&account.user(), access).await.ok()?;
        (may == watch).then_some(())
    })
    .await
}

async fn taken_away(space: Namespace) -> Result<(), Error> {
    let server = Arc::clone(space.server());
    let account = instance::account(&space).await?;
    instance::excuse(&account);
    let proxy = FaultProxy::start(&server).await?;
    space.cleartext().await?;
    let _origin = space.backend("shop").await?;
    space.mapping("shop", "/shop/", "shop").await?;
    // It would write among the results of the tests.
    space.apply(NO_ACCESS_LOG).await?;
    let timing = if bench::long() {
        Timing::default()
    } else {
        Timing {
            forbidden_after: SHORT,
            ..Timing::default()
        }
    };
    let through = account.kubeconfig_through(&proxy)?;
    let process = InProcess::start_with(&space, &through, Seams::default(), timing)?;
    space.wait_for("Mapping", "shop", YES, PATIENCE).await?;
    let load = Load::start(process.listener(8080), None, "any.example", "/shop/");
    load.more(20).await?;

    let (name, rules) = cluster_role(&account).ok_or("no ClusterRole")?;
    let mut fewer = rules.clone();
    for rule in &mut fewer {
        if let Some(resources) = rule["resources"].as_array_mut() {
            resources.retain(|resource| resource != "mappings");
        }
    }
    set_rules(&server, &account, (&name, &fewer), false).await?;
    // A watch outlives its rule.
    space.mapping("before", "/before/", "shop").await?;
    space.wait_for("Mapping", "before", YES, PATIENCE).await?;
    assert_eq!(process.status("/before/").await, 200);
    proxy.cut();
    let told = |text: &str| text.contains("W-WATCH-FORBIDDEN") && text.contains("mappings.getamb");
    eventually("what is forbidden is said", 3 * PATIENCE, async || {
        let mut all = process.diagnostics().into_iter();
        all.any(|text| told(&text)).then_some(())
    })
    .await?;
    assert_eq!(process.status("/before/").await, 200);
    load.more(20).await?;

    space.mapping("after", "/after/", "shop").await?;
    set_rules(&server, &account, (&name, &rules), true).await?;
    space.wait_for("Mapping", "after", YES, PATIENCE).await?;
    assert_eq!(process.status("/after/").await, 200);
    eventually("nothing is forbidden", PATIENCE, async || {
        let mut all = process.diagnostics().into_iter();
        (!all.any(|text| told(&text))).then_some(())
    })
    .await?;
    load.end().await?;
    tokio::task::spawn_blocking(move || drop(process)).await?;
    Ok(())
}

/// Roles in two namespaces and no ClusterRole: nothing is asked of the cluster.
async fn two_namespaces(space: Namespace) -> Result<(), Error> {
    let other = space.sibling("other").await?;
    let outside = space.sibling("outside").await?;
    let names = vec![space.name().to_owned(), other.name().to_owned()];
    let flag = names.join(",");
    let scope = Scope::Namespaces(names);
    let account = instance::account_with(&space, scope, SecretScope::All).await?;
    let known = instance::known();
    let known = known.iter().find(|known| known.user == account.user());
    let manifests = &known.ok_or("no account")?.manifests;
    assert!(
        manifests
            .iter()
            .all(|manifest| manifest["metadata"]["namespace"].is_string()),
        "{manifests:#?}"
    );
    space.cleartext().await?;
    let mut origins = Vec::new();
    for space in [&space, &other, &outside] {
        origins.push(space.backend("shop").await?);
    }
    space.mapping("here", "/here/", "shop").await?;
    outside.mapping("outside", "/outside/", "shop").await?;
    let launch = Launch::new(&space, account.kubeconfig()).args(["--watch-namespaces", &flag]);
    let legate = launch.ready().await?;
    space.wait_for("Mapping", "here", YES, PATIENCE).await?;
    let load = Load::start(legate.listener(8080), None, "any.example", "/here/");
    other.mapping("there", "/there/", "shop").await?;
    other.wait_for("Mapping", "there", YES, PATIENCE).await?;
    assert_eq!(legate.get("any.example", "/there/").await?.status, 200);
    assert_eq!(legate.get("any.example", "/outside/").await?.status, 404);

    let server = space.server();
    let events = server.audit_of(&account.user(), AuditMark::START).await?;
    let of_cluster: Vec<&AuditEvent> = events
        .iter()
        .filter(|event| !event.resource.is_empty() && event.namespace.is_empty())
        .collect();
    assert!(of_cluster.is_empty(), "{of_cluster:#?}");
    let foreign = events
        .iter()
        .find(|event| event.namespace == outside.name());
    assert!(foreign.is_none(), "{foreign:#?}");
    assert!(events.iter().all(|event| event.code != 403));
    load.more(20).await?;
    load.end().await?;
    tells_no_secret(&legate, &account, &[]).await
}
