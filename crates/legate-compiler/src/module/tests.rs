//! The Module: MD and ID rows of spec/routing §8 as far as settings go, and every key's shape.

use legate_api::{Decoded, decode};
use legate_config::http::{AccessLogFormat, IpMode};
use legate_config::{Diagnostic, Severity};
use serde_json::{Value, json};

use super::{ModuleSettings, module_settings};
use crate::options::Options;
use crate::resources::Resources;

fn module(name: &str, config: Value) -> Value {
    let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
    json!({
        "apiVersion": "getambassador.io/v3alpha1",
        "kind": "Module",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"config": config},
    })
}

fn run(documents: impl IntoIterator<Item = Value>) -> (ModuleSettings, Vec<Diagnostic>) {
    let resources: Resources = documents
        .into_iter()
        .map(|document| match decode(document, "default") {
            Decoded::Object(object) => object,
            other => panic!("no object: {other:?}"),
        })
        .collect();
    module_settings(&resources, &Options::default())
}

/// Settings, and `CODE path` of what was said.
fn settings(config: Value) -> (ModuleSettings, Vec<String>) {
    let (settings, diagnostics) = run([module("ambassador", config)]);
    let mut said: Vec<String> = diagnostics
        .iter()
        .map(|diagnostic| {
            let path = diagnostic.path.trim_start_matches("spec.config.");
            format!("{} {path}", diagnostic.code)
        })
        .collect();
    said.sort();
    (settings, said)
}

fn said(config: Value) -> Vec<String> {
    settings(config).1
}

#[test]
fn md_01_without_a_module_the_defaults_apply() {
    let (found, diagnostics) = run([]);
    assert_eq!(found, ModuleSettings::default());
    assert_eq!(found.server_name, "envoy");
    assert_eq!(found.cluster_request_timeout_ms, 3000);
    assert!(diagnostics.is_empty());
    let (found, said) = settings(json!({}));
    assert!(found.object.is_some());
    assert_eq!(
        ModuleSettings {
            object: None,
            ..found
        },
        ModuleSettings::default()
    );
    assert!(said.is_empty());
}

#[test]
fn md_02_and_04_and_08_and_12_plain_values() {
    let (found, said) = settings(json!({
        "server_name": "edge", "max_request_headers_kb": 8, "cluster_request_timeout_ms": 1000,
        "suppress_envoy_headers": "yes", "use_remote_address": false, "merge_slashes": true,
        "reject_requests_with_escaped_slashes": true, "strip_matching_host_port": true,
        "preserve_external_request_id": true, "listener_idle_timeout_ms": 0,
        "enable_ipv4": false, "enable_ipv6": true, "add_linkerd_headers": true,
        "cluster_idle_timeout_ms": 5, "cluster_max_connection_lifetime_ms": 6,
        "resolver": "endpoint", "keepalive": {"probes": 1, "idle_time": 2, "interval": 3},
        "use_ambassador_namespace_for_service_resolution": true,
        "load_balancer": {"policy": "round_robin"},
    }));
    assert!(said.is_empty(), "{said:?}");
    assert_eq!(found.server_name, "edge");
    assert_eq!(found.max_request_header_bytes, 8192);
    assert_eq!(found.cluster_request_timeout_ms, 1000);
    assert!(found.suppress_envoy_headers && !found.use_remote_address && found.merge_slashes);
    assert!(found.reject_escaped_slashes && found.strip_matching_host_port);
    assert_eq!(found.listener_idle_timeout_ms, 0);
    assert!(!found.enable_ipv4 && found.enable_ipv6 && found.add_linkerd_headers);
    assert_eq!(found.cluster_idle_timeout_ms, Some(5));
    assert_eq!(found.cluster_max_connection_lifetime_ms, Some(6));
    assert_eq!(found.resolver, "endpoint");
    assert_eq!(
        found
            .keepalive
            .and_then(|keepalive| keepalive.interval_secs),
        Some(3)
    );
    assert!(found.use_ambassador_namespace_for_service_resolution);
}

