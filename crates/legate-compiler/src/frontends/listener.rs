//! Listeners: stacks, duplicates and bindings (spec/routing §3.1–3.3).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use legate_api::{Body, Kind, ListenerSpec, Object, ObjectKey};
use legate_config::key::ListenerKey;
use legate_config::listener::{Listener, SecurityModel};
use legate_config::snapshot::Origin;
use legate_config::{Diagnostic, Effect};

use super::report::{dropped, field_ignored, on, origin};
use crate::codes;
use crate::glob::Selector;
use crate::http_settings::http_settings;
use crate::module::ModuleSettings;
use crate::options::Options;
use crate::resources::Resources;
use crate::select::{self, object_ref};

/// What the Listeners of our id come to.
pub(super) struct Listeners {
    /// Those that can be opened, in processing order.
    pub(super) prepared: Vec<PreparedListener>,
    /// Whether there is any Listener of our id, usable or not.
    pub(super) declared: bool,
}

/// A Listener that can be opened if a Host binds to it.
pub(super) struct PreparedListener {
    pub(super) key: ListenerKey,
    pub(super) object: ObjectKey,
    pub(super) origin: Origin,
    pub(super) listener: Listener,
    binding: Binding,
}

/// Which Hosts a Listener binds.
struct Binding {
    /// `None` = those of all namespaces.
    namespace: Option<String>,
    selector: Option<Selector>,
    strict: bool,
}

impl PreparedListener {
    /// Whether a Host binds to this.
    pub(super) fn binds(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        let Binding {
            namespace: wanted,
            selector,
            strict,
        } = &self.binding;
        wanted.as_deref().is_none_or(|wanted| wanted == namespace)
            && selector
                .as_ref()
                .is_none_or(|selector| selector.matches(labels, *strict))
    }
}

/// Reads all Listeners of our id.
pub(super) fn listeners(
    resources: &Resources,
    options: &Options,
    module: &ModuleSettings,
    diagnostics: &mut Vec<Diagnostic>,
) -> Listeners {
    let found = select::of_kind(resources, options, Kind::Listener);
    let declared = !found.is_empty();
    if !declared {
        diagnostics.push(
            Diagnostic::global(
                codes::W_NO_LISTENER,
                "there is no Listener, so no port is opened",
            )
            .help("add a Listener, for instance port 8080 with protocol HTTP"),
        );
    }
    let mut prepared: Vec<PreparedListener> = Vec::new();
    let mut taken: BTreeMap<String, ObjectKey> = BTreeMap::new();
    for (key, held) in found {
        let object = select::effective(held);
        if object.is_rejected() {
            continue;
        }
        let Body::Listener(spec) = &object.body else {
            continue;
        };
        let Some(stack) = stack(key, spec, diagnostics) else {
            continue;
        };
        let Some(port) = u16::try_from(spec.port).ok().filter(|port| *port > 0) else {
            diagnostics.push(dropped(
                key,
                codes::E_SCHEMA,
                "spec.port",
                format!("{} is no port", spec.port),
            ));
            continue;
        };
        let socket = format!("{}/*/{port}", stack.transport());
        if let Some(first) = taken.get(&socket) {
            diagnostics.push(
                dropped(
                    key,
                    codes::E_LISTENER_DUPLICATE,
                    "spec.port",
                    format!("port {port} belongs to Listener {}/{}", first.namespace, first.name),
                )
                .help("remove one of the two, or give it another port")
                .related(object_ref(first), "this one is opened"),
            );
            continue;
        }
        taken.insert(socket.clone(), key.clone());
        if let Some(unsupported) = stack.unsupported() {
            diagnostics.push(
                dropped(key, codes::E_UNSUPPORTED, stack.field, unsupported)
                    .help("the port is not opened, so that nothing is served in another way than meant"),
            );
            continue;
        }
        let Some(binding) = binding(key, spec, options, diagnostics) else {
            continue;
        };
        if let Some(listener) = lower(object, spec, port, stack.tls, module) {
            prepared.push(PreparedListener {
                key: ListenerKey::from(socket),
                object: key.clone(),
                origin: origin(object),
                listener,
                binding,
            });
        }
    }
    Listeners { prepared, declared }
}

fn lower(
    object: &Arc<Object>,
    spec: &ListenerSpec,
    port: u16,
    tls: bool,
    module: &ModuleSettings,
) -> Option<Listener> {
    let security = match spec.security_model.as_str() {
        "XFP" => SecurityModel::ForwardedProto,
        "SECURE" => SecurityModel::Secure,
        "INSECURE" => SecurityModel::Insecure,
        _ => return None,
    };
    let stats_prefix = match spec.stats_prefix.as_deref() {
        Some(prefix) if !prefix.is_empty() => prefix,
        _ if tls => "ingress_https",
        _ => "ingress_http",
    };
    Some(Listener {
        name: format!("{}/{}", object.meta.namespace, object.meta.name),
        address: None,
        port,
        tls,
        security,
        http: http_settings(module, spec),
        stats_prefix: stats_prefix.to_owned(),
    })
}

/// The layers of a Listener.
struct Stack {
    tls: bool,
    http: bool,
    proxy: bool,
    udp: bool,
    /// The field that said so.
    field: &'static str,
}

