//! Last good versions and the hash key on a real API server, with the shipped rights.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use legate_api::{Decoded, Object, decode};
use legate_operator::keys::{KeyError, hash_key};
use legate_operator::last_good::{LastGoodMap, LastGoodStore, load};
use legate_testkit::client::Error;
use legate_testkit::kube::{FaultProxy, Injection, Namespace, Rule, eventually};
use libtest_mimic::Trial;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::bench::Bench;
use crate::instance;
use crate::rights::{client, identity, own_namespace};

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn trials(bench: &Arc<Bench>) -> Vec<Trial> {
    vec![
        bench.trial("own_hash_key_is_one_for_all_creators", key_race),
        bench.trial("own_hash_key_is_never_replaced", key_conflict),
        bench.trial("own_hash_key_is_not_guessed", key_garbage),
        bench.trial("own_objects_need_rights", forbidden),
        bench.trial("own_last_good_comes_back", round_trip),
        bench.trial("own_last_good_survives_garbage_and_deletion", damage),
        bench.trial("own_last_good_is_handed_over", hand_over),
    ]
}

fn mapping(name: &str, prefix: &str) -> Arc<Object> {
    let value = json!({
        "apiVersion": "getambassador.io/v3alpha1",
        "kind": "Mapping",
        "metadata": {"name": name, "namespace": "apps", "generation": 1},
        "spec": {"hostname": "*", "prefix": prefix, "service": "web"},
    });
    let raw: Arc<str> = Arc::from(value.to_string());
    let Decoded::Object(mut object) = decode(value, "default") else {
        panic!("no object");
    };
    object.raw = Some(raw);
    Arc::new(object)
}

fn map(objects: &[(&str, &str)]) -> Arc<LastGoodMap> {
    let objects = objects.iter().map(|(name, prefix)| mapping(name, prefix));
    Arc::new(objects.map(|object| (object.key(), object)).collect())
}

/// A replica's store, and the switch that makes it the leader.
async fn store(
    client: &kube::Client,
    space: &Namespace,
    leads: bool,
) -> Result<(LastGoodStore, watch::Sender<bool>), Error> {
    let identity = identity(space, "pod");
    let loaded = load(client.clone(), &identity).await?;
    let (leading, receiver) = watch::channel(leads);
    let store = LastGoodStore::start(
        client.clone(),
        &identity,
        loaded,
        receiver,
        &Handle::current(),
    );
    Ok((store, leading))
}

async fn changed_to(store: &LastGoodStore, wanted: &LastGoodMap) -> Result<(), Error> {
    let mut changes = store.changes();
    let found = changes.wait_for(|map| **map == *wanted);
    let found = tokio::time::timeout(PATIENCE, found).await;
    found.map_err(|_| "the other replica does not follow")??;
    Ok(())
}

fn secrets(space: &Namespace) -> Api<Secret> {
    Api::namespaced(space.server().client(), space.name())
}

async fn key_race(space: Namespace) -> Result<(), Error> {
    let account = own_namespace(&space).await?;
    let client = client(account.kubeconfig()).await?;
    let identity = identity(&space, "pod");
    let mark = space.server().audit_mark().await?;
    let creators = (0..8).map(|_| hash_key(client.clone(), &identity));
    let keys = futures_util::future::try_join_all(creators).await?;
    assert!(keys.iter().all(|key| key == &keys[0]), "several keys");
    assert_ne!(keys[0], [0; 32]);
    assert_eq!(hash_key(client, &identity).await?, keys[0], "and later");
    let secret = secrets(&space)
        .get(&identity.discovery_secret_name())
        .await?;
    assert_eq!(secret.data.unwrap_or_default()["hash-key"].0, keys[0]);
    let requests = space.server().audit_of(&account.user(), mark).await?;
    assert!(
        requests.iter().all(|event| event.code != 403),
        "{requests:?}"
    );
    Ok(())
}

/// A creator that did not see the Secret in time does not replace its key.
async fn key_conflict(space: Namespace) -> Result<(), Error> {
    let account = own_namespace(&space).await?;
    let identity = identity(&space, "pod");
    let key = hash_key(client(account.kubeconfig()).await?, &identity).await?;
    let proxy = FaultProxy::start(space.server()).await?;
    let missing = Rule::new(Injection::Status(StatusCode::NOT_FOUND));
    let unseen = proxy.place(missing.method(Method::GET).path("/secrets/").times(1));
    let late = client(&account.kubeconfig_through(&proxy)?).await?;
    let mark = space.server().audit_mark().await?;
    assert_eq!(hash_key(late, &identity).await?, key);
    assert_eq!(unseen.hits(), 1);
    let requests = space.server().audit_of(&account.user(), mark).await?;
    let refused = requests.iter().filter(|event| event.code == 409).count();
    assert_eq!(refused, 1, "{requests:?}");
    Ok(())
}

