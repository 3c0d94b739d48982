//! Keyed tables of shared, hashed entries.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::hash::Hash128;
use crate::snapshot::Origin;

/// One entry of a table: the value, the hash of its content, and where it came from.
///
/// Origins are beside the content and not hashed: a new generation of an object without an
/// effective change leaves the hash alone.
#[derive(Debug)]
pub struct Entry<T> {
    /// The content.
    pub value: Arc<T>,
    /// Hash of the content.
    pub hash: Hash128,
    /// The objects that this entry was made from; several where objects merged.
    pub origins: Arc<[Origin]>,
}

impl<T> Clone for Entry<T> {
    fn clone(&self) -> Self {
        Self {
            value: Arc::clone(&self.value),
            hash: self.hash,
            origins: Arc::clone(&self.origins),
        }
    }
}

impl<T: Serialize> Entry<T> {
    /// An entry for a value, hashed here.
    #[must_use]
    pub fn new(value: T, origins: impl Into<Arc<[Origin]>>) -> Self {
        let hash = Hash128::of(&value);
        Self {
            value: Arc::new(value),
            hash,
            origins: origins.into(),
        }
    }
}

/// A table: entries by key, in key order. Clones share their entries until one of them changes.
#[derive(Debug)]
pub struct Table<K, T> {
    entries: Arc<BTreeMap<K, Entry<T>>>,
}

impl<K, T> Default for Table<K, T> {
    fn default() -> Self {
        Self {
            entries: Arc::default(),
        }
    }
}

impl<K, T> Clone for Table<K, T> {
    fn clone(&self) -> Self {
        Self {
            entries: Arc::clone(&self.entries),
        }
    }
}

impl<K: Ord, T> Table<K, T> {
    /// The value under a key.
    #[must_use]
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&Arc<T>>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// The whole entry under a key.
    #[must_use]
    pub fn entry<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&Entry<T>>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key)
    }

    /// Puts an entry under a key and returns the one it replaces.
    pub fn insert(&mut self, key: K, entry: Entry<T>) -> Option<Entry<T>>
    where
        K: Clone,
    {
        Arc::make_mut(&mut self.entries).insert(key, entry)
    }

    /// Removes the entry under a key.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<Entry<T>>
    where
        K: Borrow<Q> + Clone,
    {
        Arc::make_mut(&mut self.entries).remove(key)
    }

    /// All entries in key order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &Entry<T>)> + ExactSizeIterator {
        self.entries.iter()
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<K, T> FromIterator<(K, Entry<T>)> for Table<K, T>
where
    K: Ord,
{
    fn from_iter<I: IntoIterator<Item = (K, Entry<T>)>>(iter: I) -> Self {
        Self {
            entries: Arc::new(iter.into_iter().collect()),
        }
    }
}

impl<K: Serialize, T: Serialize> Serialize for Table<K, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.entries.len()))?;
        for (key, entry) in self.entries.iter() {
            map.serialize_entry(key, &*entry.value)?;
        }
        map.end()
    }
}
