//! `--demo`: what the manifests name but the folder lacks is put in place, in memory.
//!
//! Echo backends for Services without endpoints, echoes on loopback endpoints where nothing
//! listens, self-signed certificates for missing Secrets (design §6.1). Nothing is written to disk,
//! and every substitution is named.

mod curl;
pub(super) mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use legate_api::{Body, Decoded, Object};
use legate_compiler::{Compiler, MissingRefs, Options, Snapshot};
use legate_config::auth::{Auth, AuthProtocol};
use legate_config::{EndpointSet, EndpointSetKey};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::args::EchoRole;

pub(super) use curl::curl_lines;

/// One thing put in place of something missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Substitution {
    /// An echo backend for a Service.
    Service {
        /// `service.namespace:port`
        name: String,
        /// Where the echo listens.
        address: SocketAddr,
        /// What it plays, when it is no backend.
        role: Option<EchoRole>,
    },
    /// An echo on an endpoint of the folder where nothing listens.
    Endpoint {
        /// The backend's name.
        name: String,
        /// The endpoint.
        address: SocketAddr,
    },
    /// A Redis for shared rate limits.
    Store {
        /// Where it listens; `None` = none is installed.
        address: Option<SocketAddr>,
    },
    /// A self-signed certificate for a Secret.
    Certificate {
        /// `namespace/name` of the Secret.
        secret: String,
        /// Names in it.
        names: Vec<String>,
    },
}

impl fmt::Display for Substitution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service {
                name,
                address,
                role: None,
            } => write!(f, "Service {name}: echo on {address}"),
            Self::Service {
                name,
                address,
                role: Some(role),
            } => {
                let role = match role {
                    EchoRole::AuthHttp => "auth-http",
                    EchoRole::AuthGrpc => "auth-grpc",
                    EchoRole::RateLimit => "ratelimit",
                };
                write!(f, "Service {name}: echo --as {role} on {address}")
            }
            Self::Store {
                address: Some(address),
            } => write!(
                f,
                "Store of rate limits: redis-server on {address}; others share it with \
                 --ratelimit-store {address}"
            ),
            Self::Store { address: None } => f.write_str(
                "Store of rate limits: no redis-server is installed here, so each gateway counts for \
                 itself",
            ),
            Self::Endpoint { name, address } => write!(f, "Endpoint {address} of {name}: echo"),
            Self::Certificate { secret, names } => {
                write!(
                    f,
                    "Secret {secret}: self-signed certificate for {}",
                    names.join(", ")
                )
            }
        }
    }
}

/// The running echo backends; they end when this is dropped.
pub(super) struct Backends {
    runtime: Option<tokio::runtime::Runtime>,
}

impl fmt::Debug for Backends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backends").finish_non_exhaustive()
    }
}

impl Drop for Backends {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Starts what is missing. Returns the backends, the objects to add, and a list of both.
///
/// # Errors
/// No thread, no port, or no key could be had.
pub(super) fn prepare(
    objects: &[Object],
    options: &Options,
) -> io::Result<(Backends, Vec<Object>, Vec<Substitution>)> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("demo")
        .enable_all()
        .build()?;
    let mut added = Vec::new();
    let mut substitutions = Vec::new();
    let options = Options {
        missing: MissingRefs::Info,
        ..options.clone()
    };
    certificates(objects, &options, &mut added, &mut substitutions)?;
    let snapshot = compile(objects, &options);
    for ((service, namespace, port), role) in unserved(&snapshot, &options.namespace) {
        let name = format!("{service}.{namespace}");
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let address = echo(&runtime, at, &name, role)?;
        added.extend(service_objects(&service, &namespace, port, address));
        substitutions.push(Substitution::Service {
            name: format!("{name}:{port}"),
            address,
            role,
        });
    }
    for (address, name) in silent_endpoints(&snapshot) {
        echo(&runtime, address, &name, None)?;
        substitutions.push(Substitution::Endpoint { name, address });
    }
    Ok((
        Backends {
            runtime: Some(runtime),
        },
        added,
        substitutions,
    ))
}

fn compile(objects: &[Object], options: &Options) -> std::sync::Arc<Snapshot> {
    let mut compiler = Compiler::new(options.clone());
    for object in objects {
        compiler.upsert(object.clone());
    }
    compiler.compile().snapshot
}

fn echo(
    runtime: &tokio::runtime::Runtime,
    at: SocketAddr,
    name: &str,
    role: Option<EchoRole>,
) -> io::Result<SocketAddr> {
    let listener = runtime.block_on(TcpListener::bind(at))?;
    let address = listener.local_addr()?;
    let name = name.to_owned();
    runtime.spawn(crate::echo::serve(listener, name, role));
    Ok(address)
}

/// Endpoint sets of the services that are asked whether requests may pass, and who plays them.
fn asked(snapshot: &Snapshot) -> BTreeMap<EndpointSetKey, EchoRole> {
    let mut found = BTreeMap::new();
    let mut note = |cluster: &str, role| {
        if let Some(cluster) = snapshot.clusters.get(cluster) {
            found.insert(cluster.endpoints.clone(), role);
        }
    };
    for (_, policy) in snapshot.policies.iter() {
        if let Some(Auth::Check(check)) = policy.value.auth.as_deref() {
            let role = match check.protocol {
                AuthProtocol::Http => EchoRole::AuthHttp,
                AuthProtocol::Grpc => EchoRole::AuthGrpc,
            };
            for target in &check.targets {
                note(target.cluster.as_str(), role);
            }
        }
        if let Some(limit) = &policy.value.rate_limit {
            note(limit.cluster.as_str(), EchoRole::RateLimit);
        }
    }
    found
}

