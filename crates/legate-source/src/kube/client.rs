//! How the API server is reached (design §6.4).

use std::path::{Path, PathBuf};
use std::time::Duration;

use ::kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use ::kube::{Client, Config};
use http::{HeaderValue, header};

const CONNECT: Duration = Duration::from_secs(5);
const WRITE: Duration = Duration::from_secs(30);
/// Longer than a watch lasts at most: that it is silent is noticed much earlier, by the watch.
const READ: Duration = Duration::from_secs(300);

/// Why the API server cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A kubeconfig that cannot be read or used.
    #[error("the kubeconfig {path} cannot be used: {source}")]
    Kubeconfig {
        /// The file, or what stands for it.
        path: String,
        /// What is wrong with it.
        source: Box<KubeconfigError>,
    },
    /// The environment of a pod, but not all of it.
    #[error("the cluster that this pod runs in cannot be used: {0}")]
    InCluster(Box<InClusterError>),
    /// Settings that no client can be made of.
    #[error("no client can be made of the settings for the API server: {0}")]
    Client(Box<::kube::Error>),
}

/// Settings to reach the API server.
///
/// `kubeconfig` may be a list of files, as the variable `KUBECONFIG` may. Without it, and without a
/// context, a pod uses its own cluster; else `KUBECONFIG` or `~/.kube/config` is used.
///
/// # Errors
/// [`ClientError`] when the files or the pod's credentials cannot be used.
pub async fn client_config(
    kubeconfig: Option<&Path>,
    context: Option<&str>,
) -> Result<Config, ClientError> {
    let in_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    let named = std::env::var_os("KUBECONFIG").is_some_and(|value| !value.is_empty());
    let mut config = match kubeconfig {
        None if in_pod && !named && context.is_none() => {
            Config::incluster().map_err(|error| ClientError::InCluster(Box::new(error)))?
        }
        path => from_files(path, context).await?,
    };
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(READ);
    config.write_timeout = Some(WRITE);
    // The time that a connection was idle is not silence.
    config.reset_reader_on_write = true;
    // We retry ourselves, and want to see what fails.
    config.default_retry = false;
    let agent = concat!("legate/", env!("CARGO_PKG_VERSION"));
    config
        .headers
        .push((header::USER_AGENT, HeaderValue::from_static(agent)));
    Ok(config)
}

/// A client for the settings. Needs a runtime.
///
/// # Errors
/// [`ClientError::Client`] when TLS or credentials cannot be set up.
pub fn client(config: Config) -> Result<Client, ClientError> {
    Client::try_from(config).map_err(|error| ClientError::Client(Box::new(error)))
}

async fn from_files(path: Option<&Path>, context: Option<&str>) -> Result<Config, ClientError> {
    let shown = || match path {
        Some(path) => path.display().to_string(),
        None => "of KUBECONFIG or ~/.kube/config".to_owned(),
    };
    let failed = |source: KubeconfigError| ClientError::Kubeconfig {
        path: shown(),
        source: Box::new(source),
    };
    let kubeconfig = match path {
        Some(path) => merged(path).map_err(failed)?,
        None => Kubeconfig::read().map_err(failed)?,
    };
    let options = KubeConfigOptions {
        context: context.map(str::to_owned),
        ..KubeConfigOptions::default()
    };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    config.map_err(failed)
}

/// Files of a list that are there, the earlier ones winning.
fn merged(list: &Path) -> Result<Kubeconfig, KubeconfigError> {
    // One file's name may look like a list.
    if list.is_file() {
        return Kubeconfig::read_from(list);
    }
    let paths: Vec<PathBuf> = std::env::split_paths(list)
        .filter(|path| !path.as_os_str().is_empty())
        .collect();
    let [path] = paths.as_slice() else {
        let there = paths.iter().filter(|path| path.exists());
        return there
            .map(Kubeconfig::read_from)
            .try_fold(Kubeconfig::default(), |merged, next| merged.merge(next?));
    };
    Kubeconfig::read_from(path)
}

#[cfg(test)]
mod tests;
