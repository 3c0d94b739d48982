//! Which Modules count: the names `ambassador` and `tls` are singletons (spec/routing §§1.6, 3.1).

use std::sync::Arc;

use legate_api::{Body, Kind, Object, ObjectKey};
use legate_config::{Diagnostic, Effect};

use crate::codes;
use crate::options::Options;
use crate::resources::{Held, Resources};
use crate::select::{self, object_ref};

/// The `ambassador` Module that counts, in the version that does. Reports on all others.
pub(super) fn ambassador<'a>(
    resources: &'a Resources,
    options: &Options,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<(&'a ObjectKey, &'a Arc<Object>)> {
    let mut ambassador = Vec::new();
    let mut tls = Vec::new();
    for (key, held) in select::of_kind(resources, options, Kind::Module) {
        match key.name.as_str() {
            "ambassador" => ambassador.push((key, held)),
            "tls" => tls.push((key, held)),
            _ => diagnostics.push(
                Diagnostic::new(
                    codes::W_IGNORED,
                    object_ref(key),
                    "",
                    "only the Modules named `ambassador` and `tls` mean something",
                )
                .effect(Effect::Dropped),
            ),
        }
    }
    if let Some((key, held)) = singleton(tls, options, diagnostics) {
        old_tls(key, held, diagnostics);
    }
    singleton(ambassador, options, diagnostics).map(|(key, held)| (key, select::effective(held)))
}

/// The one in the controller's namespace, else the first; the others are errors.
fn singleton<'a>(
    found: Vec<(&'a ObjectKey, &'a Held)>,
    options: &Options,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<(&'a ObjectKey, &'a Held)> {
    let winner = found
        .iter()
        .find(|(key, _)| key.namespace == options.namespace)
        .or_else(|| found.first())
        .copied()?;
    for (key, _) in found.iter().filter(|(key, _)| *key != winner.0) {
        diagnostics.push(
            Diagnostic::new(
                codes::E_MODULE_DUPLICATE,
                object_ref(key),
                "",
                format!(
                    "Module `{}` of namespace `{}` is used instead",
                    key.name, winner.0.namespace
                ),
            )
            .effect(Effect::Dropped)
            .help("keep one, in the controller's namespace")
            .related(object_ref(winner.0), "this one is used"),
        );
    }
    Some(winner)
}

/// The `tls` Module (spec/routing §3.15): a server context without a Host terminates nothing, and
/// origination contexts by its way are not supported.
fn old_tls(key: &ObjectKey, held: &Held, diagnostics: &mut Vec<Diagnostic>) {
    let Body::Module(spec) = &select::effective(held).body else {
        return;
    };
    for name in spec.config.keys() {
        let (code, help) = match name.as_str() {
            "server" | "client" => (codes::W_IGNORED, "use a Host with `tlsSecret`"),
            _ => (codes::W_UNSUPPORTED, "use a TLSContext of that name"),
        };
        diagnostics.push(
            Diagnostic::new(
                code,
                object_ref(key),
                format!("spec.config.{name}"),
                "the `tls` Module is an old form that has no effect",
            )
            .effect(Effect::FieldIgnored)
            .help(help),
        );
    }
}
