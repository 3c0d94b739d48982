//! Reading the key material that TLS settings name, and reporting what is wrong with it.

use legate_api::ObjectKey;
use legate_config::key::CertificateKey;
use legate_config::secret::Certificate;
use legate_config::{Code, Diagnostic, Effect, Entry};

use super::{Refusal, TlsResolver};
use crate::codes;
use crate::frontends::report::{dropped, on};
use crate::options::{MissingRefs, Mode};
use crate::secrets::{Found, Material, SecretError};
use crate::select::object_ref;

const SECRET_PATH: &str = "spec.tlsSecret.name";

impl TlsResolver<'_> {
    /// The server certificate of a Host.
    pub(super) fn certificate(
        &mut self,
        host: &ObjectKey,
        secret: &ObjectKey,
        said: &mut Vec<Diagnostic>,
    ) -> Result<CertificateKey, Refusal> {
        let entry = self.part(host, SECRET_PATH, "", secret, |m| m.certificate(), said)?;
        self.check_dates(host, secret, &entry.value, said);
        let key = CertificateKey::from(secret_name(secret));
        self.certificates.insert(key.clone(), entry);
        Ok(key)
    }

    /// A part of a Secret that `path` of a Host refers to, by way of what `prefix` names.
    pub(super) fn part<T>(
        &mut self,
        host: &ObjectKey,
        path: &str,
        prefix: &str,
        secret: &ObjectKey,
        part: impl Fn(&Material) -> &Result<Entry<T>, SecretError>,
        said: &mut Vec<Diagnostic>,
    ) -> Result<Entry<T>, Refusal> {
        let name = secret_name(secret);
        match self.reader.read(secret, part) {
            Found::Good(entry) => Ok(entry),
            Found::LastGood(entry, error) => {
                said.push(
                    on(
                        host,
                        codes::W_CERT_LAST_GOOD,
                        path,
                        format!("{prefix}the last good version of Secret {name} keeps serving"),
                    )
                    .related(object_ref(secret), error.message.clone()),
                );
                self.report_secret(secret, error, Effect::ServingLastGood);
                Ok(entry)
            }
            Found::Bad(error) => {
                self.no_material = true;
                let message = format!("{prefix}Secret {name} cannot be used: {}", error.message);
                self.report_secret(secret, error, Effect::Dropped);
                Err(Box::new(
                    on(host, codes::E_HOST_TLS, path, message)
                        .effect(Effect::FieldIgnored)
                        .help(match self.options.mode {
                            Mode::Folder => "until it is mended, TLS is refused for this Host",
                            Mode::Cluster => {
                                "until it is mended, gateways that have its former content keep serving that; others refuse TLS for this Host"
                            }
                        })
                        .related(object_ref(secret), "the Secret"),
                ))
            }
            Found::Missing => {
                self.no_material = true;
                Err(Box::new(self.missing(host, path, prefix, secret)))
            }
        }
    }

    /// What to say about a Secret that is not there.
    pub(super) fn missing(
        &self,
        host: &ObjectKey,
        path: &str,
        prefix: &str,
        secret: &ObjectKey,
    ) -> Diagnostic {
        let name = secret_name(secret);
        match self.options.missing {
            MissingRefs::Info => on(
                host,
                codes::I_NOT_IN_FOLDER,
                path,
                format!("{prefix}Secret {name} is not here"),
            ),
            MissingRefs::Error => on(
                host,
                codes::E_SECRET_MISSING,
                path,
                format!("{prefix}there is no Secret {name}"),
            )
            .effect(Effect::FieldIgnored)
            .related(object_ref(secret), "the Secret")
            .help(match self.options.mode {
                Mode::Folder => {
                    "until it exists, TLS is refused for this Host; cleartext keeps its action"
                }
                Mode::Cluster => {
                    "until it exists, gateways that have its former content keep serving that; others refuse TLS for this Host"
                }
            }),
        }
    }

    fn report_secret(&mut self, secret: &ObjectKey, error: SecretError, effect: Effect) {
        let SecretError {
            code,
            path,
            message,
        } = error;
        if self.reported.insert((secret.clone(), path.clone())) {
            self.diagnostics
                .push(dropped(secret, code, path, message).effect(effect));
        }
    }

    fn check_dates(
        &self,
        host: &ObjectKey,
        secret: &ObjectKey,
        certificate: &Certificate,
        said: &mut Vec<Diagnostic>,
    ) {
        let Some(now) = self.options.now else {
            return;
        };
        let what = if now > certificate.not_after {
            "expired"
        } else if now < certificate.not_before {
            "is not valid yet"
        } else {
            return;
        };
        let name = secret_name(secret);
        let code: Code = codes::E_CERT_EXPIRED;
        said.push(
            on(
                host,
                code,
                SECRET_PATH,
                format!("the certificate in Secret {name} {what}; it is served all the same"),
            )
            .help("renew it")
            .related(object_ref(secret), "the certificate"),
        );
    }
}

/// `namespace/name`
pub(super) fn secret_name(key: &ObjectKey) -> String {
    format!("{}/{}", key.namespace, key.name)
}
