//! Clusters: the settings of an upstream, and its names (spec/routing §§4.14, 4.16, 4.19).

use legate_api::KeepAlive;
use legate_config::cluster::{Balancer, Cluster, TcpKeepalive, UpstreamProtocol, UpstreamTls};
use legate_config::health::{HealthCheck, Probe};
use legate_config::{ClusterKey, EndpointSetKey, Entry};

use crate::lower::{Lowered, is_host};
use crate::module::ModuleSettings;
use crate::service::Service;

const CONNECT_TIMEOUT_MS: u64 = 3000;
const IDLE_TIMEOUT_MS: u64 = 3_600_000;

/// What the resolver found out about an upstream.
#[derive(Debug)]
pub(crate) struct UpstreamFacts<'a> {
    /// `host[:port]`, qualified: the readable part of the name.
    pub(crate) authority: String,
    pub(crate) endpoints: EndpointSetKey,
    pub(crate) host_name: Option<String>,
    pub(crate) tls: Option<UpstreamTls>,
    pub(crate) service: &'a Service,
    /// The qualified host.
    pub(crate) host: &'a str,
}

/// The cluster of a Mapping.
pub(crate) fn cluster(
    lowered: &Lowered,
    module: &ModuleSettings,
    facts: UpstreamFacts<'_>,
) -> (ClusterKey, Entry<Cluster>) {
    let spec = lowered.spec();
    let changes = &lowered.changes;
    let stats_name = spec
        .and_then(|spec| spec.stats_name.as_ref())
        .or(module.defaults.stats_name.as_ref())
        .filter(|name| !name.is_empty())
        .cloned()
        .unwrap_or_else(|| {
            let name = stats_name(facts.host, facts.service.port);
            // Its failures are not the main upstream's, which may have the same name.
            if lowered.shadow {
                format!("shadow_{name}")
            } else {
                name
            }
        });
    let grpc = spec.is_some_and(|spec| spec.grpc == Some(true));
    let lifetime = changes
        .cluster_max_connection_lifetime_ms
        .or(module.cluster_max_connection_lifetime_ms);
    let idle = changes
        .cluster_idle_timeout_ms
        .or(module.cluster_idle_timeout_ms);
    let health_checks = health_checks(&changes.health_checks, &stats_name, &facts.authority);
    let cluster = Cluster {
        stats_name,
        endpoints: facts.endpoints,
        protocol: if grpc {
            UpstreamProtocol::Http2
        } else {
            UpstreamProtocol::Http1
        },
        tls: facts.tls,
        balancer: changes
            .balance
            .as_ref()
            .or(module.balance.as_ref())
            .map_or(Balancer::RoundRobin, |balance| balance.policy),
        connect_timeout_ms: changes.connect_timeout_ms.unwrap_or(CONNECT_TIMEOUT_MS),
        idle_timeout_ms: idle.unwrap_or(IDLE_TIMEOUT_MS),
        max_lifetime_ms: lifetime.unwrap_or(0),
        keepalive: spec
            .and_then(|spec| spec.keepalive.as_ref())
            .map(keepalive)
            .or(module.keepalive),
        tag: spec
            .and_then(|spec| spec.cluster_tag.clone())
            .unwrap_or_default(),
        shadow: lowered.shadow,
        host_name: facts.host_name,
        breakers: changes.breakers.unwrap_or(module.breakers),
        health_checks,
        never_eject: module.never_eject,
    };
    let entry = Entry::new(cluster, Vec::new());
    // 48 bits of hash beside the name: enough that nobody finds a second setting for it.
    let hash = entry.hash.to_string();
    let short = hash.get(..12).unwrap_or(&hash);
    let key = ClusterKey::from(format!("{}-{short}", facts.authority));
    (key, entry)
}

/// The checks with a host each: the cluster's name where none is written, and that can be one.
fn health_checks(written: &[HealthCheck], name: &str, authority: &str) -> Vec<HealthCheck> {
    let default = if is_host(name) { name } else { authority };
    let mut checks = written.to_vec();
    for check in &mut checks {
        let host = match &mut check.probe {
            Probe::Http(http) => &mut http.host,
            Probe::Grpc(grpc) => &mut grpc.authority,
        };
        if host.is_empty() {
            default.clone_into(host);
        }
    }
    checks
}

/// Seconds and counts that do not fit are as if absent; lowering reported them.
fn keepalive(written: &KeepAlive) -> TcpKeepalive {
    let number = |value: Option<i64>| value.and_then(|value| u32::try_from(value).ok());
    TcpKeepalive {
        probes: number(written.probes),
        idle_secs: number(written.idle_time),
        interval_secs: number(written.interval),
    }
}

/// The qualified service text with everything but letters, digits and `_` turned into `_`.
fn stats_name(host: &str, port: Option<u16>) -> String {
    let mut name: String = host
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    if let Some(port) = port {
        name.push('_');
        name.push_str(&port.to_string());
    }
    name
}
