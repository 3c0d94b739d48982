//! The Host that is made up when there is none (spec/routing §3.11).

use legate_api::{Kind, ObjectKey};
use legate_config::listener::InsecureAction;
use legate_config::snapshot::Origin;
use legate_config::{Diagnostic, ObjectRef};

use super::host::PreparedHost;
use super::host_tls::{HostTls, TlsResolver};
use crate::codes;
use crate::glob::HostGlob;
use crate::options::Options;
use crate::resources::Resources;
use crate::select;

/// Name of the Secret that gives the synthetic Host TLS.
const FALLBACK_SECRET: &str = "fallback-self-signed-cert";
/// Name of the synthetic Host where one is needed.
const NAME: &str = "default-host";

/// The synthetic Host, when no Host of our id exists, valid or not, nor ever did.
pub(super) fn host(
    resources: &Resources,
    options: &Options,
    tls: &mut TlsResolver<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<PreparedHost> {
    if !options.allow_synthetic_host || !select::of_kind(resources, options, Kind::Host).is_empty()
    {
        return None;
    }
    let namespace = options.namespace.clone();
    let secret = ObjectKey {
        kind: Kind::Secret,
        namespace: namespace.clone(),
        name: FALLBACK_SECRET.to_owned(),
    };
    let host = ObjectKey {
        kind: Kind::Host,
        namespace: namespace.clone(),
        name: NAME.to_owned(),
    };
    let (tls, insecure, message) = if tls.has_secret(&secret) {
        (
            tls.plain_secret(&host, &secret),
            InsecureAction::Redirect,
            "there is no Host: every hostname is served with the fallback certificate",
        )
    } else {
        (
            HostTls::None,
            InsecureAction::Route,
            "there is no Host: every hostname is served, in cleartext",
        )
    };
    diagnostics.push(
        Diagnostic::global(codes::W_NO_HOST, message)
            .help("add a Host with the hostname to serve, and a `tlsSecret`"),
    );
    Some(PreparedHost {
        object: None,
        version: None,
        origin: Origin {
            object: ObjectRef {
                kind: Kind::Host.as_str().to_owned(),
                namespace: namespace.clone(),
                name: NAME.to_owned(),
            },
            generation: 0,
        },
        name: format!("{namespace}/{NAME}"),
        namespace,
        glob: HostGlob::Any,
        selector: None,
        attaches: true,
        insecure,
        tls,
    })
}
