//! The bench itself: what other trials rely on.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use legate_testkit::client::Error;
use legate_testkit::kube::{ApiServer, FaultProxy, Injection, Namespace, Rule, eventually};
use libtest_mimic::Trial;
use serde_json::json;

use crate::bench::Bench;

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn trials(bench: &Arc<Bench>) -> Vec<Trial> {
    vec![
        bench.trial("kit_account_has_no_rights_of_its_own", account),
        bench.trial("kit_short_token_expires", short_token),
        bench.trial("kit_audit_log_says_who_did_what", audit),
        bench.trial("kit_proxy_answers_in_place_of_the_server", proxy_answers),
        bench.trial("kit_proxy_cuts_watches", proxy_cuts),
        bench.alone("kit_server_keeps_data_over_a_restart", restart),
    ]
}

/// A client of a kubeconfig that repeats nothing.
async fn client(path: &std::path::Path) -> Result<kube::Client, Error> {
    let file = kube::config::Kubeconfig::read_from(path)?;
    let mut config = kube::Config::from_custom_kubeconfig(file, &Default::default()).await?;
    config.default_retry = false;
    Ok(kube::Client::try_from(config)?)
}

fn code<T>(answer: Result<T, kube::Error>) -> u16 {
    match answer {
        Ok(_) => 200,
        Err(kube::Error::Api(status)) => status.code,
        Err(_other) => 0,
    }
}

type ConfigMaps = Api<k8s_openapi::api::core::v1::ConfigMap>;

async fn account(space: Namespace) -> Result<(), Error> {
    let server = space.server();
    let account = server.service_account(space.name(), "operator").await?;
    let api = ConfigMaps::namespaced(client(account.kubeconfig()).await?, space.name());
    assert_eq!(code(api.list(&ListParams::default()).await), 403);
    grant(&space).await?;
    eventually("the right is there", PATIENCE, async || {
        (code(api.list(&ListParams::default()).await) == 200).then_some(())
    })
    .await
}

/// Lets `operator` read ConfigMaps.
async fn grant(space: &Namespace) -> Result<(), Error> {
    space
        .apply(&format!(
            "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {{name: read}}\n\
             rules: [{{apiGroups: [\"\"], resources: [configmaps], verbs: [get, list, watch]}}]\n\
             ---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\n\
             metadata: {{name: read}}\n\
             roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: read}}\n\
             subjects: [{{kind: ServiceAccount, name: operator, namespace: {}}}]\n",
            space.name()
        ))
        .await
        .map(|_objects| ())
}

/// The API server trusts a good token for ten seconds more; that is why this takes its time.
async fn short_token(space: Namespace) -> Result<(), Error> {
    let server = space.server();
    let account = server.service_account(space.name(), "operator").await?;
    server.renew(&account, Duration::from_secs(2)).await?;
    let api = ConfigMaps::namespaced(client(account.kubeconfig()).await?, space.name());
    assert_eq!(code(api.list(&ListParams::default()).await), 403);
    eventually("the token has expired", PATIENCE, async || {
        (code(api.list(&ListParams::default()).await) == 401).then_some(())
    })
    .await
}

async fn audit(space: Namespace) -> Result<(), Error> {
    let server = space.server();
    let account = server.service_account(space.name(), "operator").await?;
    let mark = server.audit_mark().await?;
    space.mapping("m", "/m/", "backend").await?;
    let status = json!({
        "apiVersion": "getambassador.io/v3alpha1", "kind": "Mapping",
        "metadata": {"name": "m", "namespace": space.name()}, "status": {"state": "Running"},
    });
    server.apply_status("legate", &status).await?;
    let api = ConfigMaps::namespaced(client(account.kubeconfig()).await?, space.name());
    api.get("none").await.unwrap_err();

    let events = server.audit(mark).await?;
    let here: Vec<_> = events
        .iter()
        .filter(|event| event.namespace == space.name() && event.complete())
        .map(|event| {
            let verb = event.verb.as_str();
            (
                event.user.as_str(),
                verb,
                event.resource.as_str(),
                event.subresource.as_str(),
                event.code,
            )
        })
        .collect();
    let user = account.user();
    let wanted = [
        ("admin", "patch", "mappings", "", 201),
        ("admin", "patch", "mappings", "status", 200),
        (user.as_str(), "get", "configmaps", "", 403),
    ];
    assert_eq!(here, wanted);
    let own = server.audit_of(&user, mark).await?;
    assert_eq!(own.len(), 1);
    assert_eq!(
        (own[0].name.as_str(), own[0].version.as_str()),
        ("none", "v1")
    );
    Ok(())
}