/// Services and ports that something routes to and that have no endpoint, and what is played there.
fn unserved(
    snapshot: &Snapshot,
    own_namespace: &str,
) -> BTreeMap<(String, String, u16), Option<EchoRole>> {
    let mut found = BTreeMap::new();
    let asked = asked(snapshot);
    for (key, entry) in snapshot.endpoint_sets.iter() {
        let role = asked.get(key).copied();
        match &*entry.value {
            EndpointSet::Dns(source) if source.name != "localhost" => {
                let mut labels = source.name.split('.');
                let service = labels.next().unwrap_or_default().to_owned();
                let namespace = labels.next().unwrap_or(own_namespace).to_owned();
                found.insert((service, namespace, source.port), role);
            }
            EndpointSet::Static { endpoints } if endpoints.is_empty() => {
                let mut parts = key.as_str().split('/');
                if let (Some("k8s"), Some(namespace), Some(service), Some(port)) =
                    (parts.next(), parts.next(), parts.next(), parts.next())
                    && let Ok(port) = port.parse()
                {
                    found.insert((service.to_owned(), namespace.to_owned(), port), role);
                }
            }
            _ => {}
        }
    }
    found
}

/// Loopback endpoints where nothing listens, with the name of their set.
fn silent_endpoints(snapshot: &Snapshot) -> BTreeMap<SocketAddr, String> {
    let mut found = BTreeMap::new();
    for (key, entry) in snapshot.endpoint_sets.iter() {
        let EndpointSet::Static { endpoints } = &*entry.value else {
            continue;
        };
        for endpoint in endpoints {
            let address = endpoint.address;
            let listening =
                || TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok();
            if address.ip().is_loopback() && !listening() {
                found.insert(address, endpoint_name(key.as_str()));
            }
        }
    }
    found
}

/// `service.namespace` of `k8s/<namespace>/<service>/<port>`; other keys as they are.
fn endpoint_name(key: &str) -> String {
    let mut parts = key.split('/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some("k8s"), Some(namespace), Some(service)) => format!("{service}.{namespace}"),
        _ => key.to_owned(),
    }
}

fn service_objects(
    service: &str,
    namespace: &str,
    port: u16,
    address: SocketAddr,
) -> impl Iterator<Item = Object> {
    let meta = json!({"name": service, "namespace": namespace});
    let slice = json!({
        "name": format!("{service}-{port}-demo"),
        "namespace": namespace,
        "labels": {"kubernetes.io/service-name": service},
    });
    let port_name = format!("p{port}");
    [
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": meta,
            "spec": {"ports": [{"name": port_name, "port": port}]},
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": slice,
            "addressType": "IPv4",
            "ports": [{"name": port_name, "port": address.port()}],
            "endpoints": [{"addresses": [address.ip().to_string()]}],
        }),
    ]
    .into_iter()
    .filter_map(|value| object(value, namespace))
}

fn object(value: Value, namespace: &str) -> Option<Object> {
    match legate_api::decode(value, namespace) {
        Decoded::Object(object) => Some(object),
        _ => None,
    }
}

/// Self-signed certificates for the Secrets that Hosts of our id name and the folder lacks.
fn certificates(
    objects: &[Object],
    options: &Options,
    added: &mut Vec<Object>,
    substitutions: &mut Vec<Substitution>,
) -> io::Result<()> {
    let present: BTreeSet<(String, String)> = objects
        .iter()
        .filter(|object| matches!(object.body, Body::Secret(_)))
        .map(|object| (object.meta.namespace.clone(), object.meta.name.clone()))
        .collect();
    let mut missing: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for object in objects {
        let Body::Host(spec) = &object.body else {
            continue;
        };
        let Some(secret) = &spec.tls_secret else {
            continue;
        };
        let Some(name) = &secret.name else { continue };
        if !legate_compiler::is_ours(object, &object.key(), options) {
            continue;
        }
        let namespace = secret
            .namespace
            .clone()
            .unwrap_or_else(|| object.meta.namespace.clone());
        let key = (namespace, name.clone());
        if !present.contains(&key) {
            let hostname = spec.hostname.clone().unwrap_or_else(|| "*".to_owned());
            let hostname = hostname.split(':').next().unwrap_or_default().to_owned();
            missing.entry(key).or_default().insert(hostname);
        }
    }
    for ((namespace, name), names) in missing {
        // `*` is no certificate name; `localhost` is what one then types.
        let names: Vec<String> = names
            .into_iter()
            .map(|name| {
                if name == "*" {
                    "localhost".to_owned()
                } else {
                    name
                }
            })
            .collect();
        let pair = rcgen::generate_simple_self_signed(names.clone()).map_err(io::Error::other)?;
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"name": name, "namespace": namespace},
            "stringData": {
                "tls.crt": pair.cert.pem(),
                "tls.key": pair.signing_key.serialize_pem(),
            },
        });
        added.extend(object(secret, &namespace));
        substitutions.push(Substitution::Certificate {
            secret: format!("{namespace}/{name}"),
            names,
        });
    }
    Ok(())
}
