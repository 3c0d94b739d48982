//! AS and SE rows: which Hosts a Listener binds, and which virtual hosts they become.

use legate_config::listener::{InsecureAction, SecurityModel};
use serde_json::json;

use super::{Case, labelled, listener, object, pair_secret, resource, route_host, run, tls_host};

#[test]
fn as_01_without_a_listener_no_port_is_opened() {
    let out = run([route_host("h", "*")]);
    assert!(out.listeners().is_empty());
    assert_eq!(out.said(), ["W-NO-LISTENER"]);
    assert!(out.host("*").virtual_hosts.is_empty());
}

#[test]
fn as_02_without_a_host_one_is_made_up() {
    let out = run([listener(8080, "HTTP")]);
    assert_eq!(out.plain(8080), ["*"]);
    assert_eq!(out.virtual_host("*").insecure, InsecureAction::Route);
    assert_eq!(out.said(), ["W-NO-HOST"]);
    // Not when one was seen since start, nor when one of ours exists but is invalid.
    let mut case = Case::new([listener(8080, "HTTP")]);
    case.options.allow_synthetic_host = false;
    let out = case.run();
    assert!(out.0.hosts.is_empty());
    assert_eq!(
        out.said(),
        ["E-LISTENER-UNUSED Listener/l8080 spec.hostBinding"]
    );
}

#[test]
fn as_12_a_self_listener_binds_its_own_namespace() {
    let out = run([
        resource(
            "Listener",
            "gw/l",
            json!({"port": 8080, "protocol": "HTTP", "securityModel": "XFP",
                   "hostBinding": {"namespace": {"from": "SELF"}}}),
        ),
        route_host("app/h", "*"),
    ]);
    assert!(out.listeners().is_empty());
    assert_eq!(
        out.said(),
        [
            "E-HOST-UNBOUND Host/h",
            "E-LISTENER-UNUSED Listener/l spec.hostBinding"
        ]
    );
}

#[test]
fn as_13_a_selector_binds_by_label_in_the_own_namespace() {
    let prod = json!({"env": "prod"});
    let out = run([
        resource(
            "Listener",
            "l",
            json!({"port": 8080, "protocol": "HTTP", "securityModel": "XFP",
                   "hostBinding": {"selector": {"matchLabels": {"env": "prod"}}}}),
        ),
        labelled(route_host("p", "p.test"), prod.clone()),
        route_host("q", "q.test"),
        labelled(route_host("other/r", "r.test"), prod),
    ]);
    assert_eq!(out.plain(8080), ["p.test"]);
    assert_eq!(
        out.said(),
        ["E-HOST-UNBOUND Host/q", "E-HOST-UNBOUND Host/r"]
    );
}

#[test]
fn as_14_the_stack_wins_over_the_protocol() {
    let mut document = listener(8080, "HTTP");
    document["spec"]["protocolStack"] = json!(["TLS", "HTTP", "TCP"]);
    let out = run([document, route_host("h", "*")]);
    assert!(out.listeners()[0].tls);
    assert_eq!(out.plain(8080), ["*"]);
    assert_eq!(
        out.said(),
        ["E-LISTENER-STACK Listener/l8080 spec.protocol"]
    );
}

#[test]
fn as_15_neither_protocol_nor_stack() {
    let mut document = listener(8080, "HTTP");
    document["spec"]
        .as_object_mut()
        .expect("spec")
        .remove("protocol");
    let out = run([document, route_host("h", "*")]);
    assert!(out.listeners().is_empty());
    let said = out.said();
    assert!(
        said.iter().any(|line| line.starts_with("E-LISTENER-STACK")),
        "{said:?}"
    );
}

#[test]
fn stacks_that_make_no_sense_are_dropped() {
    for (stack, code) in [
        (json!(["HTTP"]), "E-LISTENER-STACK"),
        (json!(["TCP", "HTTP"]), "E-LISTENER-STACK"),
        (json!(["UDP"]), "E-LISTENER-STACK"),
        (json!(["HTTP", "UDP"]), "E-LISTENER-STACK"),
        (json!(["HTTP", "HTTP", "TCP"]), "E-LISTENER-STACK"),
        (json!(["TLS", "HTTP", "UDP"]), "E-UNSUPPORTED"),
        (json!(["PROXY", "HTTP", "TCP"]), "E-UNSUPPORTED"),
        (json!(["TLS", "TCP"]), "E-UNSUPPORTED"),
        (json!(["TCP"]), "E-UNSUPPORTED"),
    ] {
        let mut document = listener(8080, "HTTP");
        let spec = document["spec"].as_object_mut().expect("spec");
        spec.remove("protocol");
        spec.insert("protocolStack".to_owned(), stack.clone());
        let out = run([document, route_host("h", "*")]);
        assert!(out.listeners().is_empty(), "{stack}");
        let wanted = format!("{code} Listener/l8080 spec.protocolStack");
        assert!(out.said().contains(&wanted), "{stack}: {:?}", out.said());
    }
    for protocol in ["HTTPPROXY", "HTTPSPROXY", "TCP", "TLS"] {
        let out = run([listener(8080, protocol), route_host("h", "*")]);
        assert!(out.listeners().is_empty(), "{protocol}");
        assert!(
            out.said()
                .contains(&"E-UNSUPPORTED Listener/l8080 spec.protocol".to_owned()),
            "{protocol}"
        );
    }
}

