use legate_api::Object;
use legate_config::cluster::{Balancer, DnsMode, UpstreamProtocol};
use legate_config::policy::HashSource;
use legate_config::{EndpointSet, route::Action};
use serde_json::{Value, json};

use super::{endpoints, failure, only, row};
use crate::Compilation;
use crate::testing::{about, crd, mapping, object, problems, with_base};

fn service(name: &str, spec: Value) -> Object {
    let (name, namespace) = name.split_once('.').unwrap_or((name, "default"));
    object(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    }))
}

fn slice(service: &str, port: u16, addresses: &[(&str, bool)]) -> Object {
    let (name, namespace) = service.split_once('.').unwrap_or((service, "default"));
    let endpoints: Vec<Value> = addresses
        .iter()
        .map(|(address, ready)| json!({"addresses": [address], "conditions": {"ready": ready}}))
        .collect();
    object(json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": format!("{name}-1"), "namespace": namespace,
            "labels": {"kubernetes.io/service-name": name},
        },
        "ports": [{"port": port}], "endpoints": endpoints,
    }))
}

/// Key and content of the endpoint set of the only Mapping, `apps/a` or `default/a`.
fn dialled(name: &str, extra: Value, others: Vec<Object>) -> (String, Vec<String>) {
    let c = compiled(name, extra, others);
    let full = name.split_once('.').map_or_else(
        || format!("default/{name}"),
        |(name, namespace)| format!("{namespace}/{name}"),
    );
    let (cluster, _) = only(&c, &full);
    let (key, set) = endpoints(&c, cluster);
    let addresses = match set {
        EndpointSet::Static { endpoints } => endpoints
            .iter()
            .map(|endpoint| endpoint.address.to_string())
            .collect(),
        EndpointSet::Dns(source) => vec![format!("dns {}:{}", source.name, source.port)],
    };
    (key, addresses)
}

fn compiled(name: &str, extra: Value, others: Vec<Object>) -> Compilation {
    with_base(others.into_iter().chain([mapping(name, "/", extra)]))
}

fn key(name: &str, extra: Value) -> String {
    dialled(name, extra, vec![]).0
}

#[test]
fn sv_01_to_06_09_names_and_ports() {
    assert_eq!(key("a", json!({"service": "quote"})), "dns/quote/80");
    assert_eq!(
        key("a.apps", json!({"service": "quote"})),
        "dns/quote.apps/80"
    );
    let module = crd(
        "Module",
        "ambassador",
        json!({"config": {"use_ambassador_namespace_for_service_resolution": true}}),
    );
    let own = dialled("a.apps", json!({"service": "quote"}), vec![module]);
    assert_eq!(own.0, "dns/quote/80");
    assert_eq!(
        key("a.apps", json!({"service": "https://quote"})),
        "dns/quote.apps/443"
    );
    assert_eq!(
        key("a.apps", json!({"service": "Quote.Other:8080/path"})),
        "dns/quote.other/8080"
    );
    let c = compiled(
        "a.apps",
        json!({"service": "Quote.Other:8080/path"}),
        vec![],
    );
    assert_eq!(problems(&c), ["W-IGNORED a spec.service"]);
    assert_eq!(
        key("a.apps", json!({"service": "localhost:9000"})),
        "dns/localhost/9000"
    );
    assert_eq!(
        key("a", json!({"service": "[2001:db8::1]:81"})),
        "ip/2001:db8::1/81"
    );
}

#[test]
fn sv_07_08_25_rejected_services() {
    for extra in [
        json!({"service": "ftp://quote"}),
        json!({"service": "quote:http"}),
        json!({"connect_timeout_ms": 0}),
    ] {
        let c = compiled("a", extra, vec![]);
        assert_eq!(failure(&c, "a").0, 500);
        assert_eq!(problems(&c).len(), 1);
    }
}

#[test]
fn sv_10_11_12_tls_origination() {
    let context = || crd("TLSContext", "c", json!({"sni": "up.test"}));
    let c = compiled(
        "a",
        json!({"service": "up.test", "tls": "c"}),
        vec![context()],
    );
    let (cluster, _) = only(&c, "a");
    assert_eq!(cluster.endpoints.as_str(), "dns/up.test/443");
    let tls = cluster.tls.as_ref().expect("TLS");
    assert_eq!(tls.sni.as_deref(), Some("up.test"));
    let c = compiled(
        "a",
        json!({"service": "http://up.test", "tls": "c"}),
        vec![context()],
    );
    assert_eq!(only(&c, "a").0.endpoints.as_str(), "dns/up.test/443");
    assert!(problems(&c).contains(&"E-TLS-ORIGINATION a spec.service".to_owned()));
    let c = compiled("a", json!({"service": "up.test", "tls": "nosuch"}), vec![]);
    assert_eq!(failure(&c, "a"), (500, "E-TLS-CONTEXT".into()));
    assert_eq!(problems(&c), ["E-TLS-CONTEXT a spec.tls"]);
}

