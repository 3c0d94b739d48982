//! The internal rows that answer probes on every Host (spec/routing §§3.5, 5.4).

use std::sync::Arc;

use legate_config::auth::Auth;
use legate_config::policy::PolicySet;
use legate_config::route::{Action, PathMatch, ProbeKind, Route, RouteMatch, RouteSet};
use legate_config::{Entry, HostPattern, PolicyKey, RouteKey, RouteSetKey, Table};

use crate::attach::INTERNAL;
use crate::auth::AuthState;
use crate::emit::{Store, put};
use crate::endpoints::EndpointIndex;
use crate::module::ModuleSettings;
use crate::rank::{Condition, RankInput, rank};
use crate::resolve::Upstream;
use crate::resources::Resources;

/// The internal rows, and what they use.
#[derive(Debug, Default)]
pub(super) struct Probes {
    /// Whether there are any.
    pub(super) any: bool,
    policies: Vec<(PolicyKey, Entry<PolicySet>)>,
    upstreams: Vec<Arc<Upstream>>,
}

/// What clients of a probe are given to say nothing.
const IDLE_TIMEOUT_MS: u64 = 300_000;

/// What the rows look at besides the Module.
pub(super) struct Surroundings<'a> {
    pub(super) auth: &'a AuthState,
    pub(super) resources: &'a Resources,
    pub(super) endpoints: &'a EndpointIndex,
}

/// Brings the set of internal rows and the rows up to date.
pub(super) fn update(
    state: &mut Probes,
    module: &ModuleSettings,
    around: &Surroundings<'_>,
    sets: &mut Table<RouteSetKey, RouteSet>,
    store: &mut Store,
) {
    let guard = guard(around.auth);
    let probes = [
        ("liveness_probe", &module.liveness_probe, ProbeKind::Alive),
        ("readiness_probe", &module.readiness_probe, ProbeKind::Ready),
    ];
    let mut any = false;
    for (name, probe, kind) in probes {
        let key = RouteKey::from(format!("{INTERNAL}/{name}"));
        let Some(probe) = probe else {
            store.routes.remove(&key);
            continue;
        };
        any = true;
        let action = match &guard {
            Some((policies, _)) => Action::GuardedProbe {
                probe: kind,
                policies: policies.clone(),
            },
            None => Action::Probe(kind),
        };
        let entry = Entry::new(row(name, &probe.prefix, action), Vec::new());
        put(&mut store.routes, key, entry);
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
    let guard = guard.filter(|_| any);
    let new = Probes {
        any,
        upstreams: match around.auth {
            AuthState::Guarded { upstreams, .. } if guard.is_some() => upstreams.clone(),
            _ => Vec::new(),
        },
        policies: guard.into_iter().collect(),
    };
    let uses = (new.policies.as_slice(), new.upstreams.as_slice());
    store.acquire(uses, around.resources, around.endpoints);
    store.give_back((&state.policies, &state.upstreams));
    *state = new;
}

/// The policy of guarded probes. Where nobody can be asked, probes are let through: whoever would
/// repair the settings must be able to see that the gateway runs.
fn guard(auth: &AuthState) -> Option<(PolicyKey, Entry<PolicySet>)> {
    let AuthState::Guarded { auth, .. } = auth else {
        return None;
    };
    if matches!(**auth, Auth::Refuse { .. }) {
        return None;
    }
    let policy = PolicySet {
        idle_timeout_ms: IDLE_TIMEOUT_MS,
        auth: Some(Arc::clone(auth)),
        ..PolicySet::default()
    };
    let entry = Entry::new(policy, Vec::new());
    Some((PolicyKey::from(entry.hash.to_string()), entry))
}

/// It has the place of a Mapping with hostname `*`.
fn row(name: &str, prefix: &str, action: Action) -> Route {
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
        action,
    }
}