#[test]
fn as_16_namespaces_do_not_matter_from_all() {
    let mut document = listener(8080, "HTTP");
    document["metadata"]["namespace"] = json!("z");
    let out = run([document, route_host("y/h", "*")]);
    assert_eq!(out.plain(8080), ["*"]);
    assert!(out.said().is_empty());
}

#[test]
fn as_17_of_two_hosts_with_one_hostname_the_first_wins() {
    let mut reject = route_host("h2", "a.test");
    reject["spec"]["requestPolicy"]["insecure"]["action"] = json!("Reject");
    let out = run([listener(8080, "HTTP"), route_host("h1", "A.test"), reject]);
    assert_eq!(out.plain(8080), ["a.test"]);
    assert_eq!(out.virtual_host("a.test").insecure, InsecureAction::Route);
    assert_eq!(out.0.hosts.len(), 1);
    assert_eq!(out.said(), ["E-HOST-DUPLICATE Host/h2 spec.hostname"]);
}

#[test]
fn as_19_a_namespace_selector_acts_as_self() {
    let out = run([
        resource(
            "Listener",
            "l",
            json!({"port": 8080, "protocol": "HTTP", "securityModel": "XFP",
                   "hostBinding": {"namespace": {"from": "SELECTOR",
                       "selector": {"matchLabels": {"x": "y"}}}}}),
        ),
        route_host("h", "a.test"),
        route_host("other/h", "b.test"),
    ]);
    assert_eq!(out.plain(8080), ["a.test"]);
    assert_eq!(
        out.said(),
        [
            "E-HOST-UNBOUND Host/h",
            "E-UNSUPPORTED Listener/l spec.hostBinding.namespace.from",
            "W-IGNORED Listener/l spec.hostBinding.namespace.selector",
        ]
    );
}

#[test]
fn as_20_every_kind_of_glob_is_a_virtual_host() {
    let out = run([
        listener(8080, "HTTP"),
        route_host("h1", "foo.test"),
        route_host("h2", "foo.*"),
        route_host("h3", "*.test"),
        route_host("h4", "*"),
    ]);
    assert_eq!(out.plain(8080), ["*", "*.test", "foo.*", "foo.test"]);
}

#[test]
fn er_04_two_listeners_on_one_port() {
    let mut second = listener(8080, "HTTPS");
    second["metadata"]["name"] = json!("later");
    let mut first = listener(8080, "HTTP");
    first["metadata"]["name"] = json!("earlier");
    let out = run([second, first, route_host("h", "*")]);
    assert_eq!(out.listeners().len(), 1);
    assert_eq!(out.listeners()[0].name, "default/earlier");
    assert_eq!(
        out.said(),
        ["E-LISTENER-DUPLICATE Listener/later spec.port"]
    );
}

#[test]
fn se_07_and_08_an_insecure_listener_omits_reject_hosts_from_cleartext() {
    let mut document = listener(8443, "HTTPS");
    document["spec"]["securityModel"] = json!("INSECURE");
    let mut reject = tls_host("r", "r.test", json!({}));
    reject["spec"]["requestPolicy"] = json!({"insecure": {"action": "Reject"}});
    let out = run([
        document,
        reject,
        route_host("o", "o.test"),
        pair_secret("s"),
    ]);
    assert_eq!(out.listeners()[0].security, SecurityModel::Insecure);
    assert_eq!(out.plain(8443), ["o.test"]);
    // Over TLS it stays, for the ACME exemption.
    let chain = out.chain(8443, "sni:r.test").expect("a chain");
    assert_eq!(super::names(chain), ["r.test"]);
}

