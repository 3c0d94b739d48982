//! TLS of Hosts: the table of spec/routing §3.12. Broken settings never serve and never vanish:
//! the Host keeps its cleartext side and its handshakes are refused.

mod client_auth;
mod contexts;
mod material;
mod source;

use source::Source;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use legate_api::{Body, HostSpec, Kind, Object, ObjectKey};
use legate_config::key::{CaKey, CertificateKey, CrlKey};
use legate_config::listener::{ChainTls, DownstreamTls};
use legate_config::secret::{CaBundle, Certificate, RevocationList};
use legate_config::{Diagnostic, Effect, Entry};

use super::Frontends;
use super::report::field_ignored;
use crate::codes;
use crate::glob::HostGlob;
use crate::module::ModuleSettings;
use crate::options::{Mode, Options};
use crate::resources::{Held, Resources};
use crate::secrets::{SecretCache, SecretReader};
use crate::select;
use crate::tls_context::{Purpose, TlsInput, TlsParameters};

/// What becomes of a Host's TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HostTls {
    /// It asks for none.
    None,
    /// It terminates.
    Terminate(DownstreamTls),
    /// It is broken, because of this: handshakes are refused.
    Refuse(String),
    /// The Secret is gone, because of this: gateways that have its content go on with it.
    Hold(String),
}

/// Resolves TLS settings and collects the key material that they name.
pub(super) struct TlsResolver<'a> {
    resources: &'a Resources,
    options: &'a Options,
    module: &'a ModuleSettings,
    reader: SecretReader<'a>,
    certificates: BTreeMap<CertificateKey, Entry<Certificate>>,
    ca_bundles: BTreeMap<CaKey, Entry<CaBundle>>,
    revocation_lists: BTreeMap<CrlKey, Entry<RevocationList>>,
    /// Names of all TLSContexts: most Hosts have none of their own, and looking for it is dear.
    context_names: BTreeSet<&'a str>,
    /// TLSContexts that some Host uses.
    used_contexts: BTreeSet<ObjectKey>,
    /// Secrets already reported as broken, with the part at fault.
    reported: BTreeSet<(ObjectKey, String)>,
    diagnostics: Vec<Diagnostic>,
    /// Whether what was attempted last failed for want of a usable Secret, and nothing else.
    no_material: bool,
}

/// A reason to refuse handshakes.
type Refusal = Box<Diagnostic>;

impl<'a> TlsResolver<'a> {
    pub(super) fn new(
        resources: &'a Resources,
        options: &'a Options,
        module: &'a ModuleSettings,
        cache: &'a SecretCache,
    ) -> Self {
        Self {
            resources,
            options,
            module,
            reader: SecretReader::new(resources, options, cache),
            certificates: BTreeMap::new(),
            ca_bundles: BTreeMap::new(),
            revocation_lists: BTreeMap::new(),
            context_names: resources
                .of_kind(Kind::TlsContext)
                .map(|(key, _)| key.name.as_str())
                .collect(),
            used_contexts: BTreeSet::new(),
            reported: BTreeSet::new(),
            diagnostics: Vec::new(),
            no_material: false,
        }
    }

    /// TLS of a Host. `used` is the version whose other fields are served.
    pub(super) fn host(&mut self, key: &ObjectKey, held: &Held, used: &Arc<Object>) -> HostTls {
        if used.is_rejected()
            && super::host::schema_breaks(used, &["tls", "tlsSecret", "tlsContext"])
        {
            // Reported by whoever decoded the object.
            return HostTls::Refuse("the Host's TLS settings do not fit the schema".to_owned());
        }
        let mut said = Vec::new();
        let outcome = self.attempt(key, used, &mut said);
        let (tls, refusal) = match outcome {
            Ok(None) => (HostTls::None, None),
            Ok(Some(tls)) => (HostTls::Terminate(tls), None),
            Err(refusal) => (self.refused(&refusal), Some(refusal)),
        };
        self.diagnostics.append(&mut said);
        let Some(mut refusal) = refusal else {
            return tls;
        };
        if let Some(last_good) = held
            .last_good
            .as_ref()
            .filter(|object| !Arc::ptr_eq(object, used))
            && let Some(tls) = self.last_good(key, used, last_good)
        {
            refusal.effect = Effect::ServingLastGood;
            self.diagnostics.push(*refusal);
            return HostTls::Terminate(tls);
        }
        self.diagnostics.push(*refusal);
        tls
    }

    /// TLS as the last good version of a Host had it, if that is for the same server name and does
    /// not drop a client check that the current version asks for (row 12).
    fn last_good(
        &mut self,
        key: &ObjectKey,
        used: &Arc<Object>,
        last_good: &Arc<Object>,
    ) -> Option<DownstreamTls> {
        let (Body::Host(now), Body::Host(then)) = (&used.body, &last_good.body) else {
            return None;
        };
        if last_good.is_rejected() || server_name(now) != server_name(then) {
            return None;
        }
        let tls = self.attempt(key, last_good, &mut Vec::new()).ok()??;
        (tls.client_auth.is_some() || !self.asks_for_client_check(key, now)).then_some(tls)
    }

    fn asks_for_client_check(&self, key: &ObjectKey, spec: &HostSpec) -> bool {
        let inline = TlsInput::of_host(spec).is_some_and(|input| input.asks_for_client_check());
        let by_context = spec
            .tls_context
            .as_ref()
            .and_then(|context| context.name.as_deref())
            .is_some_and(|name| {
                // A context that cannot be found may ask for anything.
                select::by_name(
                    self.resources,
                    self.options,
                    Kind::TlsContext,
                    name,
                    &key.namespace,
                )
                .is_none_or(|(_, held, _)| {
                    TlsInput::of_context(&held.current)
                        .is_none_or(|input| input.asks_for_client_check())
                })
            });
        inline || by_context
    }

