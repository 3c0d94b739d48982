//! Listeners, Hosts and TLS, named after the worked examples of spec/routing §8.

mod association;
mod held;
mod tls;

use std::collections::BTreeMap;

use legate_api::{Decoded, decode};
use legate_config::listener::{ChainMatch, ChainTls, FilterChain};
use legate_config::{Diagnostic, Listener, VirtualHost};
use serde_json::{Value, json};

use super::{FrontendHost, Frontends, frontends};
use crate::module::module_settings;
use crate::options::{MissingRefs, Options};
use crate::resources::Resources;
use crate::secrets::SecretCache;

/// Objects under test, and what they come to.
struct Case {
    resources: Resources,
    options: Options,
}

impl Case {
    fn new(documents: impl IntoIterator<Item = Value>) -> Self {
        let resources = documents.into_iter().map(object).collect();
        let options = Options {
            missing: MissingRefs::Error,
            ..Options::default()
        };
        Self { resources, options }
    }

    fn run(&self) -> Outcome {
        let (module, diagnostics) = module_settings(&self.resources, &self.options);
        let mut out = frontends(
            &self.resources,
            &self.options,
            &module,
            &SecretCache::default(),
        );
        out.diagnostics.extend(diagnostics);
        out.diagnostics.sort();
        Outcome(out)
    }
}

/// Runs documents with default options.
fn run(documents: impl IntoIterator<Item = Value>) -> Outcome {
    Case::new(documents).run()
}

struct Outcome(Frontends);

impl Outcome {
    /// Codes with the objects they are on, `CODE Kind/name path`.
    fn said(&self) -> Vec<String> {
        let mut said: Vec<String> = self.0.diagnostics.iter().map(line).collect();
        said.sort();
        said
    }

    fn listeners(&self) -> Vec<&Listener> {
        self.0
            .listeners
            .iter()
            .map(|(_, entry)| &*entry.value)
            .collect()
    }

    fn chain(&self, port: u16, name: &str) -> Option<&FilterChain> {
        self.0
            .chains
            .get(format!("tcp/*/{port}/{name}").as_str())
            .map(|chain| &**chain)
    }

    /// Virtual hosts of the cleartext chain.
    fn plain(&self, port: u16) -> Vec<String> {
        let chain = self.chain(port, "plain").expect("a cleartext chain");
        assert_eq!(chain.matches, ChainMatch::Plain);
        names(chain)
    }

    fn tls(&self, port: u16, name: &str) -> Option<&ChainTls> {
        self.chain(port, name)?.tls.as_ref()
    }

    fn is_refused(&self, port: u16, name: &str) -> bool {
        matches!(self.tls(port, name), Some(ChainTls::Refuse(_)))
    }

    fn certificate(&self, port: u16, name: &str) -> Option<&str> {
        match self.tls(port, name)? {
            ChainTls::Terminate(tls) => Some(tls.certificate.as_str()),
            ChainTls::Refuse(_) | ChainTls::Hold(_) => None,
        }
    }

    fn host(&self, hostname: &str) -> &FrontendHost {
        self.0
            .hosts
            .iter()
            .find(|host| host.glob.to_string() == hostname)
            .expect("a Host of that hostname")
    }

    fn virtual_host(&self, hostname: &str) -> &VirtualHost {
        let (_, virtual_host) = self.host(hostname).virtual_hosts.first().expect("bound");
        virtual_host
    }
}

fn names(chain: &FilterChain) -> Vec<String> {
    chain
        .virtual_hosts
        .iter()
        .map(|key| {
            key.as_str()
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_owned()
        })
        .collect()
}

fn line(diagnostic: &Diagnostic) -> String {
    let object = diagnostic
        .object
        .as_ref()
        .map_or_else(String::new, |object| {
            format!(" {}/{}", object.kind, object.name)
        });
    let path = if diagnostic.path.is_empty() {
        String::new()
    } else {
        format!(" {}", diagnostic.path)
    };
    format!("{}{object}{path}", diagnostic.code)
}

fn object(document: Value) -> legate_api::Object {
    match decode(document, "default") {
        Decoded::Object(object) => object,
        other => panic!("no object: {other:?}"),
    }
}

/// A document of the group. `name` may be `namespace/name`.
fn resource(kind: &str, name: &str, spec: Value) -> Value {
    let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
    json!({
        "apiVersion": "getambassador.io/v3alpha1",
        "kind": kind,
        "metadata": {"namespace": namespace, "name": name},
        "spec": spec,
    })
}

fn labelled(mut document: Value, labels: Value) -> Value {
    document["metadata"]["labels"] = labels;
    document
}

/// Listener on a port, XFP, binding all Hosts.
fn listener(port: u16, protocol: &str) -> Value {
    resource(
        "Listener",
        &format!("l{port}"),
        json!({
            "port": port,
            "protocol": protocol,
            "securityModel": "XFP",
            "hostBinding": {"namespace": {"from": "ALL"}},
        }),
    )
}

/// Host with action Route.
fn route_host(name: &str, hostname: &str) -> Value {
    resource(
        "Host",
        name,
        json!({
            "hostname": hostname,
            "requestPolicy": {"insecure": {"action": "Route"}},
        }),
    )
}

/// Host with `tlsSecret: s`, and more.
fn tls_host(name: &str, hostname: &str, more: Value) -> Value {
    let mut spec = json!({"hostname": hostname, "tlsSecret": {"name": "s"}});
    for (key, value) in more.as_object().expect("an object") {
        spec[key] = value.clone();
    }
    resource("Host", name, spec)
}

/// A Secret with a fresh pair. `name` may be `namespace/name`.
fn pair_secret(name: &str) -> Value {
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(vec!["a.test".to_owned()])
        .expect("names")
        .self_signed(&key)
        .expect("a certificate");
    secret(
        name,
        &[
            ("tls.crt", &certificate.pem()),
            ("tls.key", &key.serialize_pem()),
        ],
    )
}

fn secret(name: &str, data: &[(&str, &str)]) -> Value {
    let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
    let data: BTreeMap<&str, &str> = data.iter().copied().collect();
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"namespace": namespace, "name": name},
        "type": "kubernetes.io/tls",
        "stringData": data,
    })
}
