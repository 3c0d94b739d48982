//! One curl line per Host and route: what to try.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use legate_config::listener::{ChainTls, HostPattern};
use legate_config::route::{Action, PathMatch};
use legate_config::{Snapshot, VirtualHost};

use super::super::Running;

/// More than this nobody reads.
const MOST: usize = 24;

/// The lines, TLS first.
pub(in crate::run) fn curl_lines(running: &Running) -> Vec<String> {
    let snapshot = running.snapshot();
    // Per host text the best way in: TLS before cleartext.
    let mut ways: BTreeMap<String, (bool, SocketAddr, &VirtualHost)> = BTreeMap::new();
    for (_, entry) in snapshot.chains.iter() {
        let chain = &*entry.value;
        let tls = matches!(chain.tls, Some(ChainTls::Terminate(_)));
        if chain.tls.is_some() && !tls {
            continue;
        }
        let Some(listener) = snapshot.listeners.get(chain.listener.as_str()) else {
            continue;
        };
        let Some(bound) = running.bound(listener.port) else {
            continue;
        };
        for key in &chain.virtual_hosts {
            let Some(host) = snapshot.virtual_hosts.get(key.as_str()) else {
                continue;
            };
            let better = ways
                .get(&host.host.to_string())
                .is_none_or(|(known, _, _)| tls && !known);
            if better {
                ways.insert(host.host.to_string(), (tls, bound, host));
            }
        }
    }
    let mut lines = Vec::new();
    for (tls, bound, host) in ways.into_values() {
        for path in paths(&snapshot, host) {
            lines.push(line(&host.host, tls, bound.port(), &path));
        }
    }
    lines.dedup();
    let more = lines.len().saturating_sub(MOST);
    lines.truncate(MOST);
    if more > 0 {
        lines.push(format!("… and {more} more"));
    }
    lines
}

fn paths(snapshot: &Snapshot, host: &VirtualHost) -> Vec<String> {
    let mut paths = Vec::new();
    for (_, entry) in snapshot.routes.iter() {
        let route = &*entry.value;
        if !host.route_sets.contains(&route.set)
            || matches!(route.action, Action::Probe(_) | Action::GuardedProbe { .. })
        {
            continue;
        }
        if let PathMatch::Prefix { value, .. } | PathMatch::Exact { value, .. } =
            &route.matches.path
        {
            paths.push(value.clone());
        }
    }
    paths.sort();
    paths.dedup();
    paths
}

fn line(host: &HostPattern, tls: bool, port: u16, path: &str) -> String {
    let name = match host {
        HostPattern::Exact(name) => name.split(':').next().unwrap_or_default().to_owned(),
        HostPattern::Suffix(rest) => format!("demo{rest}"),
        HostPattern::Prefix(rest) => format!("{rest}demo"),
        HostPattern::Any | HostPattern::Regex(_) => {
            let scheme = if tls { "https" } else { "http" };
            return format!("curl -k {scheme}://127.0.0.1:{port}{path}");
        }
    };
    if tls {
        format!("curl -k --connect-to {name}:443:127.0.0.1:{port} https://{name}{path}")
    } else {
        format!("curl --connect-to {name}:80:127.0.0.1:{port} http://{name}{path}")
    }
}
