//! Kinds that are not honoured yet, and features that hide in annotations: what to say about them.
//!
//! Where ignoring a kind would change who is served or protected, it is an error and withheld
//! (design §4).

use legate_api::{Body, Kind, Object, ObjectKey};
use legate_config::{Diagnostic, Effect};

use crate::codes;
use crate::select::object_ref;

/// What there is to say about an object because of its kind or its annotations.
pub(crate) fn report(key: &ObjectKey, object: &Object) -> Option<Diagnostic> {
    let diagnostic =
        |code, path: &str, message: &str| Diagnostic::new(code, object_ref(key), path, message);
    let unsupported = |message: &str| Some(diagnostic(codes::W_UNSUPPORTED, "spec", message));
    match (&object.body, key.kind) {
        (Body::TcpMapping(_), _) => Some(
            diagnostic(
                codes::E_UNSUPPORTED,
                "spec",
                "TCPMappings are not supported yet; no port is opened for this one",
            )
            .effect(Effect::Dropped),
        ),
        (Body::LogService(_), _) => unsupported("gRPC access logs are not supported yet"),
        (Body::TracingService(_), _) => unsupported("tracing is not supported yet"),
        (Body::ConsulResolver(_), _) => {
            unsupported("Consul is not supported yet; Mappings that use this resolver are rejected")
        }
        (Body::DevPortal(_), _) => unsupported("a developer portal is not served"),
        (Body::Ingress(value), _) if is_our_ingress(object, value) => {
            unsupported("Ingress is not supported yet; it contributes no routes")
        }
        (_, Kind::Service)
            if object
                .meta
                .annotations
                .contains_key("getambassador.io/config") =>
        {
            Some(diagnostic(
                codes::W_UNSUPPORTED,
                "metadata.annotations.getambassador.io/config",
                "config in annotations is not supported yet; write objects of their own",
            ))
        }
        _ => None,
    }
}

/// Whether an Ingress names our class.
fn is_our_ingress(object: &Object, value: &serde_json::Value) -> bool {
    let annotation = object.meta.annotations.get("kubernetes.io/ingress.class");
    let class = value
        .pointer("/spec/ingressClassName")
        .and_then(serde_json::Value::as_str);
    annotation.map(String::as_str).or(class) == Some("ambassador")
}
