//! Every right that an operator needs, and no other (operator.md §8): the one place that manifests,
//! charts and tests take them from.
//!
//! Objects of the own namespace are named in the rules. Nothing here allows to create, change or
//! delete an object of a user's; only status is written. Discovery needs no rule.

#[cfg(test)]
mod tests;

use legate_api::Kind;
use serde_json::{Value, json};

use crate::identity::Identity;

/// What an informer does; it never gets a single object.
const WATCH: [&str; 2] = ["list", "watch"];
/// Secrets are watched without their content, and the referenced ones fetched.
const WATCH_AND_GET: [&str; 3] = ["get", "list", "watch"];

/// The custom kinds that are read, and whose status is written, by their names in URLs. All but `devportals`, which are not served.
const KINDS: [(Kind, &str); 15] = [
    (Kind::AuthService, "authservices"),
    (Kind::ConsulResolver, "consulresolvers"),
    (Kind::Host, "hosts"),
    (
        Kind::KubernetesEndpointResolver,
        "kubernetesendpointresolvers",
    ),
    (
        Kind::KubernetesServiceResolver,
        "kubernetesserviceresolvers",
    ),
    (Kind::Listener, "listeners"),
    (Kind::LogService, "logservices"),
    (Kind::Mapping, "mappings"),
    (Kind::Module, "modules"),
    (Kind::RateLimit, "ratelimits"),
    (Kind::RateLimitPolicy, "ratelimitpolicies"),
    (Kind::RateLimitService, "ratelimitservices"),
    (Kind::TcpMapping, "tcpmappings"),
    (Kind::TlsContext, "tlscontexts"),
    (Kind::TracingService, "tracingservices"),
];

/// Where objects are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// In the whole cluster.
    Cluster,
    /// In these namespaces (`--watch-namespaces`): not one rule is cluster-scoped.
    Namespaces(Vec<String>),
}

/// Which Secrets are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretScope {
    /// All, wherever objects are read.
    All,
    /// All in these namespaces (`--secret-namespaces`).
    Namespaces(Vec<String>),
    /// These, by namespace and name (`--secret-names`).
    Names(Vec<(String, String)>),
}

/// What an instance is to be allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    /// The instance. The pod's name does not matter.
    pub identity: Identity,
    /// The operator's ServiceAccount, in the own namespace.
    pub service_account: String,
    /// Where objects are read.
    pub scope: Scope,
    /// Which Secrets are read.
    pub secrets: SecretScope,
}

/// The ServiceAccount, roles and bindings as objects to apply, always in the same order.
#[must_use]
pub fn manifests(rights: &Rights) -> Vec<Value> {
    let ours = &rights.identity;
    let mut all = vec![json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": rights.service_account, "namespace": ours.namespace},
    })];
    let name = ours.lease_name();
    all.extend(role(
        rights,
        &name,
        Some(&ours.namespace),
        own_rules(rights),
    ));
    for (namespace, rules) in read_rules(rights) {
        let name = format!("{}-{}", ours.namespace, ours.lease_name());
        all.extend(role(rights, &name, namespace, rules));
    }
    all
}

/// Rules for the objects of the own namespace, all by name; and for Events about the replica
/// itself.
fn own_rules(rights: &Rights) -> Vec<Value> {
    let ours = &rights.identity;
    let mut rules = vec![
        named(
            "coordination.k8s.io",
            "leases",
            &[&ours.lease_name()],
            &["get", "create", "update"],
        ),
        named(
            "",
            "secrets",
            &[&ours.discovery_secret_name()],
            &["get", "create", "patch"],
        ),
        named(
            "",
            "secrets",
            &[&ours.last_good_name()],
            &["get", "list", "watch", "create", "patch"],
        ),
    ];
    if let Scope::Namespaces(_) = rights.scope {
        rules.push(events());
    }
    rules
}

