//! Listeners: stacks, duplicates and bindings (spec/routing §3.1–3.3).

use std::collections::BTreeMap;
use std::sync::Arc;

use legate_api::{
    Body, HostBinding, Kind, ListenerProtocol, ListenerSpec, NamespaceFrom, Object, ObjectKey,
    SecurityModel as Written, StackLayer,
};
use legate_config::Diagnostic;
use legate_config::key::ListenerKey;
use legate_config::listener::{Listener, SecurityModel};
use legate_config::snapshot::Origin;

use super::report::{dropped, field_ignored, origin};
use crate::codes;
use crate::glob::Selector;
use crate::http_settings::http_settings;
use crate::module::ModuleSettings;
use crate::options::Options;
use crate::resources::Resources;
use crate::select::{self, object_ref};

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

/// Reads all Listeners of our id: those that can be opened, in processing order.
pub(super) fn listeners(
    resources: &Resources,
    options: &Options,
    module: &ModuleSettings,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<PreparedListener> {
    let found = select::of_kind(resources, options, Kind::Listener);
    if found.is_empty() {
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
        let port = spec.port;
        let socket = format!("{}/*/{port}", stack.transport());
        if let Some(first) = taken.get(&socket) {
            diagnostics.push(
                dropped(
                    key,
                    codes::E_LISTENER_DUPLICATE,
                    "spec.port",
                    format!(
                        "port {port} belongs to Listener {}/{}",
                        first.namespace, first.name
                    ),
                )
                .help("remove one of the two, or give it another port")
                .related(object_ref(first), "this one is opened"),
            );
            continue;
        }
        taken.insert(socket.clone(), key.clone());
        if let Some(unsupported) = stack.unsupported() {
            diagnostics.push(
                dropped(key, codes::E_UNSUPPORTED, stack.field, unsupported).help(
                    "the port is not opened, so that nothing is served in another way than meant",
                ),
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
    prepared
}

fn lower(
    object: &Arc<Object>,
    spec: &ListenerSpec,
    port: u16,
    tls: bool,
    module: &ModuleSettings,
) -> Option<Listener> {
    let security = match spec.security_model? {
        Written::Xfp => SecurityModel::ForwardedProto,
        Written::Secure => SecurityModel::Secure,
        Written::Insecure => SecurityModel::Insecure,
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
    use StackLayer::{Http, Proxy, Tcp, Tls};
    let fault = |field: &str, message: &str| {
        dropped(key, codes::E_LISTENER_STACK, field, message)
            .help("use `protocol: HTTP` or `protocol: HTTPS`")
    };
    let written = spec.protocol_stack.as_deref().unwrap_or_default();
    if written.is_empty() {
        let layers: &[StackLayer] = match spec.protocol {
            None => {
                let message = "there is neither `protocol` nor `protocolStack`";
                diagnostics.push(fault("spec", message));
                return None;
            }
            Some(ListenerProtocol::Http) => &[Http, Tcp],
            Some(ListenerProtocol::Https) => &[Tls, Http, Tcp],
            Some(ListenerProtocol::HttpProxy) => &[Proxy, Http, Tcp],
            Some(ListenerProtocol::HttpsProxy) => &[Tls, Proxy, Http, Tcp],
            Some(ListenerProtocol::Tcp) => &[Tcp],
            Some(ListenerProtocol::Tls) => &[Tls, Tcp],
            Some(ListenerProtocol::Udp) => {
                let message = "`UDP` is no protocol for a Listener; HTTP/3 needs a `protocolStack`";
                diagnostics.push(fault("spec.protocol", message));
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
    match check_stack(written) {
        Ok(()) => Some(layers_to_stack(written, "spec.protocolStack")),
        Err(message) => {
            diagnostics.push(fault("spec.protocolStack", message));
            None
        }
    }
}

fn check_stack(layers: &[StackLayer]) -> Result<(), &'static str> {
    use StackLayer::{Http, Tcp, Tls, Udp};
    let has = |layer: StackLayer| layers.contains(&layer);
    let repeated = layers
        .iter()
        .enumerate()
        .any(|(at, layer)| layers.iter().take(at).any(|earlier| earlier == layer));
    match layers.last() {
        _ if repeated => Err("a layer is there twice"),
        _ if has(Tcp) && has(Udp) => Err("a stack has one transport, TCP or UDP"),
        Some(Tcp) => Ok(()),
        Some(Udp) if !has(Http) => Err("UDP needs HTTP above it"),
        Some(Udp) if !has(Tls) => Err("HTTP over UDP needs TLS"),
        Some(Udp) => Ok(()),
        _ => Err("the last layer must be TCP or UDP"),
    }
}

fn layers_to_stack(layers: &[StackLayer], field: &'static str) -> Stack {
    let has = |layer: StackLayer| layers.contains(&layer);
    Stack {
        tls: has(StackLayer::Tls),
        http: has(StackLayer::Http),
        proxy: has(StackLayer::Proxy),
        udp: has(StackLayer::Udp),
        field,
    }
}

fn binding(
    key: &ObjectKey,
    spec: &ListenerSpec,
    options: &Options,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Binding> {
    let none = HostBinding::default();
    let written = spec.host_binding.as_ref().unwrap_or(&none);
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
        .and_then(|namespace| namespace.from);
    if from == Some(NamespaceFrom::Selector) {
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
    Some(Binding {
        namespace: (from != Some(NamespaceFrom::All)).then(|| key.namespace.clone()),
        selector: written.selector.as_ref().and_then(Selector::of),
        strict: options.strict_label_selectors,
    })
}
