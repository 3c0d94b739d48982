//! Worked examples about Mappings: MA, AS, CW, RW, HD, SV, MD, ID, ER, as far as they show in the
//! compiled config.

mod attach;
mod groups;
mod identity;
mod matching;
mod rewriting;
mod services;

use legate_config::route::{Action, Destination, Route, Split};
use legate_config::{Cluster, EndpointSet, PolicySet};

use crate::Compilation;

/// The row founded by a Mapping of the default namespace, or `namespace/name`.
fn row<'a>(compilation: &'a Compilation, name: &str) -> &'a Route {
    find(compilation, name)
        .unwrap_or_else(|| panic!("no row of {name}: {:#?}", compilation.diagnostics))
}

fn find<'a>(compilation: &'a Compilation, name: &str) -> Option<&'a Route> {
    let full = if name.contains('/') {
        name.to_owned()
    } else {
        format!("default/{name}")
    };
    let mut rows = compilation
        .snapshot
        .routes
        .iter()
        .map(|(_, entry)| &*entry.value);
    rows.find(|route| route.name == full)
}

/// The user's rows in rank order, by name without the default namespace.
fn order(compilation: &Compilation) -> Vec<String> {
    let mut rows: Vec<&Route> = compilation
        .snapshot
        .routes
        .iter()
        .map(|(_, entry)| &*entry.value)
        .filter(|route| !route.name.starts_with("internal/"))
        .collect();
    rows.sort_by(|a, b| a.rank.cmp(&b.rank));
    rows.iter()
        .map(|route| route.name.trim_start_matches("default/").to_owned())
        .collect()
}

fn split(route: &Route) -> &Split {
    match &route.action {
        Action::Forward(split) => split,
        other => panic!("does not forward: {other:?}"),
    }
}

/// Who gets which share.
fn shares(route: &Route) -> Vec<(String, u32)> {
    split(route)
        .targets
        .iter()
        .map(|target| {
            let name = target.name.trim_start_matches("default/").to_owned();
            (name, target.weight)
        })
        .collect()
}

/// Cluster and policies of the target that a Mapping gave.
fn target<'a>(
    compilation: &'a Compilation,
    route: &Route,
    name: &str,
) -> (&'a Cluster, &'a PolicySet) {
    let full = if name.contains('/') {
        name.to_owned()
    } else {
        format!("default/{name}")
    };
    let target = split(route)
        .targets
        .iter()
        .find(|target| target.name == full)
        .expect("a target");
    match &target.to {
        Destination::Cluster { cluster, policies } => (
            compilation.snapshot.clusters.get(cluster).expect("cluster"),
            compilation
                .snapshot
                .policies
                .get(policies)
                .expect("policies"),
        ),
        Destination::Fail(fail) => panic!("fails: {fail:?}"),
    }
}

/// Cluster and policies of a Mapping that is alone in its group.
fn only<'a>(compilation: &'a Compilation, name: &str) -> (&'a Cluster, &'a PolicySet) {
    target(compilation, row(compilation, name), name)
}

/// The endpoint set of a cluster: its key and content.
fn endpoints<'a>(compilation: &'a Compilation, cluster: &Cluster) -> (String, &'a EndpointSet) {
    let key = cluster.endpoints.to_string();
    let set = compilation.snapshot.endpoint_sets.get(&cluster.endpoints);
    (key, set.expect("endpoint set"))
}

/// Status and reason of a row that fails.
fn failure(compilation: &Compilation, name: &str) -> (u16, String) {
    match &row(compilation, name).action {
        Action::Fail(fail) => (fail.status, fail.reason.clone()),
        other => panic!("does not fail: {other:?}"),
    }
}
