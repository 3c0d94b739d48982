//! Snapshots by hand: what a compiler would make of a few Mappings.

use std::net::SocketAddr;

use legate_config::cluster::{Balancer, Breakers, UpstreamProtocol};
use legate_config::http::{AccessLog, AccessLogFormat, HttpSettings};
use legate_config::listener::{ChainMatch, InsecureAction, SecurityModel};
use legate_config::policy::PathRewrite;
use legate_config::route::{Destination, PathMatch, Split, Target};
use legate_config::template::Template;
use legate_config::{
    Action, ChainKey, Cluster, ClusterKey, Endpoint, EndpointSet, EndpointSetKey, Entry,
    FilterChain, HostPattern, Listener, ListenerKey, PolicyKey, PolicySet, Rank, Route, RouteKey,
    RouteMatch, RouteSet, RouteSetKey, Snapshot, VirtualHost, VirtualHostKey,
};

/// Key of the listener.
pub(crate) const LISTENER: &str = "tcp/*/8080";

/// A snapshot under construction.
pub(crate) struct Build {
    pub(crate) snapshot: Snapshot,
    rank: u8,
}

pub(crate) fn http_settings() -> HttpSettings {
    HttpSettings {
        access_log: AccessLog {
            path: "/dev/null".into(),
            format: AccessLogFormat::Text(Template::literal("")),
        },
        ..HttpSettings::default()
    }
}

pub(crate) fn entry<T: serde::Serialize>(value: T) -> Entry<T> {
    Entry::new(value, Vec::new())
}

pub(crate) fn policies() -> PolicySet {
    PolicySet {
        timeout_ms: 3000,
        idle_timeout_ms: 300_000,
        ..PolicySet::default()
    }
}

impl Build {
    /// One cleartext listener with a virtual host for every host.
    pub(crate) fn new(id: u64) -> Self {
        let mut snapshot = Snapshot {
            id,
            ..Snapshot::default()
        };
        add_listener(&mut snapshot, LISTENER, 8080);
        snapshot.route_sets.insert(
            set(),
            entry(RouteSet {
                host: HostPattern::Any,
            }),
        );
        Self { snapshot, rank: 0 }
    }

    /// A route from a prefix to an origin; the prefix becomes `/`.
    pub(crate) fn route(self, prefix: &str, to: SocketAddr) -> Self {
        let rewrite = PathRewrite::Prefix {
            matched: prefix.len(),
            with: "/".into(),
        };
        self.route_with(
            prefix,
            to,
            PolicySet {
                rewrite,
                ..policies()
            },
        )
    }

    /// A route with these policies.
    pub(crate) fn route_with(mut self, prefix: &str, to: SocketAddr, policies: PolicySet) -> Self {
        let cluster = self.cluster(to, UpstreamProtocol::Http1);
        let policy = self.policy(policies);
        self.action(
            prefix,
            Action::Forward(Split {
                targets: vec![Target {
                    name: "default/target".into(),
                    weight: 100,
                    to: Destination::Cluster {
                        cluster,
                        policies: policy,
                    },
                }],
                of: 100,
                mirror: None,
            }),
        )
    }

    /// A route that does something else.
    pub(crate) fn action(mut self, prefix: &str, action: Action) -> Self {
        let key = format!("*/{prefix}");
        self.rank += 1;
        let route = Route {
            set: set(),
            name: format!("default{prefix}"),
            rank: Rank {
                tier: 0,
                specificity: vec![u32::try_from(prefix.len()).unwrap()],
                tie: vec![self.rank],
            },
            matches: RouteMatch {
                path: PathMatch::Prefix {
                    value: prefix.into(),
                    ignore_case: false,
                },
                method: None,
                headers: Vec::new(),
                query: Vec::new(),
            },
            always_routed: false,
            action,
        };
        self.snapshot
            .routes
            .insert(RouteKey::new(key), entry(route));
        self
    }

    pub(crate) fn policy(&mut self, policies: PolicySet) -> PolicyKey {
        let entry = entry(policies);
        let key = PolicyKey::new(entry.hash.to_string());
        self.snapshot.policies.insert(key.clone(), entry);
        key
    }

    pub(crate) fn cluster(&mut self, to: SocketAddr, protocol: UpstreamProtocol) -> ClusterKey {
        let set = EndpointSetKey::new(format!("ip/{}/{}", to.ip(), to.port()));
        let endpoints = EndpointSet::Static {
            endpoints: vec![Endpoint { address: to }],
        };
        self.snapshot
            .endpoint_sets
            .insert(set.clone(), entry(endpoints));
        let cluster = Cluster {
            stats_name: "origin".into(),
            endpoints: set,
            protocol,
            tls: None,
            balancer: Balancer::RoundRobin,
            connect_timeout_ms: 3000,
            idle_timeout_ms: 3_600_000,
            max_lifetime_ms: 0,
            keepalive: None,
            tag: String::new(),
            shadow: false,
            host_name: None,
            breakers: Breakers::default(),
            health_checks: Vec::new(),
            never_eject: false,
        };
        let key = ClusterKey::new(format!("origin-{}-{protocol:?}", to.port()));
        self.snapshot.clusters.insert(key.clone(), entry(cluster));
        key
    }

    /// Changes the listener's HTTP settings.
    pub(crate) fn http(mut self, change: impl FnOnce(&mut HttpSettings)) -> Self {
        let key = ListenerKey::new(LISTENER);
        let mut listener = (**self.snapshot.listeners.get(&key).unwrap()).clone();
        change(&mut listener.http);
        self.snapshot.listeners.insert(key, entry(listener));
        self
    }

    pub(crate) fn build(mut self) -> Snapshot {
        self.snapshot.root = self.snapshot.compute_root();
        self.snapshot
    }
}

fn set() -> RouteSetKey {
    RouteSetKey::new("*")
}

/// A cleartext listener.
pub(crate) fn add_listener(snapshot: &mut Snapshot, key: &str, port: u16) {
    let listener = ListenerKey::new(key);
    let virtual_host = VirtualHostKey::new(format!("{key}/*"));
    snapshot.listeners.insert(
        listener.clone(),
        entry(Listener {
            name: "default/listener".into(),
            address: None,
            port,
            tls: false,
            security: SecurityModel::ForwardedProto,
            http: http_settings(),
            stats_prefix: "ingress_http".into(),
        }),
    );
    snapshot.chains.insert(
        ChainKey::new(format!("{key}/plain")),
        entry(FilterChain {
            listener: listener.clone(),
            matches: ChainMatch::Plain,
            tls: None,
            virtual_hosts: vec![virtual_host.clone()],
        }),
    );
    snapshot.virtual_hosts.insert(
        virtual_host,
        entry(VirtualHost {
            listener,
            name: "default/host".into(),
            host: HostPattern::Any,
            insecure: InsecureAction::Route,
            route_sets: vec![set()],
        }),
    );
}
