//! TLS of Hosts: the table of spec/routing §3.12. Broken settings never serve and never vanish:
//! the Host keeps its cleartext side and its handshakes are refused.

mod client_auth;
mod contexts;
mod material;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use legate_api::{Body, HostSpec, Kind, Object, ObjectKey};
use legate_config::key::{CaKey, CertificateKey, CrlKey};
use legate_config::listener::{ChainTls, DownstreamTls};
use legate_config::secret::{CaBundle, Certificate, RevocationList};
use legate_config::{Diagnostic, Effect, Entry};

use super::Frontends;
use super::report::{field_ignored, on};
use crate::codes;
use crate::glob::HostGlob;
use crate::module::ModuleSettings;
use crate::options::Options;
use crate::resources::{Held, Resources};
use crate::secrets::{SecretCache, SecretReader};
use crate::select::{self, object_ref};
use crate::tls_context::{
    Finding, Purpose, TlsInput, TlsParameters, effective_parameters, parameters,
};

/// What becomes of a Host's TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HostTls {
    /// It asks for none.
    None,
    /// It terminates.
    Terminate(DownstreamTls),
    /// It is broken, because of this: handshakes are refused.
    Refuse(String),
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
    /// TLSContexts that some Host uses.
    used_contexts: BTreeSet<ObjectKey>,
    /// Secrets already reported as broken, with the part at fault.
    reported: BTreeSet<(ObjectKey, String)>,
    diagnostics: Vec<Diagnostic>,
}

/// Settings of a Host: where they were written, and what they say.
struct Source {
    /// The object, kept alive while its fields are read.
    object: Arc<Object>,
    /// The TLSContext, with whether it is used because of its name alone.
    context: Option<(ObjectKey, bool)>,
    parameters: TlsParameters,
}

impl Source {
    /// Path on the Host for faults of these settings.
    fn path(&self, field: &str) -> String {
        match &self.context {
            None => format!("spec.tls.{field}"),
            Some((_, false)) => "spec.tlsContext.name".to_owned(),
            Some((_, true)) => "spec.tlsSecret".to_owned(),
        }
    }

    /// `TLSContext ns/name: ` for messages, where there is one.
    fn prefix(&self) -> String {
        match &self.context {
            None => String::new(),
            Some((key, _)) => format!("TLSContext {}/{}: ", key.namespace, key.name),
        }
    }

