//! `legate run --kube` in this process, where its seams can be reached.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use legate::run::{KubeRun, RunOptions, Running, Seams};
use legate_compiler::{MissingRefs, Mode, Options};
use legate_gateway::GatewayOptions;
use legate_source::kube::{KubeOptions, SecretAccess, Timing};
use legate_testkit::client::{Client, Error};
use legate_testkit::kube::{Account, Metrics, Namespace, netns};

use crate::rights;

/// A running instance.
pub(crate) struct InProcess {
    running: Running,
    address: Ipv4Addr,
}

impl InProcess {
    /// Starts it. Call it where blocking is allowed.
    pub(crate) fn start(space: &Namespace, account: &Account, seams: Seams) -> Result<Self, Error> {
        Self::start_with(space, account.kubeconfig(), seams, Timing::default())
    }

    /// The same with another kubeconfig and other intervals.
    pub(crate) fn start_with(
        space: &Namespace,
        kubeconfig: &Path,
        seams: Seams,
        timing: Timing,
    ) -> Result<Self, Error> {
        let address = netns::address();
        let identity = rights::identity(space, "in-process");
        let running = Running::start(RunOptions {
            compile: Options {
                ambassador_id: space.id().to_owned(),
                namespace: space.name().to_owned(),
                mode: Mode::Cluster,
                missing: MissingRefs::Error,
                ..Options::default()
            },
            gateway: GatewayOptions {
                bind: Some(address.into()),
                ..GatewayOptions::default()
            },
            admin: vec![SocketAddr::from((address, 8877))],
            kube: Some(KubeRun {
                kubeconfig: Some(kubeconfig.to_owned()),
                context: None,
                source: KubeOptions {
                    watch_namespaces: Vec::new(),
                    label_selector: None,
                    field_selector: None,
                    secrets: SecretAccess::All,
                    endpoints: true,
                    cluster_scoped: true,
                    timing,
                },
                identity,
                status: true,
            }),
            seams,
            ..RunOptions::default()
        })?;
        Ok(Self { running, address })
    }

    /// Where its Listener with this port is.
    pub(crate) fn listener(&self, port: u16) -> SocketAddr {
        SocketAddr::from((self.address, port))
    }

    /// All that it reports now: code and message.
    pub(crate) fn diagnostics(&self) -> Vec<String> {
        let all = self.running.diagnostics().into_iter();
        all.map(|item| format!("{} {}", item.code, item.message))
            .collect()
    }

    /// Status of a GET through Listener 8080; 0 while it does not answer.
    pub(crate) async fn status(&self, path: &str) -> u16 {
        let get = async {
            let mut client = Client::connect(self.listener(8080)).await?;
            client.get("any.example", path).await
        };
        get.await.map_or(0, |answer| answer.status.as_u16())
    }

    /// A metric now; 0 if there is none.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let get = async {
            let mut client = Client::connect(SocketAddr::from((self.address, 8877))).await?;
            client.get("admin", "/metrics").await
        };
        let text = get
            .await
            .map_or_else(|_| String::new(), |answer| answer.text());
        Metrics::parse(&text).value(name, &[]).unwrap_or(0.0)
    }
}