#[test]
fn md_05_to_07_ip_lists() {
    let (found, quiet) = settings(json!({"ip_deny": [{"remote": "192.0.2.9/24"}]}));
    let policy = found.ip_policy.expect("a list");
    assert_eq!(policy.mode, IpMode::Deny);
    assert_eq!(policy.rules[0].range.to_string(), "192.0.2.0/24");
    assert!(quiet.is_empty());

    let (found, both) = settings(json!({
        "ip_allow": [{"peer": "10.0.0.0/8"}, {"peer": "2001:db8::1"}, {"peer": "::ffff:192.0.2.1"}],
        "ip_deny": [{"peer": "10.1.0.0/16"}],
    }));
    let policy = found.ip_policy.expect("a list");
    assert_eq!(policy.mode, IpMode::Allow);
    let ranges: Vec<String> = policy
        .rules
        .iter()
        .map(|rule| rule.range.to_string())
        .collect();
    assert_eq!(ranges, ["10.0.0.0/8", "2001:db8::1/128", "192.0.2.1/32"]);
    assert_eq!(both, ["E-MODULE-VALUE ip_deny"]);

    // H-22 and MD-07: an allow list of which nothing is left lets nobody in.
    for entry in [
        json!({"peer": "nonsense"}),
        json!({"peer": "10.0.0.0/99"}),
        json!({"peer": "10.0.0.0/8", "remote": "10.0.0.0/8"}),
        json!({"from": "10.0.0.0/8"}),
        json!("10.0.0.0/8"),
        json!({"peer": 7}),
    ] {
        let (found, said) = settings(json!({"ip_allow": [entry]}));
        let policy = found.ip_policy.expect("a list");
        assert_eq!((policy.mode, policy.rules.len()), (IpMode::Allow, 0));
        assert_eq!(said, ["E-MODULE-VALUE ip_allow[0]"], "{entry}");
        let (found, _) = settings(json!({"ip_deny": [entry]}));
        assert_eq!(found.ip_policy, None);
    }
    let (found, said) = settings(json!({"ip_allow": "10.0.0.0/8"}));
    assert_eq!(
        found.ip_policy.map(|policy| policy.mode),
        Some(IpMode::Allow)
    );
    assert_eq!(said, ["E-MODULE-VALUE ip_allow"]);
}

#[test]
fn md_09_a_bad_value_costs_its_own_key_only() {
    let (found, said) = settings(json!({
        "load_balancer": {"policy": "bogus"}, "server_name": "edge", "merge_slashes": "maybe",
        "max_request_headers_kb": 8193, "cluster_request_timeout_ms": -1, "resolver": 7,
        "keepalive": [1], "enable_ipv6": 1,
    }));
    assert_eq!(found.server_name, "edge");
    assert!(!found.merge_slashes && !found.enable_ipv6);
    assert_eq!(found.max_request_header_bytes, 61_440);
    assert_eq!(
        said,
        [
            "E-MODULE-VALUE cluster_request_timeout_ms",
            "E-MODULE-VALUE enable_ipv6",
            "E-MODULE-VALUE keepalive",
            "E-MODULE-VALUE load_balancer.policy",
            "E-MODULE-VALUE max_request_headers_kb",
            "E-MODULE-VALUE merge_slashes",
            "E-MODULE-VALUE resolver",
        ]
    );
}

#[test]
fn md_11_the_module_of_the_controllers_namespace_counts() {
    let (found, diagnostics) = run([
        module("alpha/ambassador", json!({"server_name": "alpha"})),
        module("ambassador", json!({"server_name": "default"})),
    ]);
    assert_eq!(found.server_name, "default");
    let [diagnostic] = diagnostics.as_slice() else {
        panic!("{diagnostics:?}");
    };
    assert_eq!(diagnostic.code.as_str(), "E-MODULE-DUPLICATE");
    assert_eq!(
        diagnostic
            .object
            .as_ref()
            .map(|object| object.namespace.as_str()),
        Some("alpha")
    );
    let (found, _) = run([
        module("beta/ambassador", json!({"server_name": "beta"})),
        module("alpha/ambassador", json!({"server_name": "alpha"})),
    ]);
    assert_eq!(found.server_name, "alpha");
}

#[test]
fn id_06_a_module_of_another_id_does_not_count() {
    let mut other = module("ambassador", json!({"server_name": "edge"}));
    other["spec"]["ambassador_id"] = json!(["edge"]);
    let (found, diagnostics) = run([other]);
    assert_eq!(found, ModuleSettings::default());
    assert!(diagnostics.is_empty());
}