    /// One version of a Host: `None` when it asks for no TLS.
    fn attempt(
        &mut self,
        key: &ObjectKey,
        object: &Arc<Object>,
        said: &mut Vec<Diagnostic>,
    ) -> Result<Option<DownstreamTls>, Refusal> {
        self.no_material = false;
        let Body::Host(spec) = &object.body else {
            return Ok(None);
        };
        let written = spec.tls_secret.as_ref();
        let Some(name) = written
            .and_then(|secret| secret.name.as_deref())
            .filter(|name| !name.is_empty())
        else {
            without_secret(key, spec, said);
            return Ok(None);
        };
        let namespace = written
            .and_then(|secret| secret.namespace.as_deref())
            .filter(|namespace| !namespace.is_empty());
        let secret = self.reader.of_host(name, namespace, &key.namespace);
        let source = self.source(key, object, spec, &secret, said)?;
        let certificate = self.certificate(key, &secret, said)?;
        let client_auth = match &source {
            Some(source) => self.client_auth(key, source, &secret, said)?,
            None => self.own_client_auth(&secret),
        };
        let parameters = source.map_or_else(
            || TlsParameters::defaults(Purpose::Termination),
            |source| source.parameters,
        );
        Ok(Some(DownstreamTls {
            certificate,
            min_version: parameters.min_version,
            max_version: parameters.max_version,
            cipher_suites: parameters.cipher_suites,
            ecdh_curves: parameters.ecdh_curves,
            alpn: parameters.alpn,
            client_auth,
        }))
    }

    /// Termination with a Secret and default settings, for the synthetic Host.
    pub(super) fn plain_secret(&mut self, key: &ObjectKey, secret: &ObjectKey) -> HostTls {
        self.no_material = false;
        let mut said = Vec::new();
        let found = self.certificate(key, secret, &mut said);
        // The synthetic Host is no object that a diagnostic could be about; the Secret's own
        // diagnostics were made on the way.
        let parameters = TlsParameters::defaults(Purpose::Termination);
        match found {
            Ok(certificate) => HostTls::Terminate(DownstreamTls {
                certificate,
                min_version: parameters.min_version,
                max_version: parameters.max_version,
                cipher_suites: parameters.cipher_suites,
                ecdh_curves: parameters.ecdh_curves,
                alpn: parameters.alpn,
                client_auth: None,
            }),
            Err(refusal) => self.refused(&refusal),
        }
    }

    /// In a cluster a Secret that is gone, or no longer usable, does not end what serves with it
    /// (operator.md §6); in a folder nothing is kept from one process to the next, and the folder is
    /// what there is.
    fn refused(&self, refusal: &Diagnostic) -> HostTls {
        let why = refusal.message.clone();
        if self.options.mode == Mode::Cluster && self.no_material {
            HostTls::Hold(why)
        } else {
            HostTls::Refuse(why)
        }
    }

    /// Whether a Secret exists.
    pub(super) fn has_secret(&mut self, secret: &ObjectKey) -> bool {
        self.reader.material(secret).is_some()
    }

    /// Moves diagnostics, and the key material that the chains name, to the result.
    pub(super) fn finish(mut self, out: &mut Frontends) {
        self.check_contexts();
        let mut certificates = BTreeSet::new();
        let mut cas = BTreeSet::new();
        let mut crls = BTreeSet::new();
        for (_, chain) in out.chains.iter() {
            let Some(ChainTls::Terminate(tls)) = &chain.value.tls else {
                continue;
            };
            certificates.insert(tls.certificate.clone());
            if let Some(auth) = &tls.client_auth {
                cas.insert(auth.ca.clone());
                crls.extend(auth.crl.clone());
            }
        }
        let keep = |key: &CertificateKey| certificates.contains(key);
        out.certificates = self
            .certificates
            .into_iter()
            .filter(|(key, _)| keep(key))
            .collect();
        out.ca_bundles = self
            .ca_bundles
            .into_iter()
            .filter(|(key, _)| cas.contains(key))
            .collect();
        out.revocation_lists = self
            .revocation_lists
            .into_iter()
            .filter(|(key, _)| crls.contains(key))
            .collect();
        out.diagnostics.append(&mut self.diagnostics);
        out.reads = self.reader.reads;
    }
}

fn server_name(spec: &HostSpec) -> HostGlob {
    HostGlob::parse(spec.hostname.as_deref().unwrap_or("*")).without_port()
}

/// Row 1: without `tlsSecret` a Host never terminates TLS.
fn without_secret(key: &ObjectKey, spec: &HostSpec, said: &mut Vec<Diagnostic>) {
    let written = [
        (TlsInput::of_host(spec).is_some(), "spec.tls"),
        (
            spec.tls_context
                .as_ref()
                .is_some_and(|context| context.name.is_some()),
            "spec.tlsContext",
        ),
        (
            spec.tls_secret
                .as_ref()
                .is_some_and(|secret| secret.namespace.is_some()),
            "spec.tlsSecret.namespace",
        ),
    ];
    for (_, path) in written.into_iter().filter(|(present, _)| *present) {
        said.push(
            field_ignored(
                key,
                codes::W_IGNORED,
                path,
                "it has no effect: without `tlsSecret` a Host terminates no TLS",
            )
            .help("name the Secret with the certificate in `tlsSecret`"),
        );
    }
}
