//! Where a Host's TLS settings come from: inline, a TLSContext that it names, or one that has the
//! right name (spec/routing §3.12 rows 4–11).

use std::sync::Arc;

use legate_api::{Body, HostSpec, Kind, Object, ObjectKey};
use legate_config::{Code, Diagnostic, Effect};

use super::{Refusal, TlsResolver};
use crate::codes;
use crate::frontends::report::{field_ignored, on};
use crate::glob::HostGlob;
use crate::resources::Held;
use crate::select::{self, object_ref};
use crate::tls_context::{
    Finding, Purpose, TlsInput, TlsParameters, effective_parameters, parameters,
};

const CONTEXT_PATH: &str = "spec.tlsContext.name";

/// Settings of a Host: where they were written, and what they say.
pub(super) struct Source {
    /// The object, kept alive while its fields are read.
    object: Arc<Object>,
    /// The TLSContext, with whether it is used because of its name alone.
    pub(super) context: Option<(ObjectKey, bool)>,
    pub(super) parameters: TlsParameters,
}

impl Source {
    /// Path on the Host for faults of these settings.
    pub(super) fn path(&self, field: &str) -> String {
        match &self.context {
            None => format!("spec.tls.{field}"),
            Some((_, false)) => CONTEXT_PATH.to_owned(),
            Some((_, true)) => "spec.tlsSecret".to_owned(),
        }
    }

    /// `TLSContext ns/name: ` for messages, where there is one.
    pub(super) fn prefix(&self) -> String {
        match &self.context {
            None => String::new(),
            Some((key, _)) => format!("TLSContext {}/{}: ", key.namespace, key.name),
        }
    }

    pub(super) fn input(&self) -> Option<TlsInput<'_>> {
        match &self.object.body {
            Body::Host(spec) => TlsInput::of_host(spec),
            _ => TlsInput::of_context(&self.object),
        }
    }
}

impl TlsResolver<'_> {
    /// The settings that go with the certificate; `None` = defaults.
    pub(super) fn source(
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
                (
                    codes::E_UNSUPPORTED,
                    "files are not read; name a Secret in `ca_secret`",
                )
            } else {
                (
                    codes::E_HOST_TLS,
                    "a certificate from files excludes `tlsSecret`",
                )
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
        let Some((context, held, ambiguous)) = select::by_name(
            self.resources,
            self.options,
            Kind::TlsContext,
            name,
            &key.namespace,
        ) else {
            return Err(Box::new(
                on(
                    key,
                    codes::E_TLS_CONTEXT,
                    CONTEXT_PATH,
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
                CONTEXT_PATH,
                format!(
                    "several namespaces have a TLSContext `{name}`; the one in `{}` is used",
                    context.namespace
                ),
            ));
        }
        let usage = Usage {
            host: key,
            spec,
            secret,
            context,
            held,
            implicit: false,
        };
        self.use_context(&usage, said)
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
        if !self.context_names.contains(name.as_str()) {
            return Ok(None);
        }
        let Some((context, held, _)) = select::by_name(
            self.resources,
            self.options,
            Kind::TlsContext,
            &name,
            &key.namespace,
        ) else {
            return Ok(None);
        };
        said.push(
            on(
                key,
                codes::I_TLS_CONTEXT,
                "spec.tlsSecret",
                format!("TLSContext `{name}` is used because of its name"),
            )
            .help(format!(
                "say `tlsContext: {{name: {name}}}` to make it plain"
            ))
            .related(object_ref(context), "used for this Host"),
        );
        let usage = Usage {
            host: key,
            spec,
            secret,
            context,
            held,
            implicit: true,
        };
        self.use_context(&usage, said).map(Some)
    }

    /// Rows 6–8: takes the settings of a context that was found.
    fn use_context(
        &mut self,
        usage: &Usage<'_>,
        said: &mut Vec<Diagnostic>,
    ) -> Result<Source, Refusal> {
        let Usage { context, held, .. } = *usage;
        self.used_contexts.insert(context.clone());
        let (object, parameters) = effective_parameters(held, Purpose::Termination)
            .map_err(|message| usage.refusal(codes::E_HOST_TLS, &message))?;
        let source = Source {
            object,
            context: Some((context.clone(), usage.implicit)),
            parameters,
        };
        let Some(input) = source.input() else {
            return Err(usage.refusal(codes::E_HOST_TLS, "it cannot be read"));
        };
        if let Some(field) = input.file_field() {
            let message = format!("`{field}` is not supported: certificates come from Secrets");
            return Err(usage.refusal(codes::E_UNSUPPORTED, &message));
        }
        if let Some(name) = input.secret {
            self.check_same_secret(usage, name, &input)?;
        }
        let hostname = HostGlob::parse(usage.spec.hostname.as_deref().unwrap_or("*")).to_string();
        let listed = input
            .hosts
            .iter()
            .any(|host| *host == usage.host.name || HostGlob::parse(host).to_string() == hostname);
        if !input.hosts.is_empty() && !listed {
            let message = format!(
                "TLSContext {}/{} is used, but its `hosts` do not list `{hostname}`",
                context.namespace, context.name
            );
            said.push(
                on(usage.host, codes::W_TLS_HOSTS, usage.path(), message)
                    .related(object_ref(context), "its `hosts`"),
            );
        }
        Ok(source)
    }

    /// Row 6: the context's own `secret` must be the Host's.
    fn check_same_secret(
        &mut self,
        usage: &Usage<'_>,
        name: &str,
        input: &TlsInput<'_>,
    ) -> Result<(), Refusal> {
        let namespacing = input
            .secret_namespacing
            .unwrap_or(self.module.tls_secret_namespacing);
        let other = self
            .reader
            .of_context(name, &usage.context.namespace, namespacing);
        let written = usage.spec.tls_secret.as_ref();
        let same_text = written.and_then(|secret| secret.name.as_deref()) == Some(name);
        if other == *usage.secret || same_text {
            return Ok(());
        }
        let message = format!(
            "its `secret` is `{name}`, the Host's `tlsSecret` is {}/{}",
            usage.secret.namespace, usage.secret.name
        );
        Err(usage.refusal(codes::E_HOST_TLS, &message))
    }
}

/// A Host that uses a TLSContext.
struct Usage<'a> {
    host: &'a ObjectKey,
    spec: &'a HostSpec,
    /// The Host's own certificate Secret.
    secret: &'a ObjectKey,
    context: &'a ObjectKey,
    held: &'a Held,
    /// Whether the context's name alone made the Host use it.
    implicit: bool,
}

impl Usage<'_> {
    fn path(&self) -> &'static str {
        if self.implicit {
            "spec.tlsSecret"
        } else {
            CONTEXT_PATH
        }
    }

    fn refusal(&self, code: Code, message: &str) -> Refusal {
        let Self { context, .. } = self;
        let message = format!(
            "TLSContext {}/{}: {message}",
            context.namespace, context.name
        );
        Box::new(
            on(self.host, code, self.path(), message)
                .effect(Effect::FieldIgnored)
                .related(object_ref(context), "these settings"),
        )
    }
}
