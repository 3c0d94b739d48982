use super::*;

fn rights(scope: Scope, secrets: SecretScope) -> Rights {
    Rights {
        identity: Identity {
            ambassador_id: "default".to_owned(),
            namespace: "legate".to_owned(),
            pod_name: String::new(),
        },
        service_account: "legate".to_owned(),
        scope,
        secrets,
    }
}

/// One line per object, and one per rule.
fn lines(rights: &Rights) -> Vec<String> {
    let mut lines = Vec::new();
    let words = |value: &Value| -> String {
        let words = value.as_array().unwrap();
        let words: Vec<&str> = words.iter().map(|word| word.as_str().unwrap()).collect();
        words.join(",")
    };
    for object in manifests(rights) {
        let meta = &object["metadata"];
        let place = meta["namespace"].as_str().unwrap_or("-");
        let kind = object["kind"].as_str().unwrap();
        lines.push(format!("{kind} {place} {}", meta["name"].as_str().unwrap()));
        for rule in object["rules"].as_array().into_iter().flatten() {
            let names = rule.get("resourceNames").map_or("*".to_owned(), words);
            let [groups, resources, verbs] =
                ["apiGroups", "resources", "verbs"].map(|field| words(&rule[field]));
            lines.push(format!("  {groups}/{resources} {names} {verbs}"));
        }
    }
    lines
}

const OBJECTS: [&str; 7] = [
    "  getambassador.io/authservices,consulresolvers,hosts,kubernetesendpointresolvers,kubernetesserviceresolvers,listeners,logservices,mappings,modules,ratelimits,ratelimitservices,tcpmappings,tlscontexts,tracingservices * list,watch",
    "  getambassador.io/authservices/status,consulresolvers/status,hosts/status,kubernetesendpointresolvers/status,kubernetesserviceresolvers/status,listeners/status,logservices/status,mappings/status,modules/status,ratelimits/status,ratelimitservices/status,tcpmappings/status,tlscontexts/status,tracingservices/status * patch",
    "  legate.dev/ratelimitpolicies * list,watch",
    "  legate.dev/ratelimitpolicies/status * patch",
    "  /services * list,watch",
    "  discovery.k8s.io/endpointslices * list,watch",
    "  events.k8s.io/events * create,patch",
];
const OWN: [&str; 5] = [
    "ServiceAccount legate legate",
    "Role legate legate-default",
    "  coordination.k8s.io/leases legate-default get,create,update",
    "  /secrets legate-default-discovery get,create,patch",
    "  /secrets legate-default-last-good get,list,watch,create,patch",
];

#[test]
fn in_the_whole_cluster() {
    let mut expected = OWN.to_vec();
    expected.push("RoleBinding legate legate-default");
    expected.push("ClusterRole - legate-legate-default");
    expected.extend(OBJECTS);
    expected.push("  /namespaces * list,watch");
    expected.push("  /secrets * get,list,watch");
    expected.push("ClusterRoleBinding - legate-legate-default");
    assert_eq!(lines(&rights(Scope::Cluster, SecretScope::All)), expected);
}

#[test]
fn in_some_namespaces_nothing_is_cluster_scoped() {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let scope = Scope::Namespaces(names(&["b", "a", "b"]));
    let secrets = SecretScope::Namespaces(names(&["a", "tls"]));
    let mut expected = OWN.to_vec();
    expected.push("  events.k8s.io/events * create,patch");
    expected.push("RoleBinding legate legate-default");
    expected.push("Role a legate-legate-default");
    expected.extend(OBJECTS);
    expected.push("  /secrets * get,list,watch");
    expected.push("RoleBinding a legate-legate-default");
    expected.push("Role b legate-legate-default");
    expected.extend(OBJECTS);
    expected.push("RoleBinding b legate-legate-default");
    expected.push("Role tls legate-legate-default");
    expected.push("  /secrets * get,list,watch");
    expected.push("RoleBinding tls legate-legate-default");
    assert_eq!(lines(&rights(scope, secrets)), expected);
}

#[test]
fn secrets_by_name() {
    let name = |namespace: &str, name: &str| (namespace.to_owned(), name.to_owned());
    let secrets = SecretScope::Names(vec![name("tls", "b"), name("apps", "x"), name("tls", "a")]);
    let lines = lines(&rights(Scope::Cluster, secrets));
    let of_secrets: Vec<&str> = lines
        .iter()
        .map(String::as_str)
        .filter(|line| line.contains("/secrets"))
        .collect();
    assert_eq!(
        of_secrets,
        [
            "  /secrets legate-default-discovery get,create,patch",
            "  /secrets legate-default-last-good get,list,watch,create,patch",
            "  /secrets x list,watch",
            "  /secrets a,b list,watch",
        ]
    );
}

#[test]
fn each_kind_is_there_and_two_instances_share_no_name() {
    let kinds: Vec<Kind> = KINDS.iter().map(|(kind, _)| *kind).collect();
    for kind in Kind::ALL.iter().filter(|kind| kind.is_ambassador()) {
        assert_eq!(kinds.contains(kind), *kind != Kind::DevPortal, "{kind}");
    }
    for (kind, plural) in KINDS {
        let singular = kind.as_str().to_lowercase();
        let expected = match singular.strip_suffix('y') {
            Some(stem) => format!("{stem}ies"),
            None => format!("{singular}s"),
        };
        assert_eq!(plural, expected);
    }
    let names = |id: &str, namespace: &str| -> Vec<String> {
        let mut rights = rights(Scope::Cluster, SecretScope::All);
        rights.identity.ambassador_id = id.to_owned();
        rights.identity.namespace = namespace.to_owned();
        let names = lines(&rights).into_iter();
        names.filter(|line| line.contains("Role")).collect()
    };
    let here = names("a", "x");
    for other in [names("b", "x"), names("a", "y")] {
        assert!(
            here.iter().all(|name| !other.contains(name)),
            "{here:?} {other:?}"
        );
    }
}
