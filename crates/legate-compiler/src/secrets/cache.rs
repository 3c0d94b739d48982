//! Parsed Secrets, kept as long as the object is the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use legate_api::{Object, ObjectKey};

use super::Material;
use crate::resources::{Held, Resources};

/// Parsed Secrets by key; a pure optimisation.
#[derive(Debug, Default)]
pub(crate) struct SecretCache {
    parsed: Mutex<BTreeMap<ObjectKey, [Option<Arc<Material>>; 2]>>,
}

impl SecretCache {
    /// The current version of a Secret, parsed, and its last good one if there is one.
    pub(crate) fn material(
        &self,
        key: &ObjectKey,
        held: &Held,
        hash_key: &[u8; 32],
    ) -> (Arc<Material>, Option<Arc<Material>>) {
        let mut parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        let slots = parsed.entry(key.clone()).or_default();
        let [current, last_good] = slots;
        let current = refresh(current, &held.current, hash_key);
        let last_good = match &held.last_good {
            Some(object) => Some(refresh(last_good, object, hash_key)),
            None => {
                *last_good = None;
                None
            }
        };
        (current, last_good)
    }

    /// Forgets Secrets that are gone.
    pub(crate) fn sweep(&self, resources: &Resources) {
        self.parsed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|key, _| resources.get(key).is_some());
    }
}

fn refresh(
    slot: &mut Option<Arc<Material>>,
    object: &Arc<Object>,
    hash_key: &[u8; 32],
) -> Arc<Material> {
    match slot {
        Some(material) if Arc::ptr_eq(material.object(), object) && material.is_for(hash_key) => {
            Arc::clone(material)
        }
        _ => {
            let fresh = Arc::new(Material::new(Arc::clone(object), *hash_key));
            *slot = Some(Arc::clone(&fresh));
            fresh
        }
    }
}
