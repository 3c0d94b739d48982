//! Certificates, keys, authorities and revocation lists, whole: DER as hexadecimal digits.

use std::fmt::Formatter;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::hash::{Hash128, hex, unhex};
use crate::secret::{
    CaBundle, Certificate, Credential, KeyForm, Password, PrivateKey, RevocationList,
};

/// The form of a [`Certificate`].
#[derive(Deserialize, Serialize)]
#[serde(remote = "Certificate", deny_unknown_fields)]
pub(super) struct CertificateForm {
    #[serde(with = "ders")]
    chain: Vec<Vec<u8>>,
    #[serde(with = "key")]
    key: PrivateKey,
    names: Vec<String>,
    not_before: i64,
    not_after: i64,
}

/// The form of a [`CaBundle`].
#[derive(Deserialize, Serialize)]
#[serde(remote = "CaBundle", deny_unknown_fields)]
pub(super) struct AuthoritiesForm {
    #[serde(with = "ders")]
    certificates: Vec<Vec<u8>>,
}

/// The form of a [`RevocationList`].
#[derive(Deserialize, Serialize)]
#[serde(remote = "RevocationList", deny_unknown_fields)]
pub(super) struct RevocationForm {
    #[serde(with = "ders")]
    lists: Vec<Vec<u8>>,
}

/// The form of a [`Credential`].
#[derive(Deserialize, Serialize)]
#[serde(remote = "Credential", deny_unknown_fields)]
pub(super) struct CredentialForm {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    username: String,
    #[serde(with = "password")]
    password: Password,
}

/// DER bytes.
struct Der<B>(B);

impl<B: AsRef<[u8]>> Serialize for Der<B> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = hex(self.0.as_ref()).into_bytes();
        let result = match std::str::from_utf8(&text) {
            Ok(text) => serializer.serialize_str(text),
            Err(error) => Err(serde::ser::Error::custom(error)),
        };
        // Best effort, as with the key itself: no copy of it is left behind.
        text.fill(0);
        std::hint::black_box(&text);
        result
    }
}

impl<'de> Deserialize<'de> for Der<Vec<u8>> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits;
        impl Visitor<'_> for Digits {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
                f.write_str("hexadecimal digits")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<u8>, E> {
                unhex(text).ok_or_else(|| E::custom("not hexadecimal digits"))
            }
        }
        deserializer.deserialize_str(Digits).map(Self)
    }
}

mod ders {
    use super::{Der, Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(ders: &[Vec<u8>], s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(ders.iter().map(Der))
    }

    pub(super) fn deserialize<'de, D>(deserializer: D) -> Result<Vec<Vec<u8>>, D::Error>
    where
        D: Deserializer<'de>,
    {
        let ders = Vec::<Der<Vec<u8>>>::deserialize(deserializer)?;
        Ok(ders.into_iter().map(|der| der.0).collect())
    }
}

mod key {
    use super::{
        Der, Deserialize, Deserializer, Hash128, KeyForm, PrivateKey, Serialize, Serializer,
    };

    #[derive(Deserialize, Serialize)]
    #[serde(deny_unknown_fields)]
    struct Form<D> {
        form: KeyForm,
        // Stored, because who reads does not have the key that it was made with.
        fingerprint: Hash128,
        der: D,
    }

    pub(super) fn serialize<S: Serializer>(key: &PrivateKey, s: S) -> Result<S::Ok, S::Error> {
        let form = Form {
            form: key.form(),
            fingerprint: key.fingerprint(),
            der: Der(key.der()),
        };
        form.serialize(s)
    }

    pub(super) fn deserialize<'de, D>(deserializer: D) -> Result<PrivateKey, D::Error>
    where
        D: Deserializer<'de>,
    {
        let Form {
            form,
            fingerprint,
            der: Der(der),
        } = Form::<Der<Vec<u8>>>::deserialize(deserializer)?;
        Ok(PrivateKey::from_parts(der, form, fingerprint))
    }
}

mod password {
    use super::{Der, Deserialize, Deserializer, Hash128, Password, Serialize, Serializer, de};

    #[derive(Deserialize, Serialize)]
    #[serde(deny_unknown_fields)]
    struct Form<D> {
        // As with keys: who reads cannot make it again.
        fingerprint: Hash128,
        text: D,
    }

    pub(super) fn serialize<S: Serializer>(password: &Password, s: S) -> Result<S::Ok, S::Error> {
        let form = Form {
            fingerprint: password.fingerprint(),
            text: Der(password.reveal().as_bytes()),
        };
        form.serialize(s)
    }

    pub(super) fn deserialize<'de, D>(deserializer: D) -> Result<Password, D::Error>
    where
        D: Deserializer<'de>,
    {
        let Form {
            fingerprint,
            text: Der(text),
        } = Form::<Der<Vec<u8>>>::deserialize(deserializer)?;
        let text = String::from_utf8(text).map_err(de::Error::custom)?;
        Ok(Password::from_parts(text, fingerprint))
    }
}