/// Rules for what is read, per namespace; without one, for the cluster.
fn read_rules(rights: &Rights) -> Vec<(Option<&str>, Vec<Value>)> {
    let mut scopes: Vec<(Option<&str>, Vec<Value>)> = match &rights.scope {
        Scope::Cluster => {
            let mut rules = objects();
            rules.push(rule("", &["namespaces"], &WATCH));
            vec![(None, rules)]
        }
        Scope::Namespaces(names) => distinct(names.iter().map(String::as_str))
            .into_iter()
            .map(|name| (Some(name), objects()))
            .collect(),
    };
    let all = rule("", &["secrets"], &WATCH_AND_GET);
    match &rights.secrets {
        SecretScope::All => {
            for (_, rules) in &mut scopes {
                rules.push(all.clone());
            }
        }
        SecretScope::Namespaces(names) => {
            for name in distinct(names.iter().map(String::as_str)) {
                add(&mut scopes, name, all.clone());
            }
        }
        SecretScope::Names(names) => {
            let namespaces = names.iter().map(|(namespace, _)| namespace.as_str());
            for namespace in distinct(namespaces) {
                let mut here: Vec<&str> = names
                    .iter()
                    .filter(|(of, _)| of == namespace)
                    .map(|(_, name)| name.as_str())
                    .collect();
                here.sort_unstable();
                here.dedup();
                add(&mut scopes, namespace, named("", "secrets", &here, &WATCH));
            }
        }
    }
    scopes
}

/// Everything but Secrets that is read in one scope, and status and Events that are written there.
fn objects() -> Vec<Value> {
    let group_of = |kind: Kind| kind.stored_version().split('/').next().unwrap_or_default();
    let groups = distinct(KINDS.iter().map(|(kind, _)| group_of(*kind)));
    let mut rules = Vec::new();
    for group in groups {
        let of_group = KINDS.iter().filter(|(kind, _)| group_of(*kind) == group);
        let plurals: Vec<&str> = of_group.map(|(_, plural)| *plural).collect();
        let statuses: Vec<String> = plurals.iter().map(|it| format!("{it}/status")).collect();
        let statuses: Vec<&str> = statuses.iter().map(String::as_str).collect();
        rules.push(rule(group, &plurals, &WATCH));
        rules.push(rule(group, &statuses, &["patch"]));
    }
    rules.extend([
        rule("", &["services"], &WATCH),
        rule("discovery.k8s.io", &["endpointslices"], &WATCH),
        events(),
    ]);
    rules
}

fn events() -> Value {
    rule("events.k8s.io", &["events"], &["create", "patch"])
}

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": resources, "verbs": verbs})
}

fn named(group: &str, resource: &str, names: &[&str], verbs: &[&str]) -> Value {
    json!({
        "apiGroups": [group],
        "resources": [resource],
        "resourceNames": names,
        "verbs": verbs,
    })
}

/// Adds a rule to a namespace's, which may have none yet.
fn add<'a>(scopes: &mut Vec<(Option<&'a str>, Vec<Value>)>, namespace: &'a str, rule: Value) {
    match scopes.iter_mut().find(|(of, _)| *of == Some(namespace)) {
        Some((_, rules)) => rules.push(rule),
        None => scopes.push((Some(namespace), vec![rule])),
    }
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// A role and its binding to the operator's ServiceAccount: in a namespace, or for the cluster.
fn role(rights: &Rights, name: &str, namespace: Option<&str>, rules: Vec<Value>) -> [Value; 2] {
    let prefix = if namespace.is_some() { "" } else { "Cluster" };
    let mut metadata = json!({"name": name});
    if let (Some(namespace), Some(metadata)) = (namespace, metadata.as_object_mut()) {
        metadata.insert("namespace".to_owned(), namespace.into());
    }
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": format!("{prefix}Role"),
        "metadata": metadata,
        "rules": rules,
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": format!("{prefix}RoleBinding"),
        "metadata": metadata,
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": format!("{prefix}Role"),
            "name": name,
        },
        "subjects": [{
            "kind": "ServiceAccount",
            "name": rights.service_account,
            "namespace": rights.identity.namespace,
        }],
    });
    [role, binding]
}
