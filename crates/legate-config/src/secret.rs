//! Parsed and validated key material. Private parts never print, and only [`crate::codec`] writes
//! them down: that is why nothing here but their form can be deserialised.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use crate::hash::Hash128;

/// A certificate chain with its private key; the pair was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// DER certificates, leaf first. Printed as their hashes.
    #[serde(serialize_with = "der_hashes")]
    pub chain: Vec<Vec<u8>>,
    /// The DER private key.
    pub key: PrivateKey,
    /// DNS names (and IP addresses as text) of the leaf, lower-case, wildcards as written.
    pub names: Vec<String>,
    /// Start of validity, seconds since the epoch.
    pub not_before: i64,
    /// End of validity, seconds since the epoch.
    pub not_after: i64,
}

/// A private key in DER. Prints and serialises only a keyed fingerprint.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey {
    der: Vec<u8>,
    form: KeyForm,
    fingerprint: Hash128,
}

/// DER form of a private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyForm {
    /// PKCS#8
    Pkcs8,
    /// PKCS#1 (RSA)
    Pkcs1,
    /// SEC1 (EC)
    Sec1,
}

impl PrivateKey {
    /// A key; `hash_key` is shared by the replicas of an instance, so that they agree on the
    /// fingerprint and nobody else can guess from it.
    #[must_use]
    pub fn new(der: Vec<u8>, form: KeyForm, hash_key: &[u8; 32]) -> Self {
        let fingerprint = Hash128::keyed(hash_key, &der);
        Self {
            der,
            form,
            fingerprint,
        }
    }

    /// A key as it was taken apart; the fingerprint is taken on trust.
    pub(crate) fn from_parts(der: Vec<u8>, form: KeyForm, fingerprint: Hash128) -> Self {
        Self {
            der,
            form,
            fingerprint,
        }
    }

    /// The keyed fingerprint.
    pub(crate) fn fingerprint(&self) -> Hash128 {
        self.fingerprint
    }

    /// The DER bytes.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The DER form.
    #[must_use]
    pub fn form(&self) -> KeyForm {
        self.form
    }
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        // Best effort without unsafe code: overwrite before the allocation is returned.
        self.der.fill(0);
        std::hint::black_box(&self.der);
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<redacted {}>", self.fingerprint.short())
    }
}

impl Serialize for PrivateKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("<redacted {}>", self.fingerprint))
    }
}

/// What a service is told to let us in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Credential {
    /// The user; empty = the service's default one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// The password.
    pub password: Password,
}

/// A password. Prints and serialises only a keyed fingerprint.
#[derive(Clone, PartialEq, Eq)]
pub struct Password {
    text: String,
    fingerprint: Hash128,
}

impl Password {
    /// A password; `hash_key` as in [`PrivateKey::new`].
    #[must_use]
    pub fn new(text: String, hash_key: &[u8; 32]) -> Self {
        let fingerprint = Hash128::keyed(hash_key, text.as_bytes());
        Self { text, fingerprint }
    }

    /// A password as it was taken apart; the fingerprint is taken on trust.
    pub(crate) fn from_parts(text: String, fingerprint: Hash128) -> Self {
        Self { text, fingerprint }
    }

    /// The keyed fingerprint.
    pub(crate) fn fingerprint(&self) -> Hash128 {
        self.fingerprint
    }

    /// The password itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

impl Drop for Password {
    fn drop(&mut self) {
        // As with a private key.
        let mut bytes = std::mem::take(&mut self.text).into_bytes();
        bytes.fill(0);
        std::hint::black_box(&bytes);
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<redacted {}>", self.fingerprint.short())
    }
}

impl Serialize for Password {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("<redacted {}>", self.fingerprint))
    }
}

/// Certificate authorities that a peer's chain must lead to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CaBundle {
    /// DER certificates. Printed as their hashes.
    #[serde(serialize_with = "der_hashes")]
    pub certificates: Vec<Vec<u8>>,
}

/// Certificate revocation lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RevocationList {
    /// DER lists. Printed as their hashes.
    #[serde(serialize_with = "der_hashes")]
    pub lists: Vec<Vec<u8>>,
}

fn der_hashes<S: Serializer>(items: &[Vec<u8>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(items.iter().map(|der| Hash128::of_bytes(der)))
}
