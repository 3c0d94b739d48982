//! The internal rows that answer probes on every Host (spec/routing §§3.5, 5.4).

use legate_config::route::{Action, PathMatch, ProbeKind, Route, RouteMatch, RouteSet};
use legate_config::{Entry, HostPattern, RouteKey, RouteSetKey, Table};

use crate::attach::INTERNAL;
use crate::emit::put;
use crate::module::ModuleSettings;
use crate::rank::{Condition, RankInput, rank};

/// Brings the set of internal rows and the rows up to date; false when there are none.
pub(super) fn update(
    module: &ModuleSettings,
    sets: &mut Table<RouteSetKey, RouteSet>,
    routes: &mut Table<RouteKey, Route>,
) -> bool {
    let probes = [
        ("liveness_probe", &module.liveness_probe, ProbeKind::Alive),
        ("readiness_probe", &module.readiness_probe, ProbeKind::Ready),
    ];
    let mut any = false;
    for (name, probe, kind) in probes {
        let key = RouteKey::from(format!("{INTERNAL}/{name}"));
        let Some(probe) = probe else {
            routes.remove(&key);
            continue;
        };
        any = true;
        let entry = Entry::new(row(name, &probe.prefix, kind), Vec::new());
        put(routes, key, entry);
    }
    if any {
        let set = RouteSet {
            host: HostPattern::Any,
        };
        let entry = Entry::new(set, Vec::new());
        put(sets, RouteSetKey::from(INTERNAL), entry);
    } else {
        sets.remove(INTERNAL);
    }
    any
}

/// It has the place of a Mapping with hostname `*`.
fn row(name: &str, prefix: &str, kind: ProbeKind) -> Route {
    let host = Condition {
        name: ":authority".to_owned(),
        value: "*".to_owned(),
        regex: false,
    };
    Route {
        set: RouteSetKey::from(INTERNAL),
        name: format!("internal/{name}"),
        rank: rank(&RankInput {
            precedence: 0,
            prefix,
            method: None,
            headers: &[host],
            query: &[],
            name,
            namespace: "internal",
        }),
        matches: RouteMatch {
            path: PathMatch::Prefix {
                value: prefix.to_owned(),
                ignore_case: false,
            },
            method: None,
            headers: Vec::new(),
            query: Vec::new(),
        },
        always_routed: false,
        action: Action::Probe(kind),
    }
}