    fn input(&self) -> Option<TlsInput<'_>> {
        match &self.object.body {
            Body::Host(spec) => TlsInput::of_host(spec),
            _ => TlsInput::of_context(&self.object),
        }
    }
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
            used_contexts: BTreeSet::new(),
            reported: BTreeSet::new(),
            diagnostics: Vec::new(),
        }
    }

    /// TLS of a Host. `used` is the version whose other fields are served.
    pub(super) fn host(&mut self, key: &ObjectKey, held: &Held, used: &Arc<Object>) -> HostTls {
        if used.is_rejected() && super::host::schema_breaks(used, &["tls", "tlsSecret", "tlsContext"]) {
            // Reported by whoever decoded the object.
            return HostTls::Refuse("the Host's TLS settings do not fit the schema".to_owned());
        }
        let mut said = Vec::new();
        let outcome = self.attempt(key, used, &mut said);
        let (tls, refusal) = match outcome {
            Ok(None) => (HostTls::None, None),
            Ok(Some(tls)) => (HostTls::Terminate(tls), None),
            Err(refusal) => (HostTls::Refuse(refusal.message.clone()), Some(refusal)),
        };
        self.diagnostics.append(&mut said);
        let Some(mut refusal) = refusal else {
            return tls;
        };
        if let Some(last_good) = held.last_good.as_ref().filter(|object| !Arc::ptr_eq(object, used))
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
                select::by_name(self.resources, self.options, Kind::TlsContext, name, &key.namespace)
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
            Err(refusal) => HostTls::Refuse(refusal.message),
        }
    }

    /// Whether a Secret exists.
    pub(super) fn has_secret(&mut self, secret: &ObjectKey) -> bool {
        self.reader.material(secret).is_some()
    }

    /// The settings that go with the certificate; `None` = defaults.
    fn source(
        &mut self,
        key: &ObjectKey,
        object: &Arc<Object>,
        spec: &HostSpec,
        secret: &ObjectKey,
        said: &mut Vec<Diagnostic>,
    ) -> Result<Option<Source>, Refusal> {
        let inline = TlsInput::of_host(spec);
        let named = spec
            .tls_context
            .as_ref()
            .and_then(|context| context.name.as_deref())
            .filter(|name| !name.is_empty());
        match (inline, named) {
            (Some(_), Some(_)) => Err(Box::new(
                on(
                    key,
                    codes::E_HOST_TLS,
                    "spec.tls",
                    "`tls` and `tlsContext` exclude each other",
                )
                .effect(Effect::FieldIgnored)
                .help("keep one of them; until then TLS is refused for this Host"),
            )),
            (Some(input), None) => self.inline(key, object, &input, said).map(Some),
            (None, Some(name)) => self.context(key, spec, name, secret, said).map(Some),
            (None, None) => self.implicit_context(key, spec, secret, said),
        }
    }

    fn inline(
        &mut self,
        key: &ObjectKey,
        object: &Arc<Object>,
        input: &TlsInput<'_>,
        said: &mut Vec<Diagnostic>,
    ) -> Result<Source, Refusal> {
        if let Some(field) = input.file_field() {
            let (code, message) = if field == "cacert_chain_file" {
                (codes::E_UNSUPPORTED, "files are not read; name a Secret in `ca_secret`")
            } else {
                (codes::E_HOST_TLS, "a certificate from files excludes `tlsSecret`")
            };
            return Err(Box::new(
                on(key, code, format!("spec.tls.{field}"), message).effect(Effect::FieldIgnored),
            ));
        }
        for (present, field, message) in [
            (
                input.redirect_cleartext_from.is_some(),
                "redirect_cleartext_from",
                "it redirects nothing; `requestPolicy.insecure.action` decides",
            ),
            (
                input.sni.is_some(),
                "sni",
                "it has no effect on a Host: it is the name sent to upstreams",
            ),
        ] {
            if present {
                let path = format!("spec.tls.{field}");
                said.push(field_ignored(key, codes::W_IGNORED, path, message));
            }
        }
        let (parameters, findings) = parameters(input, Purpose::Termination);
        let mut refusal = None;
        for Finding {
            code,
            field,
            message,
        } in findings
        {
            let path = format!("spec.tls.{field}");
            match code {
                Some(code) => said.push(on(key, code, path, message)),
                None if refusal.is_none() => {
                    refusal = Some(
                        on(key, codes::E_HOST_TLS, path, message).effect(Effect::FieldIgnored),
                    );
                }
                None => {}
            }
        }
        match refusal {
            Some(refusal) => Err(Box::new(refusal)),
            None => Ok(Source {
                object: Arc::clone(object),
                context: None,
                parameters,
            }),
        }
    }

    fn context(
        &mut self,
        key: &ObjectKey,
        spec: &HostSpec,
        name: &str,
        secret: &ObjectKey,
        said: &mut Vec<Diagnostic>,
    ) -> Result<Source, Refusal> {
        const PATH: &str = "spec.tlsContext.name";
        let Some((context, held, ambiguous)) =
            select::by_name(self.resources, self.options, Kind::TlsContext, name, &key.namespace)
        else {
            return Err(Box::new(
                on(
                    key,
                    codes::E_TLS_CONTEXT,
                    PATH,
                    format!("there is no TLSContext `{name}`"),
                )
                .effect(Effect::FieldIgnored)
                .help("create it, or correct the name; until then TLS is refused for this Host"),
            ));
        };
        if ambiguous {
            said.push(on(
                key,
                codes::W_REF_AMBIGUOUS,
                PATH,
                format!(
                    "several namespaces have a TLSContext `{name}`; the one in `{}` is used",
                    context.namespace
                ),
            ));
        }
        self.use_context(key, spec, context, held, false, secret, said)
    }

    /// Row 10: a TLSContext named `<host name>-context` is used unasked.
    fn implicit_context(
        &mut self,
        key: &ObjectKey,
        spec: &HostSpec,
        secret: &ObjectKey,
        said: &mut Vec<Diagnostic>,
    ) -> Result<Option<Source>, Refusal> {
        let name = format!("{}-context", key.name);
        let Some((context, held, _)) =
            select::by_name(self.resources, self.options, Kind::TlsContext, &name, &key.namespace)
        else {
            return Ok(None);
        };
        said.push(
            on(
                key,
                codes::I_TLS_CONTEXT,
                "spec.tlsSecret",
                format!("TLSContext `{name}` is used because of its name"),
            )
            .help(format!("say `tlsContext: {{name: {name}}}` to make it plain"))
            .related(object_ref(context), "used for this Host"),
        );
        self.use_context(key, spec, context, held, true, secret, said)
            .map(Some)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one call per way to name a context; a struct would only rename them"
    )]
    fn use_context(
        &mut self,
        key: &ObjectKey,
        spec: &HostSpec,
        context: &ObjectKey,
        held: &Held,
        implicit: bool,
        secret: &ObjectKey,
        said: &mut Vec<Diagnostic>,
    ) -> Result<Source, Refusal> {
        self.used_contexts.insert(context.clone());
        let path = if implicit { "spec.tlsSecret" } else { "spec.tlsContext.name" };
        let refuse = |code, message: String| -> Refusal {
            Box::new(
                on(
                    key,
                    code,
                    path,
                    format!("TLSContext {}/{}: {message}", context.namespace, context.name),
                )
                .effect(Effect::FieldIgnored)
                .related(object_ref(context), "these settings"),
            )
        };
        let (object, parameters) = effective_parameters(held, Purpose::Termination)
            .map_err(|message| refuse(codes::E_HOST_TLS, message))?;
        let source = Source {
            object,
            context: Some((context.clone(), implicit)),
            parameters,
        };
        let Some(input) = source.input() else {
            return Err(refuse(codes::E_HOST_TLS, "it cannot be read".to_owned()));
        };
        if let Some(field) = input.file_field() {
            let message = format!("`{field}` is not supported: certificates come from Secrets");
            return Err(refuse(codes::E_UNSUPPORTED, message));
        }
        if let Some(name) = input.secret {
            let namespacing = input
                .secret_namespacing
                .unwrap_or(self.module.tls_secret_namespacing);
            let other = self.reader.of_context(name, &context.namespace, namespacing);
            let same_text = spec
                .tls_secret
                .as_ref()
                .and_then(|written| written.name.as_deref())
                == Some(name);
            if other != *secret && !same_text {
                let message = format!(
                    "its `secret` is `{name}`, the Host's `tlsSecret` is {}/{}",
                    secret.namespace, secret.name
                );
                return Err(refuse(codes::E_HOST_TLS, message));
            }
        }
        let hostname = HostGlob::parse(spec.hostname.as_deref().unwrap_or("*")).to_string();
        let listed = input.hosts.iter().any(|host| {
            *host == key.name || HostGlob::parse(host).to_string() == hostname
        });
        if !input.hosts.is_empty() && !listed {
            said.push(
                on(
                    key,
                    codes::W_TLS_HOSTS,
                    path,
                    format!(
                        "TLSContext {}/{} is used, but its `hosts` do not list `{hostname}`",
                        context.namespace, context.name
                    ),
                )
                .related(object_ref(context), "its `hosts`"),
            );
        }
        Ok(source)
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
        out.certificates = self.certificates.into_iter().filter(|(key, _)| keep(key)).collect();
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
