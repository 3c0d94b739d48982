//! TLS towards upstreams (spec/routing §4.13).

use legate_api::{Kind, ObjectKey};
use legate_config::cluster::UpstreamTls;
use legate_config::key::{CaKey, CertificateKey};
use legate_config::{Code, Entry};

use super::{Origination, OriginationError, Purpose, TlsInput, effective_parameters};
use crate::codes;
use crate::module::ModuleSettings;
use crate::options::{MissingRefs, Options};
use crate::resources::{Held, Resources};
use crate::secrets::{Found, Material, SecretCache, SecretError, SecretReader};
use crate::select;

/// Resolves the TLSContext that a Mapping names in `tls`. `namespace` is the Mapping's.
pub(crate) fn origination(
    resources: &Resources,
    options: &Options,
    module: &ModuleSettings,
    cache: &SecretCache,
    name: &str,
    namespace: &str,
) -> Result<Origination, OriginationError> {
    let Some((key, held, ambiguous)) =
        select::by_name(resources, options, Kind::TlsContext, name, namespace)
    else {
        return Err(OriginationError {
            code: codes::E_TLS_CONTEXT,
            message: format!("there is no TLSContext `{name}`"),
            help: Some("create it, or correct the name in `tls`".to_owned()),
            dependencies: vec![ObjectKey {
                kind: Kind::TlsContext,
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            }],
        });
    };
    let mut reader = SecretReader::new(resources, options, cache);
    let mut notices = Vec::new();
    if ambiguous {
        notices.push((
            codes::W_REF_AMBIGUOUS,
            format!(
                "several namespaces have a TLSContext `{name}`; the one in `{}` is used",
                key.namespace
            ),
        ));
    }
    let result = resolve(key, held, options, module, &mut reader, &mut notices);
    let mut dependencies = vec![key.clone()];
    dependencies.extend(reader.reads);
    match result {
        Ok(mut found) => {
            found.dependencies = dependencies;
            found.notices = notices;
            Ok(found)
        }
        Err((code, message, help)) => Err(OriginationError {
            code,
            message: format!("TLSContext `{}/{}`: {message}", key.namespace, key.name),
            help,
            dependencies,
        }),
    }
}

type Fault = (Code, String, Option<String>);

fn resolve(
    key: &ObjectKey,
    held: &Held,
    options: &Options,
    module: &ModuleSettings,
    reader: &mut SecretReader<'_>,
    notices: &mut Vec<(Code, String)>,
) -> Result<Origination, Fault> {
    let unusable = |message: String| (codes::E_TLS_ORIGINATION, message, None);
    let (object, parameters) =
        effective_parameters(held, Purpose::Origination).map_err(unusable)?;
    let input =
        TlsInput::of_context(&object).ok_or_else(|| unusable("it cannot be read".to_owned()))?;
    if let Some(field) = input.file_field() {
        return Err((
            codes::E_UNSUPPORTED,
            format!("`{field}` is not supported: certificates come from Secrets"),
            Some("put the files into a Secret and name it".to_owned()),
        ));
    }
    if input.is_empty() {
        return Err(unusable(
            "it has neither certificate, authorities nor settings".to_owned(),
        ));
    }
    if input.cert_required == Some(true) {
        notices.push((
            codes::W_IGNORED,
            "`cert_required` has no effect towards an upstream".to_owned(),
        ));
    }
    let mut found = Origination {
        tls: UpstreamTls {
            sni: input.sni.filter(|sni| !sni.is_empty()).map(str::to_owned),
            ca: None,
            client_certificate: None,
            alpn: parameters.alpn,
            min_version: parameters.min_version,
            max_version: parameters.max_version,
            cipher_suites: parameters.cipher_suites,
            ecdh_curves: parameters.ecdh_curves,
        },
        certificate: None,
        ca_bundle: None,
        dependencies: Vec::new(),
        notices: Vec::new(),
    };
    let namespacing = input
        .secret_namespacing
        .unwrap_or(module.tls_secret_namespacing);
    let mut material = MaterialReader {
        namespace: &key.namespace,
        namespacing,
        options,
        reader,
        notices,
    };
    material.add(&input, &mut found)?;
    if found.tls.ca.is_some() {
        notices.push((
            codes::I_TLS_UNVERIFIED,
            "the upstream's certificate chain is verified, its name is not".to_owned(),
        ));
    }
    Ok(found)
}

/// Reads the Secrets that a context names.
struct MaterialReader<'r, 'a> {
    namespace: &'r str,
    namespacing: bool,
    options: &'r Options,
    reader: &'r mut SecretReader<'a>,
    notices: &'r mut Vec<(Code, String)>,
}

impl MaterialReader<'_, '_> {
    fn add(&mut self, input: &TlsInput<'_>, found: &mut Origination) -> Result<(), Fault> {
        if let Some(name) = input.secret {
            let secret = self.find(name);
            let entry = self.take(&secret, |material| material.certificate())?;
            let name = CertificateKey::from(secret_name(&secret));
            found.tls.client_certificate = Some(name.clone());
            found.certificate = Some((name, entry));
            if input.ca_secret.is_none()
                && let Some((material, _)) = self.reader.material(&secret)
                && let Some(Ok(entry)) = material.own_ca()
            {
                let name = CaKey::from(format!("{}#root-cert.pem", secret_name(&secret)));
                found.tls.ca = Some(name.clone());
                found.ca_bundle = Some((name, entry.clone()));
            }
        }
        if let Some(name) = input.ca_secret {
            let secret = self.find(name);
            let entry = self.take(&secret, |material| material.ca_bundle())?;
            let name = CaKey::from(secret_name(&secret));
            found.tls.ca = Some(name.clone());
            found.ca_bundle = Some((name, entry));
        }
        Ok(())
    }

    fn find(&mut self, name: &str) -> ObjectKey {
        self.reader
            .of_context(name, self.namespace, self.namespacing)
    }

    fn take<T>(
        &mut self,
        secret: &ObjectKey,
        part: impl Fn(&Material) -> &Result<Entry<T>, SecretError>,
    ) -> Result<Entry<T>, Fault> {
        let name = secret_name(secret);
        match self.reader.read(secret, part) {
            Found::Good(entry) => Ok(entry),
            Found::LastGood(entry, error) => {
                self.notices.push((
                    codes::W_CERT_LAST_GOOD,
                    format!(
                        "the last good version of Secret `{name}` is used: {}",
                        error.message
                    ),
                ));
                Ok(entry)
            }
            Found::Bad(SecretError { code, message, .. }) => Err((
                code,
                format!("Secret `{name}` cannot be used: {message}"),
                None,
            )),
            Found::Missing => Err((
                match self.options.missing {
                    MissingRefs::Info => codes::I_NOT_IN_FOLDER,
                    MissingRefs::Error => codes::E_SECRET_MISSING,
                },
                format!("there is no Secret `{name}`"),
                None,
            )),
        }
    }
}

/// `namespace/name`
fn secret_name(key: &ObjectKey) -> String {
    format!("{}/{}", key.namespace, key.name)
}
