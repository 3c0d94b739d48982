//! Hosts by themselves: names, selectors, insecure action (spec/routing §1.1). Duplicates, TLS
//! chains and bindings are decided per Listener, in `chains`.

use std::sync::Arc;

use legate_api::{Body, HostSpec, InsecureAction as Written, Kind, Object, ObjectKey};
use legate_config::Diagnostic;
use legate_config::listener::InsecureAction;
use legate_config::snapshot::Origin;

use super::host_tls::{HostTls, TlsResolver};
use super::report::{field_ignored, on, origin};
use crate::codes;
use crate::glob::{HostGlob, Selector};
use crate::options::{MissingRefs, Options};
use crate::resources::Resources;
use crate::select;

/// A Host, resolved, before it meets Listeners and other Hosts.
pub(super) struct PreparedHost {
    /// `None` for the synthetic one.
    pub(super) object: Option<ObjectKey>,
    /// The version that serves; labels are read from it.
    pub(super) version: Option<Arc<Object>>,
    pub(super) namespace: String,
    pub(super) origin: Origin,
    /// `namespace/name`
    pub(super) name: String,
    pub(super) glob: HostGlob,
    pub(super) selector: Option<Selector>,
    pub(super) attaches: bool,
    pub(super) insecure: InsecureAction,
    pub(super) tls: HostTls,
}

/// Reads all Hosts of our id, in processing order.
pub(super) fn hosts(
    resources: &Resources,
    options: &Options,
    tls: &mut TlsResolver<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<PreparedHost> {
    let mut out = Vec::new();
    for (key, held) in select::of_kind(resources, options, Kind::Host) {
        let object = select::effective(held);
        let Body::Host(spec) = &object.body else {
            continue;
        };
        // Without its hostname nobody knows which names the Host would own.
        if object.is_rejected() && schema_breaks(object, &["hostname"]) {
            continue;
        }
        say_ignored(key, spec, diagnostics);
        check_acme(key, spec, tls, options, diagnostics);
        let glob = HostGlob::parse(spec.hostname.as_deref().unwrap_or("*"));
        if glob.is_dead() {
            diagnostics.push(
                on(
                    key,
                    codes::W_HOST_GLOB,
                    "spec.hostname",
                    format!("`{glob}` matches no real host"),
                )
                .help("a `*` counts only as the whole, the first or the last character"),
            );
        }
        let selectors = spec.mapping_selector.as_ref().or(spec.selector.as_ref());
        let selector = selectors.and_then(Selector::of);
        out.push(PreparedHost {
            object: Some(key.clone()),
            version: Some(Arc::clone(object)),
            namespace: key.namespace.clone(),
            origin: origin(object),
            name: format!("{}/{}", key.namespace, key.name),
            glob,
            selector,
            // A selector that could not be read would otherwise select everything.
            attaches: !(object.is_rejected()
                && schema_breaks(object, &["mappingSelector", "selector"])),
            insecure: insecure_action(spec),
            tls: tls.host(key, held, object),
        });
    }
    out
}

/// Whether what broke an object's schema is at or below one of these fields of `spec`, or the
/// whole of it.
pub(super) fn schema_breaks(object: &Object, fields: &[&str]) -> bool {
    object
        .issues
        .iter()
        .filter(|issue| issue.is_error())
        .any(|issue| match issue.path.strip_prefix("spec.") {
            Some(rest) => {
                let field = rest.split(['.', '[']).next().unwrap_or(rest);
                fields.contains(&field)
            }
            None => true,
        })
}

fn insecure_action(spec: &HostSpec) -> InsecureAction {
    let action = spec
        .request_policy
        .as_ref()
        .and_then(|policy| policy.insecure.as_ref())
        .and_then(|insecure| insecure.action);
    match action {
        Some(Written::Route) => InsecureAction::Route,
        Some(Written::Reject) => InsecureAction::Reject,
        Some(Written::Redirect) | None => InsecureAction::Redirect,
    }
}

fn say_ignored(key: &ObjectKey, spec: &HostSpec, diagnostics: &mut Vec<Diagnostic>) {
    let additional_port = spec
        .request_policy
        .as_ref()
        .and_then(|policy| policy.insecure.as_ref())
        .and_then(|insecure| insecure.additional_port);
    if let Some(port) = additional_port {
        diagnostics.push(
            field_ignored(
                key,
                codes::W_IGNORED,
                "spec.requestPolicy.insecure.additionalPort",
                "it opens no port",
            )
            .help(format!("add a Listener for port {port}")),
        );
    }
    if spec.preview_url.is_some() {
        diagnostics.push(field_ignored(
            key,
            codes::W_IGNORED,
            "spec.previewUrl",
            "preview URLs are not supported",
        ));
    }
    if spec.mapping_selector.is_some() && spec.selector.is_some() {
        diagnostics.push(field_ignored(
            key,
            codes::W_IGNORED,
            "spec.selector",
            "it has no effect beside `mappingSelector`",
        ));
    }
}

/// There is no ACME client; only the Secret of the account key is looked for.
fn check_acme(
    key: &ObjectKey,
    spec: &HostSpec,
    tls: &mut TlsResolver<'_>,
    options: &Options,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let Some(acme) = &spec.acme_provider else {
        return;
    };
    // `authority: none` says that no ACME is wanted: nothing to warn of.
    if acme.authority.as_deref() != Some("none") {
        diagnostics.push(
            field_ignored(
                key,
                codes::W_IGNORED,
                "spec.acmeProvider",
                "there is no ACME client: certificates come from outside, e.g. from cert-manager",
            )
            .help("say `acmeProvider: {authority: none}`, or leave it out"),
        );
    }
    let Some(name) = acme
        .private_key_secret
        .as_ref()
        .and_then(|secret| secret.name.as_deref())
        .filter(|name| !name.is_empty())
    else {
        return;
    };
    let secret = ObjectKey {
        kind: Kind::Secret,
        namespace: key.namespace.clone(),
        name: name.to_owned(),
    };
    if tls.has_secret(&secret) {
        return;
    }
    let code = match options.missing {
        MissingRefs::Info => codes::I_NOT_IN_FOLDER,
        MissingRefs::Error => codes::E_SECRET_MISSING,
    };
    diagnostics.push(on(
        key,
        code,
        "spec.acmeProvider.privateKeySecret.name",
        format!("there is no Secret {}/{name}", key.namespace),
    ));
}
