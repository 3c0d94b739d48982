//! The store of shared limits: how it is reached, and what it is told to let us in.

use std::sync::Arc;

use legate_api::mapping::MappingSpec;
use legate_api::{Body, Kind, Object, ObjectKey, RateLimitStore};
use legate_config::rules::LimitStore;
use legate_config::secret::{Credential, Password};
use legate_config::{CredentialKey, Entry};

use super::LimitPass;
use crate::codes;
use crate::lower::Report;
use crate::options::{MissingRefs, Mode};
use crate::resolve::{Context, Dependency, resolve};
use crate::select::is_visible;
use crate::side;

/// The port of Redis.
const PORT: u16 = 6379;
/// Milliseconds for an answer.
const TIMEOUT_MS: u64 = 20;

/// Resolves the store of a policy; `None` where it cannot be reached, which is reported: each
/// gateway counts for itself then.
pub(super) fn store(
    key: &ObjectKey,
    object: &Arc<Object>,
    store: &RateLimitStore,
    context: &Context<'_>,
    pass: &mut LimitPass,
    report: &mut Report,
) -> Option<LimitStore> {
    let mut own = Report::new(crate::select::object_ref(key));
    let path = "spec.store.service";
    let service = side::service(&store.service, path, codes::E_RL_CONFIG, &mut own);
    let found = service.and_then(|mut service| {
        service.port.get_or_insert(PORT);
        let mapping = MappingSpec {
            service: store.service.clone(),
            tls: store.tls.clone(),
            stats_name: Some(side::stats_name(&store.service)),
            ..MappingSpec::default()
        };
        let lowered = side::lowered(key, object, service, mapping);
        let mut resolved = resolve(&lowered, context);
        pass.dependencies.append(&mut resolved.dependencies);
        for diagnostic in &mut resolved.diagnostics {
            if let Some(field) = diagnostic.path.strip_prefix("spec.") {
                diagnostic.path = format!("spec.store.{field}");
            }
        }
        own.diagnostics.append(&mut resolved.diagnostics);
        resolved.upstream
    });
    // A fault costs the store, not the limits.
    for diagnostic in &mut own.diagnostics {
        if diagnostic.effect == legate_config::Effect::Dropped {
            diagnostic.effect = legate_config::Effect::FieldIgnored;
        }
    }
    report.diagnostics.append(&mut own.diagnostics);
    let upstream = found?;
    let credential = store
        .secret_name
        .as_deref()
        .filter(|name| !name.is_empty())
        .and_then(|name| credential(name, &key.namespace, context, pass, report));
    let timeout = store.timeout_ms.and_then(|ms| u64::try_from(ms).ok());
    let found = LimitStore {
        cluster: upstream.key.clone(),
        credential,
        timeout_ms: timeout.unwrap_or(TIMEOUT_MS).max(1),
    };
    pass.upstreams.push(upstream);
    Some(found)
}

/// Reads a Secret of user name and password.
fn credential(
    name: &str,
    namespace: &str,
    context: &Context<'_>,
    pass: &mut LimitPass,
    report: &mut Report,
) -> Option<CredentialKey> {
    let key = ObjectKey {
        kind: Kind::Secret,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    let path = "spec.store.secretName";
    pass.dependencies.push(Dependency::Object(key.clone()));
    let held = context
        .resources
        .get(&key)
        .filter(|_| is_visible(&key, context.options));
    let Some(held) = held else {
        let options = context.options;
        let message = format!("there is no Secret `{namespace}/{name}`; no password is sent");
        if options.missing == MissingRefs::Error || options.mode == Mode::Cluster {
            report.ignored(codes::E_SECRET_MISSING, path, message);
        } else {
            report.notice(codes::I_NOT_IN_FOLDER, path, message);
        }
        return None;
    };
    let text = |field: &str| -> Option<String> {
        let Body::Secret(secret) = &held.current.body else {
            return None;
        };
        let text = String::from_utf8(secret.data.get(field)?.clone()).ok()?;
        // Files that were made with an editor end with a line break.
        Some(text.trim_end_matches(['\r', '\n']).to_owned())
    };
    let Some(password) = text("password").filter(|password| !password.is_empty()) else {
        report.ignored(
            codes::E_SECRET_INVALID,
            path,
            format!("the Secret `{namespace}/{name}` has no text under `password`; none is sent"),
        );
        return None;
    };
    let credential = Credential {
        username: text("username").unwrap_or_default(),
        password: Password::new(password, &context.options.hash_key),
    };
    let entry = Entry::new(credential, Vec::new());
    let key = CredentialKey::from(format!("{namespace}/{name}"));
    pass.credentials.insert(key.clone(), entry);
    Some(key)
}