async fn proxy_answers(space: Namespace) -> Result<(), Error> {
    let server = space.server();
    let account = server.service_account(space.name(), "operator").await?;
    grant(&space).await?;
    let proxy = FaultProxy::start(server).await?;
    let client = client(&account.kubeconfig_through(&proxy)?).await?;
    let api = ConfigMaps::namespaced(client, space.name());
    let list = async || code(api.list(&ListParams::default()).await);
    eventually("the proxy hands on", PATIENCE, async || {
        (list().await == 200).then_some(())
    })
    .await?;

    let busy = Injection::RetryAfter(StatusCode::TOO_MANY_REQUESTS, Duration::from_secs(1));
    let rule = Rule::new(busy)
        .method(Method::GET)
        .path("/configmaps")
        .times(2);
    let placed = proxy.place(rule);
    assert_eq!([list().await, list().await, list().await], [429, 429, 200]);
    assert_eq!(placed.hits(), 2);

    let placed = proxy.place(Rule::new(Injection::Close));
    assert_eq!(list().await, 0);
    placed.remove();
    assert_eq!(list().await, 200);

    let silence = proxy.place(Rule::new(Injection::Silence).path("/configmaps"));
    let short = Duration::from_millis(300);
    assert!(tokio::time::timeout(short, list()).await.is_err());
    silence.remove();

    proxy.refuse();
    assert_eq!(list().await, 0);
    let refused = tokio::net::TcpStream::connect(proxy.address()).await;
    assert_eq!(
        refused.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionRefused
    );
    proxy.accept().await?;
    assert_eq!(list().await, 200);
    Ok(())
}

async fn proxy_cuts(space: Namespace) -> Result<(), Error> {
    use futures_util::{StreamExt, TryStreamExt};
    let server = space.server();
    let account = server.service_account(space.name(), "operator").await?;
    grant(&space).await?;
    let proxy = FaultProxy::start(server).await?;
    let client = client(&account.kubeconfig_through(&proxy)?).await?;
    let api = ConfigMaps::namespaced(client, space.name());
    let map = |name: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n");
    space.apply(&map("one")).await?;
    let watch = async || {
        eventually("a watch", PATIENCE, async || {
            api.watch(&WatchParams::default(), "0").await.ok()
        })
        .await
    };

    // Mid-event: the first event is longer than that.
    let cut = Rule::new(Injection::CutAfter(40))
        .query("watch=true")
        .times(1);
    let placed = proxy.place(cut);
    let mut events = watch().await?.boxed();
    assert!(!matches!(events.next().await, Some(Ok(_))));
    assert_eq!(placed.hits(), 1);

    // Whole, and then cut while nothing happens.
    let mut events = watch().await?.boxed();
    let first = events.try_next().await?;
    assert!(
        matches!(first, Some(WatchEvent::Added(object)) if object.metadata.name.as_deref() == Some("one"))
    );
    proxy.cut();
    // Bookmarks may come before the end.
    let end = async { while let Some(Ok(_)) = events.next().await {} };
    tokio::time::timeout(PATIENCE, end).await?;
    Ok(())
}

async fn restart(server: Arc<ApiServer>) -> Result<(), Error> {
    let space = Namespace::create(&server, "restart").await?;
    space.mapping("m", "/m/", "backend").await?;
    let before = space.get("Mapping", "m").await?.ok_or("gone")?;
    server.stop()?;
    assert!(space.get("Mapping", "m").await.is_err());
    server.start().await?;
    let after = space.get("Mapping", "m").await?.ok_or("gone")?;
    assert_eq!(before, after);

    server.pause()?;
    let get = space.get("Mapping", "m");
    assert!(
        tokio::time::timeout(Duration::from_millis(300), get)
            .await
            .is_err()
    );
    server.resume()?;
    assert!(space.get("Mapping", "m").await?.is_some());

    // After compaction and a restart an old resource version is gone.
    server.compact().await?;
    server.kill();
    server.start().await?;
    let api = server
        .api("getambassador.io/v3alpha1", "Mapping", space.name())
        .await?;
    let list = ListParams::default()
        .at("1")
        .matching(kube::api::VersionMatch::Exact);
    // For some moments it is 429: the storage is initialising.
    eventually("the version is gone", PATIENCE, async || {
        (code(api.list(&list).await) == 410).then_some(())
    })
    .await
}