async fn key_garbage(space: Namespace) -> Result<(), Error> {
    let account = own_namespace(&space).await?;
    let identity = identity(&space, "pod");
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": identity.discovery_secret_name(), "namespace": space.name()},
        "stringData": {"hash-key": "planted-secret"},
    });
    space.server().apply(&[secret]).await?;
    let client = client(account.kubeconfig()).await?;
    let error = hash_key(client, &identity).await.unwrap_err();
    assert!(matches!(error, KeyError::Malformed { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("planted"));
    Ok(())
}

async fn forbidden(space: Namespace) -> Result<(), Error> {
    let account = space
        .server()
        .service_account(space.name(), "legate")
        .await?;
    let client = client(account.kubeconfig()).await?;
    let identity = identity(&space, "pod");
    let error = hash_key(client.clone(), &identity).await.unwrap_err();
    assert!(matches!(error, KeyError::Forbidden { .. }), "{error}");
    let error = load(client.clone(), &identity).await.unwrap_err();
    assert_eq!(error.status, 403, "{error}");
    // And it heals.
    instance::excuse(&own_namespace(&space).await?);
    hash_key(client.clone(), &identity).await?;
    assert!(load(client, &identity).await?.objects().is_empty());
    Ok(())
}

async fn round_trip(space: Namespace) -> Result<(), Error> {
    let account = own_namespace(&space).await?;
    let client = client(account.kubeconfig()).await?;
    let (leader, _leads) = store(&client, &space, true).await?;
    let (follower, _follows) = store(&client, &space, false).await?;
    let mark = space.server().audit_mark().await?;

    let kept = map(&[("a", "/a/"), ("b", "/b/")]);
    leader.set(Arc::clone(&kept));
    follower.set(map(&[]));
    assert!(leader.flush(PATIENCE).await);
    changed_to(&follower, &kept).await?;
    let loaded = load(client.clone(), &identity(&space, "new")).await?;
    assert_eq!(loaded.objects(), *kept);
    let report = leader.report().borrow().clone();
    assert_eq!((report.objects, report.pending), (2, false));
    assert!(report.oldest.is_some() && report.diagnostics.is_empty());

    // The same again is no request; less is one.
    leader.set(map(&[("a", "/a/"), ("b", "/b/")]));
    let less = map(&[("b", "/b/")]);
    leader.set(Arc::clone(&less));
    assert!(leader.flush(PATIENCE).await);
    leader.set(Arc::clone(&less));
    assert!(leader.flush(PATIENCE).await);
    changed_to(&follower, &less).await?;
    let none = map(&[]);
    leader.set(Arc::clone(&none));
    assert!(leader.flush(PATIENCE).await);
    changed_to(&follower, &none).await?;

    let requests = space.server().audit_of(&account.user(), mark).await?;
    let writes: Vec<_> = requests
        .iter()
        .filter(|event| event.verb == "patch")
        .collect();
    assert_eq!(writes.len(), 3, "{writes:?}");
    assert!(
        requests.iter().all(|event| event.code != 403),
        "{requests:?}"
    );
    Ok(())
}

async fn damage(space: Namespace) -> Result<(), Error> {
    let account = own_namespace(&space).await?;
    let client = client(account.kubeconfig()).await?;
    let (leader, _leads) = store(&client, &space, true).await?;
    let (follower, _follows) = store(&client, &space, false).await?;
    let kept = map(&[("a", "/a/")]);
    leader.set(Arc::clone(&kept));
    changed_to(&follower, &kept).await?;
    assert!(leader.flush(PATIENCE).await);

    let (api, name) = (secrets(&space), identity(&space, "").last_good_name());
    let mut followed = follower.changes();
    followed.mark_unchanged();
    let whole = api.get(&name).await?.data.unwrap_or_default();
    let healed = async |what: &str| {
        eventually(what, PATIENCE, async || {
            let secret = api.get_opt(&name).await.ok()??;
            (secret.data? == whole).then_some(())
        })
        .await
    };
    let garbage = json!({"stringData": {"objects": "garbage\n{}"}});
    api.patch(&name, &PatchParams::default(), &Patch::Merge(garbage))
        .await?;
    healed("garbage is replaced").await?;
    api.delete(&name, &DeleteParams::default()).await?;
    healed("the Secret is back").await?;
    // Nothing of it reached the follower as a change of what is kept.
    assert_eq!(**followed.borrow_and_update(), *kept);
    Ok(())
}

async fn hand_over(space: Namespace) -> Result<(), Error> {
    let account = own_namespace(&space).await?;
    let client = client(account.kubeconfig()).await?;
    let (first, first_leads) = store(&client, &space, true).await?;
    let (second, second_leads) = store(&client, &space, false).await?;
    let before = map(&[("a", "/a/")]);
    first.set(Arc::clone(&before));
    changed_to(&second, &before).await?;
    let since = load(client.clone(), &identity(&space, "x"))
        .await?
        .objects();
    assert_eq!(since, *before);

    // The new leader knows the same and one more; the old one must not write its own again.
    let after = map(&[("a", "/a/"), ("b", "/b/")]);
    second.set(Arc::clone(&after));
    first_leads.send_replace(false);
    second_leads.send_replace(true);
    assert!(second.flush(PATIENCE).await);
    changed_to(&first, &after).await?;
    let loaded = load(client, &identity(&space, "x")).await?;
    assert_eq!(loaded.objects(), *after);
    Ok(())
}
