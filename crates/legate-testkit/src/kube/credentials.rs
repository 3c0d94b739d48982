//! Keys, tokens and kubeconfig files.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::KeyPair;
use serde_json::{Value, json};

use crate::client::Error;

/// Issuer and audience of ServiceAccount tokens.
pub(super) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// How long after its expiry the API server still takes a token.
const LEEWAY: Duration = Duration::from_secs(60);

/// The key that signs ServiceAccount tokens. Tests sign with it themselves when they need a token
/// that lives for less than the ten minutes that TokenRequest demands.
pub(super) struct SigningKey {
    private: String,
    public: String,
    key: EcdsaKeyPair,
}

impl SigningKey {
    pub(super) fn generate() -> Result<Self, Error> {
        let pair = KeyPair::generate()?;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pair.serialized_der())
            .map_err(|_rejected| "the generated key is not taken")?;
        Ok(Self {
            private: pair.serialize_pem(),
            public: pair.public_key_pem(),
            key,
        })
    }

    /// PEM of the private and the public key.
    pub(super) fn pem(&self) -> (&str, &str) {
        (&self.private, &self.public)
    }

    /// A token as TokenRequest makes it, without a bound pod, that is taken for this long.
    pub(super) fn token(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
        lifetime: Duration,
    ) -> Result<String, Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let claims = json!({
            "iss": ISSUER,
            "aud": [ISSUER],
            "sub": format!("system:serviceaccount:{namespace}:{name}"),
            "iat": now,
            "nbf": now,
            "exp": now + lifetime.as_secs() - LEEWAY.as_secs(),
            "kubernetes.io": {
                "namespace": namespace,
                "serviceaccount": {"name": name, "uid": uid},
            },
        });
        let header = json!({"alg": "ES256", "typ": "JWT"});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", part(&header), part(&claims));
        let signature = self
            .key
            .sign(&SystemRandom::new(), text.as_bytes())
            .map_err(|_unspecified| "signing failed")?;
        Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// Writes a kubeconfig that reads its token from a file, as a pod does.
pub(super) fn write_kubeconfig(
    path: &Path,
    server: &str,
    authority: &str,
    token_file: &Path,
) -> Result<(), Error> {
    let text = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {
            "server": server,
            "certificate-authority-data":
                base64::engine::general_purpose::STANDARD.encode(authority),
        }}],
        "users": [{"name": "test", "user": {"tokenFile": token_file}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    });
    write(path, &text.to_string())
}

/// Writes a file by renaming, so that no reader sees half of it.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Error> {
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, text)?;
    Ok(std::fs::rename(fresh, path)?)
}
