//! Reading the core kinds, leniently: what has a wrong shape is as if absent.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{E_SCHEMA, base64, check};
use crate::core::{
    ConfigMapBody, EndpointAddress, EndpointPort, EndpointSliceBody, EndpointSubset, EndpointsBody,
    SecretBody, ServiceBody, ServicePort, SliceEndpoint,
};
use crate::object::{Body, Issue, Kind, Meta};

type Fields = Map<String, Value>;

/// The body of a core kind.
pub(super) fn body(kind: Kind, meta: &Meta, document: Fields, issues: &mut Vec<Issue>) -> Body {
    match kind {
        Kind::Service => Body::Service(service(&document)),
        Kind::EndpointSlice => Body::EndpointSlice(endpoint_slice(meta, &document)),
        Kind::Endpoints => Body::Endpoints(EndpointsBody {
            subsets: objects(&document, "subsets").map(subset).collect(),
        }),
        Kind::Secret => Body::Secret(secret(&document, issues)),
        Kind::ConfigMap => Body::ConfigMap(ConfigMapBody {
            data: entries(&document, "data")
                .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .collect(),
            binary_data: decoded(&document, "binaryData", issues),
        }),
        Kind::Ingress => Body::Ingress(untyped(document, issues)),
        Kind::IngressClass => Body::IngressClass(untyped(document, issues)),
        _ => Body::Namespace,
    }
}

fn untyped(document: Fields, issues: &mut Vec<Issue>) -> Value {
    let mut document = Value::Object(document);
    if check::fits_depth(&document, check::MAX_DEPTH) {
        check::settle_numbers(&mut document);
        return document;
    }
    issues.push(Issue {
        code: E_SCHEMA,
        path: "spec".to_owned(),
        message: format!("is nested deeper than {} levels", check::MAX_DEPTH),
        help: None,
    });
    Value::Object(Map::new())
}

fn service(document: &Fields) -> ServiceBody {
    let empty = Map::new();
    let spec = object(document, "spec").unwrap_or(&empty);
    ServiceBody {
        type_: string(spec, "type"),
        cluster_ip: string(spec, "clusterIP").filter(|ip| !ip.is_empty() && ip != "None"),
        cluster_ips: strings(spec, "clusterIPs")
            .into_iter()
            .filter(|ip| !ip.is_empty() && ip != "None")
            .collect(),
        external_name: string(spec, "externalName"),
        ports: objects(spec, "ports").filter_map(service_port).collect(),
    }
}

fn service_port(port: &Fields) -> Option<ServicePort> {
    Some(ServicePort {
        name: string(port, "name"),
        port: number(port, "port")?,
        target_port: match port.get("targetPort") {
            Some(Value::String(name)) => Some(name.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        },
        protocol: string(port, "protocol"),
        app_protocol: string(port, "appProtocol"),
    })
}

fn endpoint_slice(meta: &Meta, document: &Fields) -> EndpointSliceBody {
    EndpointSliceBody {
        address_type: string(document, "addressType"),
        service: meta.labels.get("kubernetes.io/service-name").cloned(),
        endpoints: objects(document, "endpoints").map(slice_endpoint).collect(),
        ports: objects(document, "ports").map(endpoint_port).collect(),
    }
}

fn slice_endpoint(endpoint: &Fields) -> SliceEndpoint {
    let conditions = object(endpoint, "conditions");
    let condition = |name: &str| conditions?.get(name)?.as_bool();
    SliceEndpoint {
        addresses: strings(endpoint, "addresses"),
        ready: condition("ready"),
        serving: condition("serving"),
        terminating: condition("terminating"),
        zone: string(endpoint, "zone"),
    }
}

fn endpoint_port(port: &Fields) -> EndpointPort {
    EndpointPort {
        name: string(port, "name"),
        port: number(port, "port"),
        protocol: string(port, "protocol"),
        app_protocol: string(port, "appProtocol"),
    }
}

fn subset(subset: &Fields) -> EndpointSubset {
    EndpointSubset {
        addresses: objects(subset, "addresses").filter_map(address).collect(),
        not_ready_addresses: objects(subset, "notReadyAddresses")
            .filter_map(address)
            .collect(),
        ports: objects(subset, "ports").map(endpoint_port).collect(),
    }
}

fn address(address: &Fields) -> Option<EndpointAddress> {
    Some(EndpointAddress {
        ip: string(address, "ip")?,
        hostname: string(address, "hostname"),
    })
}

fn secret(document: &Fields, issues: &mut Vec<Issue>) -> SecretBody {
    let mut data = decoded(document, "data", issues);
    for (key, value) in entries(document, "stringData") {
        if let Some(text) = value.as_str() {
            data.insert(key.clone(), text.as_bytes().to_vec());
        }
    }
    SecretBody {
        type_: string(document, "type"),
        data,
    }
}

/// Base64 values; one that is none is reported, without its text.
fn decoded(document: &Fields, name: &str, issues: &mut Vec<Issue>) -> BTreeMap<String, Vec<u8>> {
    let mut data = BTreeMap::new();
    for (key, value) in entries(document, name) {
        match value {
            Value::String(text) => match base64::decode(text) {
                Some(bytes) => {
                    data.insert(key.clone(), bytes);
                }
                None => issues.push(Issue {
                    code: E_SCHEMA,
                    path: format!("{name}.{key}"),
                    message: "is not valid base64".to_owned(),
                    help: (name == "data").then(|| {
                        "encode it, or write it as plain text under `stringData`".to_owned()
                    }),
                }),
            },
            Value::Null => {
                data.insert(key.clone(), Vec::new());
            }
            _ => issues.push(Issue {
                code: E_SCHEMA,
                path: format!("{name}.{key}"),
                message: "expected a string in base64".to_owned(),
                help: None,
            }),
        }
    }
    data
}

fn object<'a>(from: &'a Fields, name: &str) -> Option<&'a Fields> {
    from.get(name)?.as_object()
}

fn entries<'a>(from: &'a Fields, name: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    object(from, name).into_iter().flatten()
}

fn objects<'a>(from: &'a Fields, name: &str) -> impl Iterator<Item = &'a Fields> {
    let items = from.get(name).and_then(Value::as_array);
    items.into_iter().flatten().filter_map(Value::as_object)
}

fn string(from: &Fields, name: &str) -> Option<String> {
    from.get(name)?.as_str().map(str::to_owned)
}

fn strings(from: &Fields, name: &str) -> Vec<String> {
    let items = from.get(name).and_then(Value::as_array);
    items
        .into_iter()
        .flatten()
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}

fn number(from: &Fields, name: &str) -> Option<u16> {
    match from.get(name)? {
        Value::Number(number) => u16::try_from(check::as_integer(number)?).ok(),
        _ => None,
    }
}
