//! The ready addresses of a Service's port.

use std::net::{IpAddr, SocketAddr};

use legate_api::{Body, EndpointPort, Kind, ObjectKey, ServicePort, SliceEndpoint};
use legate_config::cluster::Endpoint;

use super::index::{EndpointIndex, ServiceName};
use crate::resources::Resources;
use crate::select;

/// The ready endpoints for a port of a Service, sorted and without duplicates; if none is ready, those
/// that are going away and still serve (as kube-proxy does). EndpointSlices hide Endpoints of the same
/// Service.
pub(super) fn ready_endpoints(
    resources: &Resources,
    index: &EndpointIndex,
    service: &ServiceName,
    port: u16,
) -> Vec<Endpoint> {
    let ports = service_ports(resources, service);
    let wanted = match &ports {
        Some(ports) => match named(ports, port) {
            Some(port) => Wanted::Named(port),
            None => return Vec::new(),
        },
        None => Wanted::Number(port),
    };
    let holders = Holders {
        resources,
        index,
        service,
    };
    let ready = holders.endpoints(&wanted, SliceEndpoint::is_ready);
    if ready.is_empty() {
        return holders.endpoints(&wanted, SliceEndpoint::is_last_resort);
    }
    ready
}

/// What holds the endpoints of a Service.
struct Holders<'a> {
    resources: &'a Resources,
    index: &'a EndpointIndex,
    service: &'a ServiceName,
}

impl Holders<'_> {
    /// The endpoints that may be used.
    fn endpoints(&self, wanted: &Wanted, usable: fn(&SliceEndpoint) -> bool) -> Vec<Endpoint> {
        let Self {
            resources,
            index,
            service,
        } = self;
        let has_slices = index
            .holders(service)
            .any(|key| key.kind == Kind::EndpointSlice);
        let mut endpoints = Vec::new();
        for key in index.holders(service) {
            if has_slices && key.kind != Kind::EndpointSlice {
                continue;
            }
            let Some(held) = resources.get(key) else {
                continue;
            };
            match &select::effective(held).body {
                Body::EndpointSlice(slice) => {
                    let addresses = slice
                        .endpoints
                        .iter()
                        .filter(|endpoint| usable(endpoint))
                        // Addresses of one endpoint are one endpoint: the first is as good as any.
                        .filter_map(|endpoint| endpoint.addresses.first());
                    collect(wanted, &slice.ports, addresses, &mut endpoints);
                }
                Body::Endpoints(body) => {
                    for subset in &body.subsets {
                        let addresses = subset.addresses.iter().map(|address| &address.ip);
                        collect(wanted, &subset.ports, addresses, &mut endpoints);
                    }
                }
                _ => {}
            }
        }
        endpoints.sort_unstable();
        endpoints.dedup();
        endpoints
    }
}

/// Which port of the endpoints is meant.
enum Wanted {
    /// The one of this name; of a single-port Service it may have none.
    Named(Option<String>),
    /// No Service says: the one of this number, else the only one.
    Number(u16),
}

fn service_ports(resources: &Resources, service: &ServiceName) -> Option<Vec<ServicePort>> {
    let key = ObjectKey {
        kind: Kind::Service,
        namespace: service.namespace.clone(),
        name: service.name.clone(),
    };
    match &select::effective(resources.get(&key)?).body {
        Body::Service(body) => Some(body.ports.clone()),
        _ => None,
    }
}

/// The name of a Service's port, looked up by number; `None` = the Service has no such port. A
/// Service that lists no port at all says nothing about names.
fn named(ports: &[ServicePort], number: u16) -> Option<Option<String>> {
    if ports.is_empty() {
        return Some(None);
    }
    ports
        .iter()
        .find(|port| port.port == number && is_tcp(port.protocol.as_deref()))
        .map(|port| port.name.clone().filter(|name| !name.is_empty()))
}

fn collect<'a>(
    wanted: &Wanted,
    ports: &[EndpointPort],
    addresses: impl Iterator<Item = &'a String>,
    endpoints: &mut Vec<Endpoint>,
) {
    let Some(port) = pick(wanted, ports) else {
        return;
    };
    for address in addresses {
        if let Ok(address) = address.parse::<IpAddr>() {
            endpoints.push(Endpoint {
                address: SocketAddr::new(address, port),
            });
        }
    }
}

fn pick(wanted: &Wanted, ports: &[EndpointPort]) -> Option<u16> {
    let tcp: Vec<&EndpointPort> = ports
        .iter()
        .filter(|port| is_tcp(port.protocol.as_deref()))
        .collect();
    let only = match tcp.as_slice() {
        [only] => only.port,
        _ => None,
    };
    match wanted {
        Wanted::Named(name) => {
            let same = |port: &&&EndpointPort| {
                port.name.as_deref().filter(|name| !name.is_empty()) == name.as_deref()
            };
            match tcp.iter().find(same) {
                Some(port) => port.port,
                // A hand-written slice often leaves the name out, or the Service does.
                None if name.is_none() => only,
                None => only.filter(|_| tcp.iter().all(|port| port.name.is_none())),
            }
        }
        Wanted::Number(number) => match tcp.iter().find(|port| port.port == Some(*number)) {
            Some(port) => port.port,
            None => only,
        },
    }
}

fn is_tcp(protocol: Option<&str>) -> bool {
    protocol.is_none_or(|protocol| protocol.is_empty() || protocol == "TCP")
}
