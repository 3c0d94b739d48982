//! Addresses of names: one watching task per name on the control runtime.
//!
//! Order: IP literal, `/etc/hosts`, `localhost`, DNS with the system's search list. A failed
//! resolution changes nothing: the last good addresses stay in force.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use hickory_resolver::config::{LookupIpStrategy, ResolveHosts, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, Resolver, TokioResolver};
use legate_config::cluster::{AddressFamilies, DnsMode, DnsSource};
use tokio::task::AbortHandle;

use super::endpoints::EndpointSetHandle;

/// Time between resolutions unless the records' TTL is to be respected (as in Envoy).
const REFRESH: Duration = Duration::from_secs(5);
/// Time to the next try while a name never resolved.
const RETRY: Duration = Duration::from_secs(1);
/// Bounds of a respected TTL: 0 would spin, a week would never notice a move.
const TTL_BOUNDS: (u32, u32) = (1, 3600);

/// Resolves names and keeps endpoint sets up to date.
#[derive(Debug)]
pub(super) struct Dns {
    control: tokio::runtime::Handle,
    resolvers: [OnceLock<Option<TokioResolver>>; 3],
}

/// What a resolution found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) addresses: Vec<IpAddr>,
    /// Smallest TTL in seconds; `None` where there is none to respect.
    pub(super) ttl: Option<u32>,
}

// === impl Dns ===

impl Dns {
    pub(super) fn new(control: tokio::runtime::Handle) -> Self {
        Self {
            control,
            resolvers: Default::default(),
        }
    }

    /// Starts to watch a name for one definition of an endpoint set, until the task is aborted or
    /// the set is gone.
    pub(super) fn watch(
        self: &Arc<Self>,
        source: DnsSource,
        set: Weak<EndpointSetHandle>,
        epoch: u64,
    ) -> AbortHandle {
        let dns = Arc::clone(self);
        self.control
            .spawn(async move { dns.run(source, set, epoch).await })
            .abort_handle()
    }

    async fn run(&self, source: DnsSource, set: Weak<EndpointSetHandle>, epoch: u64) {
        let mut current: Vec<SocketAddr> = Vec::new();
        let mut failing = false;
        loop {
            let result = self.resolve(&source.name, source.families).await;
            let Some(set) = set.upgrade() else { return };
            let pause = match result {
                Ok(found) => {
                    if failing {
                        failing = false;
                        tracing::info!(dns.name = %source.name, "Name resolves again");
                    }
                    current = select(&found.addresses, &source, &current);
                    set.resolved(epoch, Some(current.clone()), source.mode == DnsMode::First);
                    match found.ttl {
                        Some(ttl) if source.respect_ttl => {
                            Duration::from_secs(ttl.clamp(TTL_BOUNDS.0, TTL_BOUNDS.1).into())
                        }
                        _ => REFRESH,
                    }
                }
                Err(error) => {
                    if !failing {
                        failing = true;
                        tracing::warn!(dns.name = %source.name, error, "Name does not resolve");
                    }
                    set.resolved(epoch, None, false);
                    if current.is_empty() { RETRY } else { REFRESH }
                }
            };
            drop(set);
            tokio::time::sleep(pause).await;
        }
    }

    /// Resolves a name once.
    pub(super) async fn resolve(
        &self,
        name: &str,
        families: AddressFamilies,
    ) -> Result<Found, String> {
        if let Some(addresses) = literal(name).or_else(|| hosts(name, families)) {
            return Ok(Found {
                addresses,
                ttl: None,
            });
        }
        if is_localhost(name) {
            return Ok(Found {
                addresses: localhost(families),
                ttl: None,
            });
        }
        let resolver = self
            .resolver(families)
            .ok_or("no DNS configuration on this system")?;
        let lookup = resolver
            .lookup_ip(name)
            .await
            .map_err(|error| error.to_string())?;
        let addresses: Vec<IpAddr> = lookup.iter().collect();
        if addresses.is_empty() {
            return Err("the name has no address".to_owned());
        }
        let ttl = lookup.as_lookup().answers().iter().map(|record| record.ttl);
        Ok(Found {
            addresses,
            ttl: ttl.min(),
        })
    }

    fn resolver(&self, families: AddressFamilies) -> Option<&TokioResolver> {
        let (slot, strategy) = match families {
            AddressFamilies::V4 => (self.resolvers.first(), LookupIpStrategy::Ipv4Only),
            AddressFamilies::V6 => (self.resolvers.get(1), LookupIpStrategy::Ipv6Only),
            AddressFamilies::PreferV6 => (self.resolvers.get(2), LookupIpStrategy::Ipv6thenIpv4),
        };
        slot?
            .get_or_init(|| match build(strategy) {
                Ok(resolver) => Some(resolver),
                Err(error) => {
                    tracing::error!(%error, "No name can be resolved");
                    None
                }
            })
            .as_ref()
    }
}

