//! What the tests of this module share.

use legate_api::{Decoded, Object, ObjectKey};
use serde_json::json;

use super::*;

mod fake;
mod live;

pub(super) fn options() -> KubeOptions {
    KubeOptions {
        watch_namespaces: Vec::new(),
        label_selector: None,
        field_selector: None,
        secrets: SecretAccess::All,
        endpoints: true,
        cluster_scoped: true,
        timing: Timing::default(),
    }
}

/// A Mapping of that name in the namespace `x`.
pub(super) fn key(name: &str) -> ObjectKey {
    ObjectKey {
        kind: Kind::Mapping,
        namespace: "x".into(),
        name: name.into(),
    }
}

pub(super) fn object(name: &str, generation: i64) -> Object {
    let decoded = legate_api::decode(
        json!({
            "apiVersion": "getambassador.io/v3alpha1", "kind": "Mapping",
            "metadata": {"namespace": "x", "name": name, "generation": generation},
            "spec": {"prefix": "/", "service": "s", "hostname": "*"},
        }),
        "",
    );
    let Decoded::Object(object) = decoded else {
        panic!("{decoded:?}");
    };
    object
}
