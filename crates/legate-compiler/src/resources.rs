//! The objects of a compile: per object its current version and, while that one is rejected, the
//! last good one.

use std::collections::BTreeMap;
use std::sync::Arc;

use legate_api::{Kind, Object, ObjectKey};

/// The versions held of one object.
#[derive(Debug, Clone)]
pub struct Held {
    /// The version that the user wrote last.
    pub current: Arc<Object>,
    /// The last version that was accepted, if that is another one.
    pub last_good: Option<Arc<Object>>,
}

/// All objects, by key.
#[derive(Debug, Clone, Default)]
pub struct Resources {
    objects: BTreeMap<ObjectKey, Held>,
}

impl Resources {
    /// No objects.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a version in place of whatever there was, last good version included.
    pub fn insert(&mut self, object: Object) {
        self.objects.insert(
            object.key(),
            Held {
                current: Arc::new(object),
                last_good: None,
            },
        );
    }

    /// Puts a new version in place. `previous_accepted` says whether the version it replaces was
    /// accepted by a compile, which makes that one the last good version.
    pub fn replace(&mut self, object: Object, previous_accepted: bool) {
        let key = object.key();
        let current = Arc::new(object);
        let last_good = match self.objects.remove(&key) {
            Some(held) if previous_accepted => Some(held.current),
            Some(held) => held.last_good,
            None => None,
        };
        self.objects.insert(key, Held { current, last_good });
    }

    /// Sets the last good version of an object, e.g. one that survived a restart.
    pub fn set_last_good(&mut self, key: &ObjectKey, object: Object) {
        if let Some(held) = self.objects.get_mut(key) {
            held.last_good = Some(Arc::new(object));
        }
    }

    /// Forgets the last good version of an object.
    pub(crate) fn drop_last_good(&mut self, key: &ObjectKey) {
        if let Some(held) = self.objects.get_mut(key) {
            held.last_good = None;
        }
    }

    /// Removes an object.
    pub fn remove(&mut self, key: &ObjectKey) -> Option<Held> {
        self.objects.remove(key)
    }

    /// The versions of an object.
    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<&Held> {
        self.objects.get(key)
    }

    /// The versions of an object, with the key as it is held here.
    pub(crate) fn entry(&self, key: &ObjectKey) -> Option<(&ObjectKey, &Held)> {
        self.objects.get_key_value(key)
    }

    /// All objects in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &Held)> {
        self.objects.iter()
    }

    /// The objects of one kind, by namespace and then name.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = (&ObjectKey, &Held)> {
        let first = ObjectKey {
            kind,
            namespace: String::new(),
            name: String::new(),
        };
        self.objects
            .range(first..)
            .take_while(move |(key, _)| key.kind == kind)
    }

    /// Number of objects.
    #[must_use]
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there is no object.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }
}

impl FromIterator<Object> for Resources {
    /// Of objects with one key the first wins; who feeds us reports the others (`E-DUPLICATE`).
    fn from_iter<I: IntoIterator<Item = Object>>(objects: I) -> Self {
        let mut resources = Self::new();
        for object in objects {
            if resources.get(&object.key()).is_none() {
                resources.insert(object);
            }
        }
        resources
    }
}