#[test]
fn se_12_the_fallback_certificate_serves_the_made_up_host() {
    let out = run([
        listener(8080, "HTTP"),
        listener(8443, "HTTPS"),
        pair_secret("fallback-self-signed-cert"),
    ]);
    assert_eq!(out.virtual_host("*").insecure, InsecureAction::Redirect);
    assert_eq!(
        out.certificate(8443, "default"),
        Some("default/fallback-self-signed-cert")
    );
    assert!(out.chain(8080, "default").is_none());
}

#[test]
fn se_14_an_additional_port_opens_nothing() {
    let mut host = route_host("h", "*");
    host["spec"]["requestPolicy"]["insecure"]["additionalPort"] = json!(8080);
    let out = run([listener(8443, "HTTPS"), host]);
    assert_eq!(out.listeners().len(), 1);
    assert_eq!(
        out.said(),
        ["W-IGNORED Host/h spec.requestPolicy.insecure.additionalPort"]
    );
}

#[test]
fn er_05_invalid_hosts_synthesise_nothing() {
    let out = run([listener(8080, "HTTP"), tls_host("h", "a.test", json!({}))]);
    assert_eq!(out.plain(8080), ["a.test"]);
    assert_eq!(
        out.virtual_host("a.test").insecure,
        InsecureAction::Redirect
    );
    assert_eq!(out.said(), ["E-SECRET-MISSING Host/h spec.tlsSecret.name"]);
}

#[test]
fn a_rejected_host_owns_its_name_and_serves_nothing() {
    let mut case = Case::new([listener(8080, "HTTP"), route_host("z", "*")]);
    let mut broken = object(route_host("h", "a.test"));
    broken.issues.push(legate_api::Issue {
        code: "E-SCHEMA",
        path: "spec.mappingSelector.matchLabels".to_owned(),
        message: "no map".to_owned(),
        help: None,
    });
    case.resources.insert(broken);
    let out = case.run();
    assert_eq!(out.plain(8080), ["*", "a.test"]);
    assert!(!out.host("a.test").attaches);
    assert!(out.host("*").attaches);
}

#[test]
fn md_14_the_module_counts_where_a_listener_has_no_depth() {
    let module = resource(
        "Module",
        "ambassador",
        json!({"config": {"xff_num_trusted_hops": 1}}),
    );
    let mut deep = listener(8081, "HTTP");
    deep["spec"]["l7Depth"] = json!(3);
    let out = run([listener(8080, "HTTP"), deep, route_host("h", "*"), module]);
    let hops: Vec<u32> = out
        .listeners()
        .iter()
        .map(|l| l.http.trusted_hops)
        .collect();
    assert_eq!(hops, [1, 3]);
    assert_eq!(
        out.said(),
        ["W-DEPRECATED Module/ambassador spec.config.xff_num_trusted_hops"]
    );
}

#[test]
fn listener_names_and_streams() {
    let mut named = listener(8081, "HTTP");
    named["spec"]["statsPrefix"] = json!("edge");
    named["spec"]["http2MaxConcurrentStreams"] = json!(7);
    let out = run([
        listener(8080, "HTTP"),
        named,
        listener(8443, "HTTPS"),
        route_host("h", "*"),
    ]);
    let prefixes: Vec<&str> = out
        .listeners()
        .iter()
        .map(|l| l.stats_prefix.as_str())
        .collect();
    assert_eq!(prefixes, ["ingress_http", "edge", "ingress_https"]);
    let streams: Vec<u32> = out
        .listeners()
        .iter()
        .map(|l| l.http.http2_max_concurrent_streams)
        .collect();
    assert_eq!(streams, [100, 7, 100]);
}

#[test]
fn id_06_listeners_and_hosts_of_another_id_do_not_count() {
    let mut case = Case::new([listener(8080, "HTTP"), route_host("h", "*")]);
    case.options.ambassador_id = "edge".to_owned();
    let out = case.run();
    assert!(out.listeners().is_empty());
    assert_eq!(out.said(), ["W-NO-HOST", "W-NO-LISTENER"]);
}

#[test]
fn the_order_of_arrival_does_not_matter() {
    let documents = vec![
        listener(8080, "HTTP"),
        route_host("b/h", "a.test"),
        route_host("a/h", "a.test"),
        route_host("c/g", "*"),
    ];
    let forth = run(documents.clone());
    let back = run(documents.into_iter().rev());
    assert_eq!(forth.said(), back.said());
    let hashes = |out: &super::Outcome| -> Vec<_> {
        out.0
            .chains
            .iter()
            .map(|(key, entry)| (key.clone(), entry.hash))
            .collect()
    };
    assert_eq!(hashes(&forth), hashes(&back));
}