impl Stack {
    fn transport(&self) -> &'static str {
        if self.udp { "udp" } else { "tcp" }
    }

    /// Why the stack is not opened yet.
    fn unsupported(&self) -> Option<&'static str> {
        if self.udp {
            Some("HTTP/3 (UDP) is not supported yet")
        } else if self.proxy {
            Some("the PROXY protocol is not supported yet")
        } else if !self.http {
            Some("a stack without HTTP is not supported yet")
        } else {
            None
        }
    }
}

fn stack(key: &ObjectKey, spec: &ListenerSpec, diagnostics: &mut Vec<Diagnostic>) -> Option<Stack> {
    let written: Vec<&str> = spec.protocol_stack.iter().flatten().map(String::as_str).collect();
    let fault = |field: &str, message: String| {
        dropped(key, codes::E_LISTENER_STACK, field, message)
            .help("use `protocol: HTTP` or `protocol: HTTPS`")
    };
    if written.is_empty() {
        let layers: &[&str] = match spec.protocol.as_deref() {
            None => {
                diagnostics.push(fault(
                    "spec",
                    "there is neither `protocol` nor `protocolStack`".to_owned(),
                ));
                return None;
            }
            Some("HTTP") => &["HTTP", "TCP"],
            Some("HTTPS") => &["TLS", "HTTP", "TCP"],
            Some("HTTPPROXY") => &["PROXY", "HTTP", "TCP"],
            Some("HTTPSPROXY") => &["TLS", "PROXY", "HTTP", "TCP"],
            Some("TCP") => &["TCP"],
            Some("TLS") => &["TLS", "TCP"],
            Some(other) => {
                diagnostics.push(fault("spec.protocol", format!("`{other}` is no protocol for a Listener")));
                return None;
            }
        };
        return Some(layers_to_stack(layers, "spec.protocol"));
    }
    if spec.protocol.is_some() {
        diagnostics.push(field_ignored(
            key,
            codes::E_LISTENER_STACK,
            "spec.protocol",
            "`protocol` has no effect beside `protocolStack`",
        ));
    }
    match check_stack(&written) {
        Ok(()) => Some(layers_to_stack(&written, "spec.protocolStack")),
        Err(message) => {
            diagnostics.push(fault("spec.protocolStack", message));
            None
        }
    }
}

fn check_stack(layers: &[&str]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for layer in layers {
        if !matches!(*layer, "HTTP" | "PROXY" | "TLS" | "TCP" | "UDP") {
            return Err(format!("`{layer}` is no layer"));
        }
        if !seen.insert(*layer) {
            return Err(format!("`{layer}` is there twice"));
        }
    }
    match layers.last() {
        Some(&"TCP") if seen.contains("UDP") => {
            Err("a stack has one transport, TCP or UDP".to_owned())
        }
        Some(&"TCP") => Ok(()),
        Some(&"UDP") if seen.contains("TCP") => {
            Err("a stack has one transport, TCP or UDP".to_owned())
        }
        Some(&"UDP") if !seen.contains("HTTP") => Err("UDP needs HTTP above it".to_owned()),
        Some(&"UDP") if !seen.contains("TLS") => Err("HTTP over UDP needs TLS".to_owned()),
        Some(&"UDP") => Ok(()),
        _ => Err("the last layer must be TCP or UDP".to_owned()),
    }
}

fn layers_to_stack(layers: &[&str], field: &'static str) -> Stack {
    let has = |layer: &str| layers.contains(&layer);
    Stack {
        tls: has("TLS"),
        http: has("HTTP"),
        proxy: has("PROXY"),
        udp: has("UDP"),
        field,
    }
}

fn binding(
    key: &ObjectKey,
    spec: &ListenerSpec,
    options: &Options,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Binding> {
    let written = &spec.host_binding;
    if written.namespace.is_none() && written.selector.is_none() {
        diagnostics.push(
            dropped(
                key,
                codes::E_LISTENER_STACK,
                "spec.hostBinding",
                "`hostBinding` has neither `namespace` nor `selector`",
            )
            .help("say `hostBinding: {namespace: {from: ALL}}` to bind every Host"),
        );
        return None;
    }
    let from = written
        .namespace
        .as_ref()
        .and_then(|namespace| namespace.from.as_deref());
    if from == Some("SELECTOR") {
        diagnostics.push(field_ignored(
            key,
            codes::E_UNSUPPORTED,
            "spec.hostBinding.namespace.from",
            "`SELECTOR` is not implemented; Hosts of the Listener's own namespace bind",
        ));
    }
    if let Some(namespace) = &written.namespace
        && namespace.selector.is_some()
    {
        diagnostics.push(field_ignored(
            key,
            codes::W_IGNORED,
            "spec.hostBinding.namespace.selector",
            "a selector of namespaces is not implemented",
        ));
    }
    let selector = written.selector.as_ref().and_then(Selector::of);
    if let Some(unknown) = selector.as_ref().and_then(Selector::unknown_operator) {
        diagnostics.push(
            on(
                key,
                codes::E_LISTENER_STACK,
                "spec.hostBinding.selector.matchExpressions",
                format!("`{unknown}` is no operator, so the selector matches nothing"),
            )
            .effect(Effect::FieldIgnored)
            .help("use In, NotIn, Exists or DoesNotExist"),
        );
    }
    Some(Binding {
        namespace: (from != Some("ALL")).then(|| key.namespace.clone()),
        selector,
        strict: options.strict_label_selectors,
    })
}
