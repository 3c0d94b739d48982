//! Hand-made snapshots for the tests of this crate.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(unreachable_pub, reason = "shared between test binaries by path")]

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use legate_config::http::{AccessLog, AccessLogFormat, HttpSettings};
use legate_config::listener::{
    ChainMatch, FilterChain, InsecureAction, Listener, SecurityModel, VirtualHost,
};
use legate_config::route::{
    Action, Destination, Fail, PathMatch, Rank, Route, RouteMatch, RouteSet, Split, Target,
};
use legate_config::{Entry, HostPattern, Origin, RouteSetKey, Snapshot};
use legate_router::RequestView;

pub const LISTENER: &str = "tcp/*/8080";

/// No origins: the tests that need some set them.
pub fn nowhere() -> Arc<[Origin]> {
    Arc::from([])
}

pub fn listener() -> Listener {
    Listener {
        name: "default/l".to_owned(),
        address: None,
        port: 8080,
        tls: true,
        security: SecurityModel::ForwardedProto,
        http: http_settings(),
        stats_prefix: "ingress_http".to_owned(),
    }
}

fn http_settings() -> HttpSettings {
    HttpSettings {
        idle_timeout_ms: 0,
        access_log: AccessLog {
            path: "/dev/null".to_owned(),
            format: AccessLogFormat::Json(BTreeMap::new()),
        },
        ..HttpSettings::default()
    }
}

pub fn chain(matches: ChainMatch, virtual_hosts: &[&str]) -> FilterChain {
    FilterChain {
        listener: LISTENER.into(),
        matches,
        tls: None,
        virtual_hosts: virtual_hosts.iter().map(|key| (*key).into()).collect(),
    }
}

pub fn vhost(host: HostPattern, insecure: InsecureAction, sets: &[&str]) -> VirtualHost {
    VirtualHost {
        listener: LISTENER.into(),
        name: format!("default/{host}"),
        host,
        insecure,
        route_sets: sets.iter().map(|key| (*key).into()).collect(),
    }
}

pub fn prefix(value: &str) -> PathMatch {
    PathMatch::Prefix {
        value: value.to_owned(),
        ignore_case: false,
    }
}

pub fn matches(path: PathMatch) -> RouteMatch {
    RouteMatch {
        path,
        method: None,
        headers: Vec::new(),
        query: Vec::new(),
    }
}

/// A forward to targets with these weights.
pub fn forward(weights: &[u32]) -> Action {
    let target = |&weight: &u32| Target {
        name: "default/t".to_owned(),
        weight,
        to: Destination::Cluster {
            cluster: "c".into(),
            policies: "p".into(),
        },
    };
    Action::Forward(Split {
        targets: weights.iter().map(target).collect(),
        of: 100,
        mirror: None,
    })
}

pub fn fail() -> Action {
    Action::Fail(Fail {
        status: 500,
        reason: "E-TEST".to_owned(),
    })
}

/// A route ranked like Emissary does: by length of the path text, then name.
pub fn route(set: &str, name: &str, matches: RouteMatch) -> Route {
    let text = match &matches.path {
        PathMatch::Prefix { value, .. }
        | PathMatch::Exact { value, .. }
        | PathMatch::Regex { value } => value.len(),
    };
    let headers: usize = (matches.headers.iter().chain(&matches.query))
        .map(|it| it.name.len() + 1)
        .sum();
    Route {
        set: set.into(),
        name: format!("default/{name}"),
        rank: Rank {
            tier: 0,
            specificity: vec![
                u32::try_from(text).expect("short"),
                u32::try_from(headers).expect("few"),
            ],
            tie: name.as_bytes().to_vec(),
        },
        matches,
        always_routed: false,
        action: forward(&[100]),
    }
}

pub fn add_set(snapshot: &mut Snapshot, key: &str, host: HostPattern) {
    let entry = Entry::new(RouteSet { host }, nowhere());
    snapshot.route_sets.insert(key.into(), entry);
}

pub fn add_route(snapshot: &mut Snapshot, key: &str, route: Route) {
    let key = format!("{}/{key}", route.set);
    snapshot
        .routes
        .insert(key.into(), Entry::new(route, nowhere()));
}

pub fn add_vhost(snapshot: &mut Snapshot, key: &str, vhost: VirtualHost) {
    let entry = Entry::new(vhost, nowhere());
    snapshot.virtual_hosts.insert(key.into(), entry);
}

pub fn add_chain(snapshot: &mut Snapshot, key: &str, chain: FilterChain) {
    snapshot
        .chains
        .insert(key.into(), Entry::new(chain, nowhere()));
}

/// One listener; one plain chain; virtual host `*` (action Route) with the set `*`.
pub fn base() -> Snapshot {
    let mut snapshot = Snapshot::default();
    snapshot
        .listeners
        .insert(LISTENER.into(), Entry::new(listener(), nowhere()));
    add_vhost(
        &mut snapshot,
        "any",
        vhost(HostPattern::Any, InsecureAction::Route, &["*"]),
    );
    add_chain(&mut snapshot, "plain", chain(ChainMatch::Plain, &["any"]));
    add_set(&mut snapshot, "*", HostPattern::Any);
    snapshot
}

pub fn set_key(key: &str) -> RouteSetKey {
    key.into()
}

pub fn headers(list: &[(&str, &str)]) -> HeaderMap {
    list.iter()
        .map(|(name, value)| {
            (
                HeaderName::from_bytes(name.as_bytes()).expect("a name"),
                HeaderValue::from_str(value).expect("a value"),
            )
        })
        .fold(HeaderMap::new(), |mut map, (name, value)| {
            map.append(name, value);
            map
        })
}

pub fn get<'a>(host: &'a str, path: &'a str, headers: &'a HeaderMap) -> RequestView<'a> {
    RequestView {
        method: "GET",
        host,
        path,
        query: None,
        headers,
    }
}
