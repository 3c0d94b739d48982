use legate_api::Object;
use serde_json::{Value, json};

use crate::testing::{about, all, crd, listener, mapping, object, problems};
use crate::{Compilation, Options, Resources, compile};

fn host(name: &str, hostname: &str, extra: Value) -> Object {
    let mut spec = json!({
        "hostname": hostname, "requestPolicy": {"insecure": {"action": "Route"}},
    });
    spec.as_object_mut()
        .expect("object")
        .extend(extra.as_object().expect("object").clone());
    crd("Host", name, spec)
}

fn labelled(name: &str, prefix: &str, extra: Value, labels: Value) -> Object {
    let mut object = mapping(name, prefix, extra);
    object.meta.labels = serde_json::from_value(labels).expect("labels");
    object
}

/// The user's route sets of a virtual host, by its pattern.
fn sets(compilation: &Compilation, host: &str) -> Vec<String> {
    let vhosts = &compilation.snapshot.virtual_hosts;
    let found = vhosts
        .iter()
        .find(|(_, entry)| entry.value.host.to_string() == host)
        .unwrap_or_else(|| panic!("no virtual host {host}"));
    found
        .1
        .value
        .route_sets
        .iter()
        .map(ToString::to_string)
        .filter(|set| !set.starts_with("//"))
        .collect()
}

#[test]
fn as_03_04_hostnames_decide() {
    let c = all([
        listener(),
        host("h", "a.test", json!({})),
        mapping("a", "/", json!({})),
    ]);
    assert_eq!(sets(&c, "a.test"), ["*"]);
    assert_eq!(problems(&c), [""; 0]);
    let c = all([
        listener(),
        host("h", "a.test", json!({})),
        mapping("a", "/", json!({"hostname": null})),
    ]);
    assert_eq!(sets(&c, "a.test"), [""; 0]);
    assert_eq!(about(&c, "a")[0], "E-MAP-UNATTACHED");
    assert!(
        c.snapshot
            .routes
            .iter()
            .all(|(_, r)| r.value.name.starts_with("internal/"))
    );
}

#[test]
fn as_05_06_selectors_and_hostnames() {
    let selector = json!({"mappingSelector": {"matchLabels": {"team": "x"}}});
    let c = all([
        listener(),
        host("h", "a.test", selector),
        labelled("a", "/x/", json!({"hostname": null}), json!({"team": "x"})),
        labelled("b", "/y/", json!({"hostname": "a.test"}), json!({})),
        labelled(
            "c",
            "/z/",
            json!({"hostname": "a.test"}),
            json!({"team": "x"}),
        ),
    ]);
    assert_eq!(sets(&c, "a.test"), ["/team=x", "a.test/team=x"]);
    assert_eq!(problems(&c), ["E-MAP-UNATTACHED b"]);
    let two = json!({"mappingSelector": {"matchLabels": {"team": "x", "env": "p"}}});
    let objects = vec![
        listener(),
        host("h", "a.test", two),
        labelled("a", "/x/", json!({"hostname": null}), json!({"team": "x"})),
    ];
    let resources: Resources = objects.into_iter().collect();
    let strict = compile(&resources, &Options::default());
    assert_eq!(problems(&strict), ["E-MAP-UNATTACHED a"]);
    let options = Options {
        strict_label_selectors: false,
        ..Options::default()
    };
    let any = compile(&resources, &options);
    assert_eq!(problems(&any), [""; 0]);
}

#[test]
fn as_07_08_09_sets_are_shared_by_hosts() {
    let c = all([
        listener(),
        host("h1", "a.test", json!({})),
        host("h2", "*", json!({})),
        mapping("a", "/a/", json!({"hostname": "a.test"})),
        mapping("s", "/s/", json!({})),
    ]);
    assert_eq!(sets(&c, "a.test"), ["*", "a.test"]);
    assert_eq!(sets(&c, "*"), ["*", "a.test"]);
    let selector = json!({"mappingSelector": {"matchLabels": {"team": "x"}}});
    let c = all([
        listener(),
        host("h1", "a.test", selector),
        host("h2", "*", json!({})),
        mapping("s", "/s/", json!({})),
    ]);
    assert_eq!(sets(&c, "a.test"), [""; 0]);
    assert_eq!(sets(&c, "*"), ["*"]);
    let c = all([
        listener(),
        host("h1", "*.test", json!({})),
        host("h2", "a.test", json!({})),
        mapping("s", "/", json!({"hostname": "*.test"})),
    ]);
    assert_eq!(sets(&c, "a.test"), ["*.test"]);
    assert_eq!(sets(&c, "*.test"), ["*.test"]);
}

#[test]
fn as_16_18_namespaces_do_not_matter_expressions_do() {
    let c = all([
        crd(
            "Listener",
            "http.z",
            json!({
                "port": 8080, "protocol": "HTTP", "securityModel": "XFP",
                "hostBinding": {"namespace": {"from": "ALL"}},
            }),
        ),
        host("h.y", "*", json!({})),
        mapping("a.x", "/", json!({})),
    ]);
    assert_eq!(sets(&c, "*"), ["*"]);
    let selector = json!({"mappingSelector": {
        "matchExpressions": [{"key": "team", "operator": "In", "values": ["x"]}],
    }});
    let c = all([
        listener(),
        host("h", "a.test", selector),
        labelled("a", "/", json!({"hostname": null}), json!({"team": "y"})),
    ]);
    assert_eq!(problems(&c), ["E-MAP-UNATTACHED a"]);
}

#[test]
fn as_21_probes_are_on_every_host() {
    let c = all([listener(), host("h", "a.test", json!({}))]);
    let vhosts = &c.snapshot.virtual_hosts;
    assert!(
        vhosts
            .iter()
            .all(|(_, v)| v.value.route_sets[0].as_str() == "//internal")
    );
    let names: Vec<&str> = c
        .snapshot
        .routes
        .iter()
        .map(|(_, r)| r.value.name.as_str())
        .collect();
    assert_eq!(
        names,
        ["internal/liveness_probe", "internal/readiness_probe"]
    );
}

#[test]
fn statuses_count_hosts() {
    let c = all([
        listener(),
        host("h1", "a.test", json!({})),
        host("h2", "b.test", json!({})),
        mapping("a", "/", json!({})),
    ]);
    let key = object(json!({
        "apiVersion": "getambassador.io/v3alpha1", "kind": "Mapping",
        "metadata": {"name": "a"}, "spec": {"prefix": "/", "service": "s"},
    }))
    .key();
    assert_eq!(c.status[&key].attached_hosts, Some(2));
}