#[test]
fn sv_13_14_20_the_endpoint_resolver() {
    let objects = || {
        vec![
            service(
                "quote.apps",
                json!({"clusterIP": "10.0.0.9", "ports": [{"port": 8080}]}),
            ),
            slice(
                "quote.apps",
                9090,
                &[("10.1.0.2", true), ("10.1.0.1", true), ("10.1.0.3", false)],
            ),
        ]
    };
    let resolver = json!({"resolver": "endpoint", "service": "quote:8080"});
    let (key, addresses) = dialled("a.apps", resolver, objects());
    assert_eq!(key, "k8s/apps/quote/8080");
    assert_eq!(addresses, ["10.1.0.1:9090", "10.1.0.2:9090"]);
    let long = json!({"resolver": "endpoint", "service": "quote.apps.svc.cluster.local"});
    assert_eq!(dialled("a", long, vec![]).0, "k8s/apps/quote/80");
    // The service resolver dials the cluster address.
    let plain = json!({"service": "quote:8080"});
    assert_eq!(dialled("a.apps", plain, objects()).1, ["10.0.0.9:8080"]);
}

#[test]
fn sv_15_23_unknown_resolvers_and_grpc() {
    let c = compiled("a", json!({"resolver": "nosuch"}), vec![]);
    assert_eq!(failure(&c, "a"), (500, "E-MAP-RESOLVER".into()));
    let c = with_base([
        mapping("a", "/a/", json!({"service": "s", "grpc": true})),
        mapping("b", "/b/", json!({"service": "s"})),
    ]);
    let (a, b) = (only(&c, "a").0, only(&c, "b").0);
    assert_eq!(
        (a.protocol, b.protocol),
        (UpstreamProtocol::Http2, UpstreamProtocol::Http1)
    );
    assert_eq!(a.endpoints, b.endpoints);
    assert_eq!(c.snapshot.clusters.len(), 2);
    let own = crd("KubernetesEndpointResolver", "mine", json!({}));
    let c = compiled("a", json!({"resolver": "mine"}), vec![own]);
    assert_eq!(only(&c, "a").0.endpoints.as_str(), "k8s/default/a/80");
}

#[test]
fn sv_16_17_load_balancers() {
    let slices = || vec![slice("a", 81, &[("10.1.0.1", true)])];
    let least = json!({"load_balancer": {"policy": "least_request"}});
    assert_eq!(dialled("a", least.clone(), slices()).0, "k8s/default/a/80");
    let c = compiled("a", least, slices());
    assert!(about(&c, "a").contains(&"I-MAP-LB-ENDPOINTS spec.load_balancer".to_owned()));
    let ring = json!({"resolver": "endpoint", "load_balancer": {"policy": "ring_hash"}});
    let c = compiled("a", ring, slices());
    assert_eq!(failure(&c, "a"), (500, "E-MAP-LB".into()));
}

#[test]
fn a_strict_service_resolver_takes_no_load_balancer() {
    let strict = crd(
        "Module",
        "ambassador",
        json!({"config": {"strict_resolver": true}}),
    );
    let least = json!({"load_balancer": {"policy": "least_request"}});
    let c = compiled("a", least, vec![strict.clone()]);
    assert_eq!(failure(&c, "a"), (500, "E-MAP-LB".into()));
    let endpoint = json!({"resolver": "endpoint", "load_balancer": {"policy": "least_request"}});
    let c = compiled("a", endpoint, vec![strict]);
    assert_eq!(only(&c, "a").0.balancer, Balancer::LeastRequest);
}

#[test]
fn a_load_balancer_is_a_policy_and_what_is_hashed() {
    let module = |balancer| {
        crd(
            "Module",
            "ambassador",
            json!({"config": {"load_balancer": balancer}}),
        )
    };
    let by_default = json!({"policy": "ring_hash", "source_ip": true});
    let c = compiled("a", json!({}), vec![module(by_default.clone())]);
    let (cluster, policy) = only(&c, "a");
    assert_eq!(cluster.balancer, Balancer::RingHash);
    assert_eq!(policy.hash, Some(HashSource::SourceIp));
    assert_eq!(
        about(&c, "a"),
        ["I-NOT-IN-FOLDER spec.service"],
        "the Module's asks for no endpoints"
    );

    let own = json!({"load_balancer": {"policy": "maglev", "header": "X-User"}});
    let c = compiled("a", own, vec![module(by_default)]);
    let (cluster, policy) = only(&c, "a");
    assert_eq!(cluster.balancer, Balancer::Maglev);
    assert_eq!(policy.hash, Some(HashSource::Header("x-user".to_owned())));
}

