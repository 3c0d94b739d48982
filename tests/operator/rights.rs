//! Parts of an operator in this process, with the shipped rights.

use std::path::Path;

use legate_operator::identity::Identity;
use legate_operator::rbac::{Scope, SecretScope};
use legate_testkit::client::Error;
use legate_testkit::kube::{Account, Namespace};

use crate::instance;

/// A replica of the instance that a namespace stands for.
pub(crate) fn identity(space: &Namespace, pod: &str) -> Identity {
    Identity {
        ambassador_id: space.id().to_owned(),
        namespace: space.name().to_owned(),
        pod_name: pod.to_owned(),
    }
}

/// The account of one that reads its own namespace only.
pub(crate) async fn own_namespace(space: &Namespace) -> Result<Account, Error> {
    let scope = Scope::Namespaces(vec![space.name().to_owned()]);
    instance::account_with(space, scope, SecretScope::Names(Vec::new())).await
}

/// A client of a kubeconfig.
pub(crate) async fn client(path: &Path) -> Result<kube::Client, Error> {
    let file = kube::config::Kubeconfig::read_from(path)?;
    let config = kube::Config::from_custom_kubeconfig(file, &Default::default()).await?;
    Ok(kube::Client::try_from(config)?)
}