#[test]
fn other_modules_mean_nothing() {
    let (_, diagnostics) = run([
        module("authentication", json!({})),
        module("tls", json!({"server": {"enabled": true}, "upstream": {}})),
    ]);
    let mut said: Vec<String> = diagnostics
        .iter()
        .map(|diagnostic| format!("{} {}", diagnostic.code, diagnostic.path))
        .collect();
    said.sort();
    assert_eq!(
        said,
        [
            "W-IGNORED ",
            "W-IGNORED spec.config.server",
            "W-UNSUPPORTED spec.config.upstream",
        ]
    );
}

#[test]
fn unknown_keys_name_the_nearest() {
    let (_, diagnostics) = run([module(
        "ambassador",
        json!({"merge_slash": true, "xyzzy": 1, "keepalive": {"probe": 1}}),
    )]);
    let said: Vec<(&str, &str, Option<&str>)> = diagnostics
        .iter()
        .map(|d| (d.code.as_str(), d.path.as_str(), d.help.as_deref()))
        .collect();
    assert!(said.contains(&(
        "W-MODULE-KEY",
        "spec.config.merge_slash",
        Some("did you mean `merge_slashes`?")
    )));
    assert!(said.contains(&("W-MODULE-KEY", "spec.config.xyzzy", None)));
    assert!(said.contains(&(
        "W-MODULE-KEY",
        "spec.config.keepalive.probe",
        Some("did you mean `probes`?")
    )));
}

#[test]
fn what_is_not_honoured_is_named() {
    for (config, expected) in [
        (json!({"proper_case": false}), None),
        (
            json!({"proper_case": true}),
            Some("W-UNSUPPORTED proper_case"),
        ),
        (json!({"forward_client_cert_details": "SANITIZE"}), None),
        (
            json!({"forward_client_cert_details": "APPEND_FORWARD"}),
            Some("W-UNSUPPORTED forward_client_cert_details"),
        ),
        (json!({"headers_with_underscores_action": "ALLOW"}), None),
        (
            json!({"headers_with_underscores_action": "REJECT_REQUEST"}),
            None,
        ),
        (
            json!({"headers_with_underscores_action": "reject"}),
            Some("E-MODULE-VALUE headers_with_underscores_action"),
        ),
        (
            json!({"load_balancer": {"policy": "maglev"}}),
            Some("E-MODULE-VALUE load_balancer"),
        ),
        (
            json!({"load_balancer": {"policy": "maglev", "header": "x-user"}}),
            None,
        ),
        (
            json!({"lua_scripts": "x"}),
            Some("E-POLICY-LUA lua_scripts"),
        ),
        (
            json!({"diagnostics": {"enabled": false, "allow_non_local": true}}),
            None,
        ),
        (
            json!({"diagnostics": {"allow_non_local": true}}),
            Some("W-UNSUPPORTED diagnostics"),
        ),
        (json!({"gzip": {}}), None),
        (json!({"gzip": false}), Some("W-MODULE-OFF gzip")),
        (json!({"cors": null}), None),
        (
            json!({"service_port": 8080}),
            Some("W-IGNORED service_port"),
        ),
        (
            json!({"use_proxy_proto": false}),
            Some("W-IGNORED use_proxy_proto"),
        ),
        (
            json!({"regex_max_size": 200, "allow_chunked_length": true}),
            None,
        ),
        (json!({"regex_type": "safe"}), None),
        (
            json!({"regex_type": "unsafe"}),
            Some("W-IGNORED regex_type"),
        ),
        (json!({"tls": {}}), Some("E-MODULE-VALUE tls")),
    ] {
        let expected: Vec<&str> = expected.into_iter().collect();
        assert_eq!(said(config.clone()), expected, "{config}");
    }
}

#[test]
fn defaults_for_mappings() {
    let (found, said) = settings(json!({"defaults": {
        "httpmapping": {"add_request_headers": {"x-a": "inner"}, "timeout_ms": 7},
        "add_request_headers": {"x-b": "outer"},
        "add_response_headers": {"x-c": {"value": "v", "append": false}, "x-d": 7},
        "remove_request_headers": "x-e",
        "remove_response_headers": ["x-f", "x-g"],
        "stats_name": "all",
        "tls_secret_namespacing": false,
    }}));
    assert_eq!(
        said,
        [
            "E-MODULE-VALUE defaults.add_response_headers.x-d",
            "W-IGNORED defaults.httpmapping.timeout_ms",
        ]
    );
    let defaults = found.defaults;
    let added = defaults.add_request_headers.expect("headers");
    assert_eq!(added.keys().collect::<Vec<_>>(), ["x-a"]);
    let added = defaults.add_response_headers.expect("headers");
    assert_eq!(added["x-c"].append, Some(false));
    assert_eq!(
        defaults.remove_request_headers,
        Some(vec!["x-e".to_owned()])
    );
    assert_eq!(
        defaults.remove_response_headers.map(|names| names.len()),
        Some(2)
    );
    assert_eq!(defaults.stats_name.as_deref(), Some("all"));
    assert!(!found.tls_secret_namespacing);
}