#[test]
fn endpoints_that_end_serve_while_none_is_ready() {
    let slice = |conditions: [Value; 3]| {
        let [a, b, c] = conditions;
        object(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "a-1", "labels": {"kubernetes.io/service-name": "a"}},
            "ports": [{"port": 81}],
            "endpoints": [
                {"addresses": ["10.1.0.1"], "conditions": a},
                {"addresses": ["10.1.0.2"], "conditions": b},
                {"addresses": ["10.1.0.3"], "conditions": c},
            ],
        }))
    };
    let ending = json!({"ready": false, "serving": true, "terminating": true});
    let ended = json!({"ready": false, "serving": false, "terminating": true});
    let starting = json!({"ready": false, "serving": true, "terminating": false});
    let endpoint = || json!({"resolver": "endpoint"});
    let all = slice([ending.clone(), json!({"ready": true}), ended.clone()]);
    assert_eq!(dialled("a", endpoint(), vec![all]).1, ["10.1.0.2:81"]);
    let last = slice([ending, ended, starting]);
    assert_eq!(dialled("a", endpoint(), vec![last]).1, ["10.1.0.1:81"]);
}

#[test]
fn sv_21_no_such_service_has_no_endpoints() {
    let (key, addresses) = dialled("a", json!({"resolver": "endpoint"}), vec![]);
    assert_eq!((key.as_str(), addresses.len()), ("k8s/default/a/80", 0));
}

#[test]
fn sv_24_the_only_port_is_taken() {
    let objects = || {
        vec![
            service(
                "quote.apps",
                json!({"ports": [{"port": 8080, "targetPort": 9090}]}),
            ),
            slice("quote.apps", 9090, &[("10.1.0.1", true)]),
        ]
    };
    let extra = json!({"resolver": "endpoint", "service": "quote"});
    let (key, addresses) = dialled("a.apps", extra.clone(), objects());
    assert_eq!(key, "k8s/apps/quote/8080");
    assert_eq!(addresses, ["10.1.0.1:9090"]);
    let c = compiled("a.apps", extra, objects());
    assert_eq!(about(&c, "a"), ["I-MAP-PORT spec.service"]);
}

#[test]
fn the_order_of_sources_in_a_folder() {
    let slices = || slice("a", 81, &[("10.1.0.1", true)]);
    // Without a Service: the slice's port of equal number, else its only one.
    assert_eq!(dialled("a", json!({}), vec![slices()]).1, ["10.1.0.1:81"]);
    let headless = service("a", json!({"clusterIP": "None", "ports": [{"port": 80}]}));
    assert_eq!(
        dialled("a", json!({}), vec![headless, slices()]).1,
        ["10.1.0.1:81"]
    );
    let external = service(
        "a",
        json!({"type": "ExternalName", "externalName": "x.test"}),
    );
    assert_eq!(dialled("a", json!({}), vec![external]).1, ["dns x.test:80"]);
    let endpoints = object(json!({
        "apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "a"},
        "subsets": [{
            "addresses": [{"ip": "10.2.0.1"}], "notReadyAddresses": [{"ip": "10.2.0.2"}],
            "ports": [{"port": 82}],
        }],
    }));
    let old = dialled("a", json!({}), vec![endpoints.clone()]).1;
    assert_eq!(old, ["10.2.0.1:82"]);
    let both = dialled("a", json!({}), vec![endpoints, slices()]).1;
    assert_eq!(both, ["10.1.0.1:81"], "EndpointSlices hide Endpoints");
}

#[test]
fn missing_services_are_mentioned_where_they_look_like_services() {
    let codes = |service: &str| about(&compiled("a", json!({"service": service}), vec![]), "a");
    assert_eq!(codes("quote"), ["I-NOT-IN-FOLDER spec.service"]);
    assert_eq!(codes("quote.default"), ["I-NOT-IN-FOLDER spec.service"]);
    assert_eq!(codes("httpbin.org"), [""; 0]);
    assert_eq!(codes("up.example.com"), [""; 0]);
    let known = vec![service("other.org", json!({}))];
    let c = compiled("a", json!({"service": "httpbin.org"}), known);
    assert_eq!(about(&c, "a"), ["I-NOT-IN-FOLDER spec.service"]);
}

#[test]
fn dns_settings_have_sets_of_their_own() {
    let extra = json!({"dns_type": "logical_dns", "respect_dns_ttl": true, "enable_ipv6": true});
    let c = compiled("a", extra, vec![]);
    let (cluster, _) = only(&c, "a");
    let (_, set) = endpoints(&c, cluster);
    let EndpointSet::Dns(source) = set else {
        panic!("{set:?}");
    };
    assert_eq!(source.mode, DnsMode::First);
    assert_eq!(problems(&c), [""; 0]);
    assert!(matches!(row(&c, "a").action, Action::Forward(_)));
}
