//! TLSContexts by themselves: what is wrong with them whoever uses them, said once and on them.

use legate_api::{Body, Kind, Object, ObjectKey};
use legate_config::Effect;

use super::TlsResolver;
use crate::codes;
use crate::frontends::report::{dropped, field_ignored, on};
use crate::resources::Held;
use crate::select;
use crate::tls_context::{Finding, Purpose, TlsInput, effective_parameters, parameters};

impl TlsResolver<'_> {
    /// Reports on all TLSContexts of our id. Call it when all Hosts have been resolved.
    pub(super) fn check_contexts(&mut self) {
        for (key, held) in select::of_kind(self.resources, self.options, Kind::TlsContext) {
            // A rejected one was reported by whoever decoded it.
            if !held.current.is_rejected() {
                self.check_context(key, held);
            }
        }
    }

    fn check_context(&mut self, key: &ObjectKey, held: &Held) {
        let Some(input) = TlsInput::of_context(&held.current) else {
            return;
        };
        let terminates = self.used_contexts.contains(key);
        let purpose = if terminates {
            Purpose::Termination
        } else {
            Purpose::Origination
        };
        let effect = match effective_parameters(held, purpose) {
            Ok(_) => Effect::ServingLastGood,
            Err(_) => Effect::Dropped,
        };
        let (_, mut findings) = parameters(&input, purpose);
        findings.extend(input.certificate_fault());
        for Finding {
            code,
            field,
            message,
        } in findings
        {
            let path = format!("spec.{field}");
            self.diagnostics.push(match code {
                Some(code) => on(key, code, path, message),
                None => dropped(key, codes::E_TLS_CONTEXT, path, message).effect(effect.clone()),
            });
        }
        for field in input.file_fields() {
            self.diagnostics.push(
                field_ignored(
                    key,
                    codes::E_UNSUPPORTED,
                    format!("spec.{field}"),
                    "files are not read; who uses this TLSContext is refused",
                )
                .help("put the files into a Secret and name it"),
            );
        }
        if input.redirect_cleartext_from.is_some() {
            self.diagnostics.push(
                field_ignored(
                    key,
                    codes::W_IGNORED,
                    "spec.redirect_cleartext_from",
                    "it redirects nothing",
                )
                .help("use `requestPolicy.insecure.action` of the Host"),
            );
        }
        if !terminates && !input.hosts.is_empty() && !self.serves_tcp(&input) {
            self.diagnostics.push(
                field_ignored(
                    key,
                    codes::W_IGNORED,
                    "spec.hosts",
                    "no Host uses this TLSContext, so it terminates nothing",
                )
                .help("name it in `tlsContext` of a Host"),
            );
        }
    }

    /// Whether a TCPMapping is for one of the context's hosts.
    fn serves_tcp(&self, input: &TlsInput<'_>) -> bool {
        let host = |object: &Object| match &object.body {
            Body::TcpMapping(spec) => spec.host.clone(),
            _ => None,
        };
        self.resources.of_kind(Kind::TcpMapping).any(|(key, held)| {
            select::is_ours(&held.current, key, self.options)
                && host(&held.current).is_some_and(|host| input.hosts.contains(&host))
        })
    }
}
