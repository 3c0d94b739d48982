//! An instance under test: its account with the shipped rights, and nothing more.

use std::sync::Mutex;

use legate_operator::identity::Identity;
use legate_operator::rbac::{self, Rights, Scope, SecretScope};
use legate_testkit::client::Error;
use legate_testkit::kube::{Account, ApiServer, Namespace, netns};
use legate_testkit::{Behaviour, Origin};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The account's name.
const ACCOUNT: &str = "legate";

/// An account that ran with the shipped rights; what it did is looked at when all trials are over.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) user: String,
    pub(crate) manifests: Vec<Value>,
    /// Its trial takes rights away or makes the API server refuse.
    pub(crate) excused: bool,
}

static KNOWN: Mutex<Vec<Known>> = Mutex::new(Vec::new());

/// An account for this namespace and id, with the rights of a cluster-wide instance.
pub(crate) async fn account(space: &Namespace) -> Result<Account, Error> {
    account_with(space, Scope::Cluster, SecretScope::All).await
}

/// An account in this namespace for another id than the namespace's.
pub(crate) async fn account_of(space: &Namespace, id: &str) -> Result<Account, Error> {
    account_for(space, id, Scope::Cluster, SecretScope::All).await
}

/// An origin with a headless Service and its EndpointSlice in any namespace: `NAME:PORT`.
pub(crate) async fn backend_in(
    server: &ApiServer,
    namespace: &str,
    name: &str,
    port: u16,
) -> Result<Origin, Error> {
    let listener = TcpListener::bind((netns::address(), 8080)).await?;
    let origin = Origin::serve(name, listener, Behaviour::default(), None);
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"clusterIP": "None", "ports": [{"name": "http", "port": port, "targetPort": 8080}]},
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": format!("{name}-1"), "namespace": namespace,
            "labels": {"kubernetes.io/service-name": name}},
        "endpoints": [{"addresses": [origin.address().ip().to_string()], "conditions": {"ready": true}}],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    });
    server.apply(&[service, slice]).await?;
    Ok(origin)
}

/// An account with the rights of an instance that is started with such flags.
pub(crate) async fn account_with(
    space: &Namespace,
    scope: Scope,
    secrets: SecretScope,
) -> Result<Account, Error> {
    account_for(space, space.id(), scope, secrets).await
}

async fn account_for(
    space: &Namespace,
    id: &str,
    scope: Scope,
    secrets: SecretScope,
) -> Result<Account, Error> {
    let rights = Rights {
        identity: Identity {
            ambassador_id: id.to_owned(),
            namespace: space.name().to_owned(),
            pod_name: String::new(),
        },
        service_account: ACCOUNT.to_owned(),
        scope,
        secrets,
    };
    let manifests = rbac::manifests(&rights);
    let server = space.server();
    let account = server.service_account(space.name(), ACCOUNT).await?;
    server.apply_rights(&account.user(), &manifests).await?;
    KNOWN.lock().unwrap().push(Known {
        user: account.user(),
        manifests,
        excused: false,
    });
    Ok(account)
}

/// Says that refusals are part of this account's trial.
pub(crate) fn excuse(account: &Account) {
    let mut known = KNOWN.lock().unwrap();
    for known in known
        .iter_mut()
        .filter(|known| known.user == account.user())
    {
        known.excused = true;
    }
}

/// All accounts so far.
pub(crate) fn known() -> Vec<Known> {
    KNOWN.lock().unwrap().clone()
}
