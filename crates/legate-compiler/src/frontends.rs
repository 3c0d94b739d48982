//! Listeners and Hosts to listeners, filter chains and virtual hosts (spec/routing §3.1–3.12).
//!
//! Not here: which Mappings attach, and to which route sets; a [`FrontendHost`] says what that
//! decision needs.

mod chains;
mod host;
mod host_tls;
mod listener;
mod report;
mod synthetic;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use legate_api::ObjectKey;
use legate_config::Diagnostic;
use legate_config::key::{CaKey, CertificateKey, ChainKey, CrlKey, ListenerKey, VirtualHostKey};
use legate_config::listener::{FilterChain, Listener, VirtualHost};
use legate_config::secret::{CaBundle, Certificate, RevocationList};
use legate_config::snapshot::Origin;
use legate_config::table::Table;

use crate::glob::{HostGlob, Selector};
use crate::module::ModuleSettings;
use crate::options::Options;
use crate::resources::Resources;
use crate::secrets::SecretCache;

/// Everything that Listeners, Hosts and what they refer to become.
#[derive(Debug, Default)]
pub(crate) struct Frontends {
    /// Sockets to open.
    pub(crate) listeners: Table<ListenerKey, Listener>,
    /// Filter chains of these listeners.
    pub(crate) chains: Table<ChainKey, FilterChain>,
    /// One per accepted Host, in the order of spec/routing §3.1; the synthetic one included. Hosts
    /// whose hostname another Host owns are not among them.
    pub(crate) hosts: Vec<FrontendHost>,
    /// Server certificates that the chains name.
    pub(crate) certificates: Table<CertificateKey, Certificate>,
    /// Authorities for client certificates that the chains name.
    pub(crate) ca_bundles: Table<CaKey, CaBundle>,
    /// Revocation lists that the chains name.
    pub(crate) revocation_lists: Table<CrlKey, RevocationList>,
    /// What there is to say, about Listeners, Hosts, TLSContexts and their Secrets.
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// Secrets that were asked for, absent ones included. When one of them changes, or any
    /// Listener, Host, TLSContext or Module, the front ends must be compiled again.
    pub(crate) reads: BTreeSet<ObjectKey>,
}

/// One accepted Host.
#[derive(Debug, Clone)]
pub(crate) struct FrontendHost {
    /// The object; `None` for the synthetic Host (spec/routing §3.11).
    pub(crate) object: Option<ObjectKey>,
    /// Where its entries come from.
    pub(crate) origin: Origin,
    /// Its hostname.
    pub(crate) glob: HostGlob,
    /// Its `mappingSelector`, or else `selector`.
    pub(crate) selector: Option<Selector>,
    /// False for a rejected Host: it owns its name, so that nobody else answers for it, but no
    /// Mapping attaches and everything is 404.
    pub(crate) attaches: bool,
    /// Its virtual host on each Listener that binds it, without route sets. Empty when no Listener
    /// does (`E-HOST-UNBOUND`, already reported).
    pub(crate) virtual_hosts: Vec<(VirtualHostKey, VirtualHost)>,
}

/// Compiles all Listeners and Hosts.
pub(crate) fn frontends(
    resources: &Resources,
    options: &Options,
    module: &ModuleSettings,
    cache: &SecretCache,
) -> Frontends {
    let mut out = Frontends::default();
    let listeners = listener::listeners(resources, options, module, &mut out.diagnostics);
    let mut tls = host_tls::TlsResolver::new(resources, options, module, cache);
    let mut hosts = host::hosts(resources, options, &mut tls, &mut out.diagnostics);
    if let Some(host) = synthetic::host(resources, options, &mut tls, &mut out.diagnostics) {
        hosts.push(host);
    }
    chains::assemble(listeners, hosts, &mut out);
    tls.finish(&mut out);
    cache.sweep(resources);
    out
}
