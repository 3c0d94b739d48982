//! Client certificates: whether they are asked for, and who may have signed them
//! (spec/routing §3.13). A check that was asked for and cannot be made refuses TLS.

use legate_api::ObjectKey;
use legate_config::key::{CaKey, CrlKey};
use legate_config::listener::ClientAuth;
use legate_config::secret::RevocationList;
use legate_config::{Diagnostic, Effect};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use super::material::secret_name;
use super::{Refusal, Source, TlsResolver};
use crate::codes;
use crate::frontends::report::{field_ignored, on};

impl TlsResolver<'_> {
    /// The client check that the settings ask for.
    pub(super) fn client_auth(
        &mut self,
        host: &ObjectKey,
        source: &Source,
        secret: &ObjectKey,
        said: &mut Vec<Diagnostic>,
    ) -> Result<Option<ClientAuth>, Refusal> {
        let Some(input) = source.input() else {
            return Ok(None);
        };
        let namespace = match &source.context {
            Some((context, _)) => context.namespace.clone(),
            None => host.namespace.clone(),
        };
        let namespacing = input
            .secret_namespacing
            .unwrap_or(self.module.tls_secret_namespacing);
        let wanted = input.cert_required == Some(true);
        let (ca, required) = match input.ca_secret {
            Some(name) => {
                let ca = self.reader.of_context(name, &namespace, namespacing);
                let path = source.path("ca_secret");
                self.ca(host, &path, &source.prefix(), &ca, said)?
            }
            None => match self.own_client_auth(secret) {
                Some(auth) => (auth.ca, auth.required),
                None if wanted => {
                    return Err(Box::new(
                        on(
                            host,
                            codes::E_HOST_TLS,
                            source.path("cert_required"),
                            format!(
                                "{}`cert_required` without `ca_secret` can verify nobody",
                                source.prefix()
                            ),
                        )
                        .effect(Effect::FieldIgnored)
                        .help("name the Secret with the authorities in `ca_secret`"),
                    ));
                }
                None => {
                    if input.crl_secret.is_some() {
                        said.push(field_ignored(
                            host,
                            codes::W_IGNORED,
                            source.path("crl_secret"),
                            format!(
                                "{}`crl_secret` has no effect without `ca_secret`",
                                source.prefix()
                            ),
                        ));
                    }
                    return Ok(None);
                }
            },
        };
        let crl = match input.crl_secret {
            Some(name) => {
                let crl = self.reader.of_context(name, &namespace, namespacing);
                Some(self.crl(host, source, &crl, said)?)
            }
            None => None,
        };
        Ok(Some(ClientAuth {
            required: wanted || required,
            ca,
            crl,
        }))
    }

    /// The client check that a certificate Secret brings along (Istio's form).
    pub(super) fn own_client_auth(&mut self, secret: &ObjectKey) -> Option<ClientAuth> {
        let (current, last_good) = self.reader.material(secret)?;
        let entry = [Some(current), last_good]
            .into_iter()
            .flatten()
            .find_map(|material| match material.own_ca() {
                Some(Ok(entry)) => Some(entry.clone()),
                _ => None,
            })?;
        let ca = CaKey::from(format!("{}#root-cert.pem", secret_name(secret)));
        self.ca_bundles.insert(ca.clone(), entry);
        Some(ClientAuth {
            required: false,
            ca,
            crl: None,
        })
    }

    /// The authorities, and whether their Secret demands a certificate by itself.
    fn ca(
        &mut self,
        host: &ObjectKey,
        path: &str,
        prefix: &str,
        secret: &ObjectKey,
        said: &mut Vec<Diagnostic>,
    ) -> Result<(CaKey, bool), Refusal> {
        let entry = self.part(host, path, prefix, secret, |m| m.ca_bundle(), said)?;
        let key = CaKey::from(secret_name(secret));
        self.ca_bundles.insert(key.clone(), entry);
        let mut required = false;
        if let Some((material, _)) = self.reader.material(secret) {
            required = material.cert_required();
            if material.ca_is_beside_leaf() {
                said.push(on(
                    host,
                    codes::W_IGNORED,
                    path,
                    format!(
                        "{prefix}`tls.crt` of Secret {} is no authority, so `ca.crt` is used",
                        secret_name(secret)
                    ),
                ));
            }
        }
        Ok((key, required))
    }

    fn crl(
        &mut self,
        host: &ObjectKey,
        source: &Source,
        secret: &ObjectKey,
        said: &mut Vec<Diagnostic>,
    ) -> Result<CrlKey, Refusal> {
        let path = source.path("crl_secret");
        let prefix = source.prefix();
        let entry = self.part(host, &path, &prefix, secret, |m| m.revocation_list(), said)?;
        if self.is_expired(&entry.value) {
            said.push(on(
                host,
                codes::W_CRL_EXPIRED,
                path,
                format!(
                    "{prefix}the revocation list in Secret {} is past its next update",
                    secret_name(secret)
                ),
            ));
        }
        let key = CrlKey::from(secret_name(secret));
        self.revocation_lists.insert(key.clone(), entry);
        Ok(key)
    }

    fn is_expired(&self, list: &RevocationList) -> bool {
        self.options.now.is_some_and(|now| {
            list.lists.iter().any(|der| {
                CertificateRevocationList::from_der(der).is_ok_and(|(_, crl)| {
                    crl.next_update().is_some_and(|next| next.timestamp() < now)
                })
            })
        })
    }
}