fn build(strategy: LookupIpStrategy) -> Result<TokioResolver, NetError> {
    let mut builder = TokioResolver::builder_tokio().or_else(|error| {
        // A machine without resolv.conf still has literals and a hosts file.
        tracing::warn!(%error, "No usable DNS configuration on this system");
        Ok::<_, NetError>(Resolver::builder_with_config(
            ResolverConfig::default(),
            TokioRuntimeProvider::default(),
        ))
    })?;
    let options = builder.options_mut();
    options.ip_strategy = strategy;
    // We ask on our own schedule, and read the hosts file ourselves so that edits are seen.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    builder.build()
}

fn literal(name: &str) -> Option<Vec<IpAddr>> {
    let bare = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(name);
    bare.parse().ok().map(|ip| vec![ip])
}

fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || name
            .len()
            .checked_sub(".localhost".len())
            .and_then(|at| name.get(at..))
            .is_some_and(|tail| tail.eq_ignore_ascii_case(".localhost"))
}

fn localhost(families: AddressFamilies) -> Vec<IpAddr> {
    match families {
        AddressFamilies::V4 => vec![Ipv4Addr::LOCALHOST.into()],
        AddressFamilies::V6 => vec![Ipv6Addr::LOCALHOST.into()],
        // Both loopbacks exist by definition and servers often bind only one of them.
        AddressFamilies::PreferV6 => {
            vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]
        }
    }
}

/// The hosts file's answer. It is small and local, and read anew so that edits are seen.
fn hosts(name: &str, families: AddressFamilies) -> Option<Vec<IpAddr>> {
    let hosts = Hosts::from_system().ok()?;
    let name = Name::from_utf8(name).ok()?;
    let ask = |kind: RecordType| -> Option<Vec<IpAddr>> {
        let lookup = hosts.lookup_static_host(&Query::query(name.clone(), kind))?;
        let found: Vec<IpAddr> = lookup
            .answers()
            .iter()
            .filter_map(|record| record.data.ip_addr())
            .collect();
        (!found.is_empty()).then_some(found)
    };
    match families {
        AddressFamilies::V4 => ask(RecordType::A),
        AddressFamilies::V6 => ask(RecordType::AAAA),
        AddressFamilies::PreferV6 => ask(RecordType::AAAA).or_else(|| ask(RecordType::A)),
    }
}

/// The endpoints to use: sorted, so that a rotated answer is no change. In the mode `First` the
/// address in use stays as long as the name still has it, so that connections are kept.
fn select(found: &[IpAddr], source: &DnsSource, current: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut addresses: Vec<SocketAddr> = found
        .iter()
        .map(|ip| SocketAddr::new(*ip, source.port))
        .collect();
    match source.mode {
        DnsMode::First => {
            let kept = current.iter().find(|address| addresses.contains(address));
            kept.or(addresses.first()).copied().into_iter().collect()
        }
        DnsMode::All => {
            addresses.sort_unstable();
            addresses.dedup();
            addresses
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(mode: DnsMode) -> DnsSource {
        DnsSource {
            name: "up.test".to_owned(),
            port: 80,
            mode,
            respect_ttl: false,
            families: AddressFamilies::V4,
        }
    }

    #[test]
    fn all_is_sorted_and_first_is_sticky() {
        let ips: Vec<IpAddr> = ["10.0.0.2", "10.0.0.1", "10.0.0.2"]
            .iter()
            .map(|ip| ip.parse().unwrap())
            .collect();
        let text =
            |found: Vec<SocketAddr>| found.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            text(select(&ips, &source(DnsMode::All), &[])),
            ["10.0.0.1:80", "10.0.0.2:80"]
        );
        let first = source(DnsMode::First);
        assert_eq!(text(select(&ips, &first, &[])), ["10.0.0.2:80"]);
        let current = ["10.0.0.1:80".parse().unwrap()];
        assert_eq!(text(select(&ips, &first, &current)), ["10.0.0.1:80"]);
        let gone = ["10.0.0.9:80".parse().unwrap()];
        assert_eq!(text(select(&ips, &first, &gone)), ["10.0.0.2:80"]);
    }

    #[tokio::test]
    async fn literals_and_localhost_need_no_server() {
        let dns = Dns::new(tokio::runtime::Handle::current());
        for (name, wanted) in [
            ("127.0.0.9", "127.0.0.9"),
            ("[::1]", "::1"),
            ("localhost", "127.0.0.1"),
            ("LOCALHOST.", "127.0.0.1"),
            ("a.localhost", "127.0.0.1"),
        ] {
            let found = dns.resolve(name, AddressFamilies::V4).await.unwrap();
            assert_eq!(
                found.addresses,
                [wanted.parse::<IpAddr>().unwrap()],
                "{name}"
            );
        }
        assert!(!is_localhost("notlocalhost"));
        assert!(!is_localhost("localhost.test"));
    }
}
