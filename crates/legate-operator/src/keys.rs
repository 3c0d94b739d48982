//! The key that hashes of Secrets are made with, shared by all replicas of an instance: they have
//! to agree byte for byte on what they publish (operator.md §4).
//!
//! Not here: the CA key pairs, which lie in the same Secret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use thiserror::Error;

use crate::fault;
use crate::identity::Identity;

const KEY: &str = "hash-key";

/// Why there is no key. None of the texts holds any of the Secret's data.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// The API server does not let us.
    #[error("Secret {secret} may not be read or created: {message}")]
    Forbidden {
        /// Namespace and name.
        secret: String,
        /// The API server's words.
        message: String,
    },
    /// The Secret is there and its key is unusable.
    #[error(
        "`hash-key` in Secret {secret} is not 32 bytes long; delete the Secret to have it made again"
    )]
    Malformed {
        /// Namespace and name.
        secret: String,
    },
    /// No answer, or none that helps; worth another attempt.
    #[error("Secret {secret} cannot be read or created: {message}")]
    Api {
        /// Namespace and name.
        secret: String,
        /// What went wrong.
        message: String,
    },
}

/// The instance's key, made if there is none yet. Of several replicas that make one at once, one
/// wins and all get its key.
///
/// # Errors
/// When the API server is away or refuses, or holds something else under that name. When to try
/// again is the caller's choice; an API server that starts may answer 403 for a moment.
pub async fn hash_key(client: kube::Client, identity: &Identity) -> Result<[u8; 32], KeyError> {
    let name = identity.discovery_secret_name();
    let secret = format!("{}/{name}", identity.namespace);
    let api: Api<Secret> = Api::namespaced(client, &identity.namespace);
    let found = api.get_opt(&name).await.map_err(|e| refused(&secret, &e))?;
    if let Some(key) = found.as_ref().and_then(key_of) {
        return key.ok_or(KeyError::Malformed { secret });
    }
    match create(&api, &name).await {
        Ok(created) => key_of(&created).flatten(),
        // Another replica was faster.
        Err(error) if fault::code(&error) == 409 => {
            let found = api.get(&name).await.map_err(|e| refused(&secret, &e))?;
            key_of(&found).flatten()
        }
        Err(error) => return Err(refused(&secret, &error)),
    }
    .ok_or(KeyError::Malformed { secret })
}

/// Applies a new key. Each attempt is a field manager of its own, without force: so two different
/// keys are a conflict, which one and the same manager would not have with itself.
async fn create(api: &Api<Secret>, name: &str) -> kube::Result<Secret> {
    let key: [u8; 32] = rand::random();
    let manager = format!("legate-hash-key-{:016x}", rand::random::<u64>());
    let body = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "data": {KEY: STANDARD.encode(key)},
    });
    api.patch(name, &PatchParams::apply(&manager), &Patch::Apply(&body))
        .await
}

/// The key, if there is any; inside, if it is one.
fn key_of(secret: &Secret) -> Option<Option<[u8; 32]>> {
    let bytes = &secret.data.as_ref()?.get(KEY)?.0;
    Some(<[u8; 32]>::try_from(bytes.as_slice()).ok())
}

fn refused(secret: &str, error: &kube::Error) -> KeyError {
    let (secret, message) = (secret.to_owned(), fault::describe(error));
    match fault::code(error) {
        401 | 403 => KeyError::Forbidden { secret, message },
        _ => KeyError::Api { secret, message },
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    fn secret(key: &str, length: usize) -> Secret {
        Secret {
            data: Some([(key.to_owned(), ByteString(vec![7; length]))].into()),
            ..Secret::default()
        }
    }

    #[test]
    fn only_32_bytes_are_a_key() {
        assert_eq!(key_of(&Secret::default()), None);
        assert_eq!(
            key_of(&secret("ca.key", 32)),
            None,
            "the CA may be there first"
        );
        assert_eq!(key_of(&secret(KEY, 31)), Some(None));
        assert_eq!(key_of(&secret(KEY, 32)), Some(Some([7; 32])));
    }

    #[test]
    fn errors_are_told_apart() {
        let status = |code| {
            kube::Error::Api(Box::new(kube::core::Status {
                code,
                ..Default::default()
            }))
        };
        assert!(matches!(
            refused("n/s", &status(403)),
            KeyError::Forbidden { .. }
        ));
        assert!(matches!(refused("n/s", &status(503)), KeyError::Api { .. }));
    }
}