#[test]
fn probes() {
    let (found, said) = settings(json!({
        "liveness_probe": {"prefix": "/alive"},
        "readiness_probe": {"enabled": false},
    }));
    assert_eq!(
        found.liveness_probe.map(|probe| probe.prefix).as_deref(),
        Some("/alive")
    );
    assert_eq!(found.readiness_probe, None);
    assert_eq!(said, ["I-MODULE-ENABLED liveness_probe"]);
    let (found, said) = settings(json!({
        "liveness_probe": {"enabled": true, "prefix": "alive", "service": "x"},
    }));
    assert_eq!(
        found.liveness_probe,
        ModuleSettings::default().liveness_probe
    );
    assert_eq!(
        said,
        [
            "E-MODULE-VALUE liveness_probe.prefix",
            "W-UNSUPPORTED liveness_probe.service"
        ]
    );
    let (_, said) = settings(json!({
        "readiness_probe": {"enabled": true, "service": "127.0.0.1:8877",
                            "prefix": "/ready", "rewrite": "/ambassador/v0/check_ready"},
    }));
    assert_eq!(said, [""; 0], "spelled-out defaults");
}

#[test]
fn access_log_formats() {
    let format = |config: Value| {
        let (found, said) = settings(config);
        let text = match found.access_log.format {
            AccessLogFormat::Text(template) => template.as_str().to_owned(),
            AccessLogFormat::Json(fields) => serde_json::to_string(&fields).expect("JSON"),
        };
        (text, said)
    };
    assert_eq!(
        format(json!({})).0,
        "ACCESS [%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" \
         %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
         %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \
         \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\""
    );
    assert_eq!(
        format(json!({"envoy_log_format": "%PROTOCOL%\n"})).0,
        "%PROTOCOL%"
    );
    assert!(
        format(json!({"envoy_log_type": "json"}))
            .0
            .contains("\"start_time\"")
    );
    let nested = json!({"envoy_log_type": "typed_json",
        "envoy_log_format": {"a": {"b": ["%PROTOCOL%", 1, true]}}});
    assert_eq!(format(nested).0, r#"{"a":{"b":["%PROTOCOL%",1,true]}}"#);
    for (config, path) in [
        (json!({"envoy_log_type": "xml"}), "envoy_log_type"),
        (json!({"envoy_log_format": {"a": "b"}}), "envoy_log_format"),
        (json!({"envoy_log_format": "100%"}), "envoy_log_format"),
        (json!({"envoy_log_format": "%NOSUCH%"}), "envoy_log_format"),
        (
            json!({"envoy_log_type": "json", "envoy_log_format": "x"}),
            "envoy_log_format",
        ),
        (
            json!({"envoy_log_type": "json", "envoy_log_format": {"a": "%NOSUCH%"}}),
            "envoy_log_format.a",
        ),
    ] {
        let (text, said) = format(config.clone());
        assert_eq!(said, [format!("E-MODULE-VALUE {path}")], "{config}");
        assert!(text.contains("%START_TIME%"), "{config}");
    }
}

/// Any shape under any key: never a panic, and never silence about what cannot be meant.
#[test]
fn every_key_takes_every_shape() {
    let shapes = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(""),
        json!("text"),
        json!([]),
        json!([null, {}]),
        json!({}),
        json!({"": {"": []}}),
    ];
    for (key, _) in super::keys::KEYS {
        let mut errors = 0;
        for shape in &shapes {
            let (_, diagnostics) = run([module("ambassador", json!({*key: shape}))]);
            errors += diagnostics
                .iter()
                .filter(|d| d.severity() != Severity::Info)
                .count();
            assert!(
                diagnostics
                    .iter()
                    .all(|d| d.path.starts_with(&format!("spec.config.{key}"))),
                "{key}: {diagnostics:?}"
            );
        }
        let silent = [
            "allow_chunked_length",
            "envoy_validation_timeout",
            "regex_max_size",
            "prune_unreachable_routes",
            "regex_type",
        ];
        assert!(errors > 0 || silent.contains(key), "{key}");
    }
}
