//! Where the endpoints of an upstream come from (spec/routing §4.12, design §6.2).
//!
//! A Mapping only gets the *key* of an endpoint set; what is in the set is decided here too, but
//! again for each change of an EndpointSlice, without the Mapping.

mod index;
mod ready;

use std::net::{IpAddr, SocketAddr};

use legate_api::{Body, Kind, ObjectKey, ServiceBody};
use legate_config::cluster::{AddressFamilies, DnsMode, DnsSource, Endpoint, EndpointSet};
use legate_config::{EndpointSetKey, Entry};

use crate::options::Options;
use crate::resources::Resources;
use crate::select;

pub(crate) use index::{EndpointIndex, ServiceName};
use ready::ready_endpoints;

/// How the endpoints of a set are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EndpointPlan {
    /// This address.
    Address(SocketAddr),
    /// This name.
    Dns(DnsSource),
    /// The ready endpoints of a Service's port.
    Kubernetes {
        /// The Service.
        service: ServiceName,
        /// The port.
        port: u16,
    },
}

/// How a Mapping wants its upstream resolved.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish<'a> {
    /// The name to resolve, qualified.
    pub(crate) name: &'a str,
    /// The Service that it may stand for.
    pub(crate) service: Option<&'a ServiceName>,
    /// The port as written.
    pub(crate) port: Option<u16>,
    /// The port where none is written.
    pub(crate) default_port: u16,
    /// Who finds the endpoints.
    pub(crate) by: By,
    pub(crate) mode: DnsMode,
    pub(crate) respect_ttl: bool,
    pub(crate) families: AddressFamilies,
}

/// Who finds the endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// The service resolver.
    Service,
    /// The service resolver, but endpoints where they are known: a load balancer was asked for.
    EndpointsIfKnown,
    /// The endpoint resolver: never DNS.
    Endpoints,
}

/// The decision for one upstream.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) plan: EndpointPlan,
    /// Whether there is neither the Service nor endpoints of it.
    pub(crate) missing: bool,
    /// The only port of a Service, used because none was written.
    pub(crate) only_port: Option<u16>,
    /// Whether it is the one address of a Service, behind which others choose the endpoint.
    pub(crate) cluster_ip: bool,
}

impl EndpointPlan {
    /// The key of the set, made from identity.
    pub(crate) fn key(&self) -> EndpointSetKey {
        EndpointSetKey::from(match self {
            Self::Address(address) => format!("ip/{}/{}", address.ip(), address.port()),
            Self::Dns(source) => {
                let mut key = format!("dns/{}/{}", source.name, source.port);
                if source.mode == DnsMode::First {
                    key.push_str("/first");
                }
                if source.respect_ttl {
                    key.push_str("/ttl");
                }
                match source.families {
                    AddressFamilies::V4 => {}
                    AddressFamilies::V6 => key.push_str("/v6"),
                    AddressFamilies::PreferV6 => key.push_str("/v6+v4"),
                }
                key
            }
            Self::Kubernetes { service, port } => {
                format!("k8s/{}/{}/{port}", service.namespace, service.name)
            }
        })
    }

    /// The set as it is now.
    pub(crate) fn resolve(
        &self,
        resources: &Resources,
        index: &EndpointIndex,
    ) -> Entry<EndpointSet> {
        let set = match self {
            Self::Address(address) => EndpointSet::Static {
                endpoints: vec![Endpoint { address: *address }],
            },
            Self::Dns(source) => EndpointSet::Dns(source.clone()),
            Self::Kubernetes { service, port } => EndpointSet::Static {
                endpoints: ready_endpoints(resources, index, service, *port),
            },
        };
        Entry::new(set, Vec::new())
    }
}

/// The Service that a host name stands for.
///
/// A bare name is a Service of `bare_namespace`. With dots it is `name.namespace`, optionally followed by
/// `svc…`; the endpoint resolver ignores whatever follows the second label.
pub(crate) fn service_name(host: &str, bare_namespace: &str, by: By) -> Option<ServiceName> {
    let mut labels = host.split('.');
    let name = labels.next()?;
    let Some(namespace) = labels.next() else {
        return (host != "localhost").then(|| ServiceName::new(bare_namespace, name));
    };
    match labels.next() {
        None | Some("" | "svc") => Some(ServiceName::new(namespace, name)),
        Some(_) if by == By::Endpoints => Some(ServiceName::new(namespace, name)),
        Some(_) => None,
    }
}

/// Decides where the endpoints of a named upstream come from.
pub(crate) fn find(
    wish: &Wish<'_>,
    resources: &Resources,
    options: &Options,
    index: &EndpointIndex,
) -> Found {
    let port = wish.port.unwrap_or(wish.default_port);
    let dns = |name: &str| {
        EndpointPlan::Dns(DnsSource {
            name: name.to_owned(),
            port,
            mode: wish.mode,
            respect_ttl: wish.respect_ttl,
            families: wish.families,
        })
    };
    let found = |plan| Found {
        plan,
        missing: false,
        only_port: None,
        cluster_ip: false,
    };
    let Some(name) = wish.service else {
        return found(dns(wish.name));
    };
    let service = service_body(resources, options, name);
    let has_endpoints = index.has_endpoints(name);
    let cluster_ip = service.and_then(cluster_address);
    let external = service.and_then(external_name);
    let by_endpoints = match wish.by {
        By::Endpoints => true,
        By::EndpointsIfKnown => has_endpoints,
        By::Service => has_endpoints && cluster_ip.is_none() && external.is_none(),
    };
    if by_endpoints {
        return from_endpoints(wish, name, service, has_endpoints, port);
    }
    match (cluster_ip, external) {
        (Some(address), _) => Found {
            cluster_ip: true,
            ..found(EndpointPlan::Address(SocketAddr::new(address, port)))
        },
        (None, Some(external)) => found(dns(external)),
        (None, None) => Found {
            plan: dns(wish.name),
            missing: service.is_none(),
            only_port: None,
            cluster_ip: false,
        },
    }
}

fn from_endpoints(
    wish: &Wish<'_>,
    name: &ServiceName,
    service: Option<&ServiceBody>,
    has_endpoints: bool,
    port: u16,
) -> Found {
    let only = match service.map(|service| service.ports.as_slice()) {
        Some([only]) if wish.port.is_none() && only.port != port => Some(only.port),
        _ => None,
    };
    Found {
        plan: EndpointPlan::Kubernetes {
            service: name.clone(),
            port: only.unwrap_or(port),
        },
        missing: service.is_none() && !has_endpoints,
        only_port: only,
        cluster_ip: false,
    }
}

/// The body of a Service that is there.
fn service_body<'a>(
    resources: &'a Resources,
    options: &Options,
    name: &ServiceName,
) -> Option<&'a ServiceBody> {
    let key = ObjectKey {
        kind: Kind::Service,
        namespace: name.namespace.clone(),
        name: name.name.clone(),
    };
    if !select::is_visible(&key, options) {
        return None;
    }
    match &select::effective(resources.get(&key)?).body {
        Body::Service(body) => Some(body),
        _ => None,
    }
}

fn cluster_address(service: &ServiceBody) -> Option<IpAddr> {
    std::iter::once(service.cluster_ip.as_deref())
        .flatten()
        .chain(service.cluster_ips.iter().map(String::as_str))
        .find_map(|text| text.parse().ok())
}

fn external_name(service: &ServiceBody) -> Option<&str> {
    service
        .external_name
        .as_deref()
        .filter(|_| service.type_.as_deref() == Some("ExternalName"))
        .filter(|name| !name.is_empty())
}
