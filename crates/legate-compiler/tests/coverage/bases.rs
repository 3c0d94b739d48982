//! Base configurations: the least that makes the fields of a kind mean something.

use std::sync::LazyLock;

use legate_api::Kind;
use legate_compiler::Diagnostic;
use serde_json::{Value, json};

/// A configuration with one object under test.
pub(crate) struct Base {
    /// For messages.
    pub(crate) name: &'static str,
    kind: Kind,
    object: &'static str,
    /// The `spec` of the object under test.
    pub(crate) spec: Value,
    others: Vec<Value>,
}

impl Base {
    /// All documents, with another `spec` for the object under test.
    pub(crate) fn documents(&self, spec: Option<Value>) -> Vec<Value> {
        let spec = spec.unwrap_or_else(|| self.spec.clone());
        let mut documents = self.others.clone();
        documents.push(document(self.kind, self.object, spec));
        documents
    }

    /// Whether a diagnostic is about the object under test.
    pub(crate) fn is_about(&self, diagnostic: &Diagnostic) -> bool {
        diagnostic
            .object
            .as_ref()
            .is_some_and(|object| object.kind == self.kind.as_str() && object.name == self.object)
    }
}

fn document(kind: Kind, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "getambassador.io/v3alpha1",
        "kind": kind.as_str(),
        "metadata": {"namespace": "default", "name": name, "labels": {"x": "x"}},
        "spec": spec,
    })
}

fn listener() -> Value {
    json!({
        "port": 8443,
        "protocol": "HTTPS",
        "securityModel": "XFP",
        "hostBinding": {"namespace": {"from": "ALL"}},
    })
}

fn host() -> Value {
    json!({"hostname": "a.test", "tlsSecret": {"name": "s"}})
}

fn mapping() -> Value {
    json!({"hostname": "*", "prefix": "/a/", "service": "up"})
}

fn service() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": "default", "name": "up"},
        "spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 80}, {"port": 443, "name": "s"}]},
    })
}

fn slice() -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"namespace": "default", "name": "up-1",
                     "labels": {"kubernetes.io/service-name": "up"}},
        "addressType": "IPv4",
        "ports": [{"port": 8080}],
        "endpoints": [{"addresses": ["10.1.0.1"], "conditions": {"ready": true}}],
    })
}

/// One pair for all runs: making keys is slow.
static SECRET: LazyLock<Value> = LazyLock::new(|| {
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(vec!["a.test".to_owned()])
        .expect("names")
        .self_signed(&key)
        .expect("a certificate");
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"namespace": "default", "name": "s"},
        "stringData": {"tls.crt": certificate.pem(), "tls.key": key.serialize_pem()},
    })
});

/// The base configurations of a kind. A field counts as heard if it is in one of them.
pub(crate) fn bases(kind: Kind) -> Vec<Base> {
    let base = |name, object, spec, others: Vec<Value>| Base {
        name,
        kind,
        object,
        spec,
        others,
    };
    // What every configuration has, except what is under test itself.
    let frame = |more: Vec<Value>| {
        let mut documents = vec![SECRET.clone(), service(), slice()];
        for (common, name, spec) in [
            (Kind::Listener, "l", listener()),
            (Kind::Host, "h", host()),
            (Kind::Mapping, "m", mapping()),
            (Kind::AuthService, "auth", json!({"auth_service": "up"})),
        ] {
            if common != kind {
                documents.push(document(common, name, spec));
            }
        }
        documents.extend(more);
        documents
    };
    match kind {
        Kind::Listener => vec![base("plain", "l", listener(), frame(vec![]))],
        Kind::Host => vec![
            base("TLS", "h", host(), frame(vec![])),
            base(
                "client certificates",
                "h",
                json!({"hostname": "a.test", "tlsSecret": {"name": "s"},
                       "tls": {"ca_secret": "s"}}),
                frame(vec![]),
            ),
            base(
                "selector",
                "h",
                json!({"hostname": "a.test", "tlsSecret": {"name": "s"},
                       "mappingSelector": {"matchLabels": {"x": "x"}}}),
                frame(vec![]),
            ),
        ],
        Kind::Mapping => mapping_bases()
            .into_iter()
            .map(|(name, spec)| base(name, "m", spec, frame(vec![])))
            .collect(),
        Kind::TlsContext => tls_context_bases(&base),
        Kind::Module => vec![base(
            "ambassador",
            "ambassador",
            json!({"config": {"server_name": "base"}}),
            frame(vec![]),
        )],
        Kind::RateLimitService => {
            let counted = json!({"hostname": "*", "prefix": "/l/", "service": "up",
                                 "labels": {"ambassador": [{"g": ["x"]}]}});
            let counted = document(Kind::Mapping, "counted", counted);
            vec![base("labels", "o", least(kind), frame(vec![counted]))]
        }
        Kind::KubernetesEndpointResolver | Kind::KubernetesServiceResolver => {
            let user = json!({"hostname": "*", "prefix": "/r/", "service": "up", "resolver": "r"});
            let user = document(Kind::Mapping, "user", user);
            vec![base("resolver", "r", json!({}), frame(vec![user]))]
        }
        _ => vec![base("alone", "o", least(kind), frame(vec![]))],
    }
}

fn mapping_bases() -> Vec<(&'static str, Value)> {
    let with = |more: Value| {
        let mut spec = mapping();
        for (key, value) in more.as_object().cloned().unwrap_or_default() {
            spec[key] = value;
        }
        spec
    };
    vec![
        ("plain", mapping()),
        ("method", with(json!({"method": "GET"}))),
        (
            "host",
            json!({"host": "a.test", "prefix": "/a/", "service": "up"}),
        ),
        (
            "redirect",
            with(json!({"host_redirect": true, "service": "x.test"})),
        ),
        ("endpoints", with(json!({"resolver": "endpoint"}))),
        ("external", with(json!({"service": "up.example.com:8080"}))),
        (
            "IPv6",
            with(json!({"service": "up.example.com", "enable_ipv6": true})),
        ),
        ("TLS", with(json!({"service": "https://up"}))),
    ]
}

fn tls_context_bases(
    base: &dyn Fn(&'static str, &'static str, Value, Vec<Value>) -> Base,
) -> Vec<Base> {
    let host = document(
        Kind::Host,
        "h",
        json!({"hostname": "a.test", "tlsSecret": {"name": "s"}, "tlsContext": {"name": "c"}}),
    );
    let frame = |host: Value| {
        vec![
            SECRET.clone(),
            service(),
            slice(),
            document(Kind::Listener, "l", listener()),
            host,
            document(
                Kind::Mapping,
                "m",
                json!({"hostname": "*", "prefix": "/a/", "service": "up", "tls": "c"}),
            ),
        ]
    };
    vec![
        base(
            "both",
            "c",
            json!({"secret": "s.default"}),
            frame(host.clone()),
        ),
        base("authorities", "c", json!({"ca_secret": "s"}), frame(host)),
        base(
            "origination",
            "c",
            json!({"secret": "s"}),
            frame(document(Kind::Host, "h", self::host())),
        ),
    ]
}

/// What the schema requires.
fn least(kind: Kind) -> Value {
    match kind {
        Kind::TcpMapping => json!({"port": 6443, "service": "up"}),
        Kind::AuthService => json!({"auth_service": "up"}),
        Kind::RateLimitService => json!({"service": "up"}),
        Kind::LogService => json!({"service": "up", "driver": "http", "driver_config": {}}),
        Kind::TracingService => json!({"service": "up", "driver": "zipkin"}),
        _ => json!({}),
    }
}
