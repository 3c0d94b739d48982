//! Which EndpointSlices and Endpoints belong to which Service.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use legate_api::{Body, Kind, ObjectKey};

use crate::options::Options;
use crate::resources::Resources;
use crate::select;

/// Names a Service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ServiceName {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl ServiceName {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Objects that hold endpoints, by Service.
#[derive(Debug, Default)]
pub(crate) struct EndpointIndex {
    by_service: BTreeMap<ServiceName, BTreeSet<ObjectKey>>,
    owners: BTreeMap<ObjectKey, ServiceName>,
}

impl EndpointIndex {
    /// Takes note of a changed object. Returns the Services whose endpoints it touches, with
    /// whether each of them gained its first or lost its last holder of endpoints.
    pub(crate) fn note(
        &mut self,
        key: &ObjectKey,
        resources: &Resources,
        options: &Options,
    ) -> Vec<(ServiceName, bool)> {
        let new = owner(key, resources, options);
        let old = self.owners.remove(key);
        let mut touched = Vec::new();
        if let Some(old) = old
            && Some(&old) != new.as_ref()
        {
            let mut last = false;
            if let Some(keys) = self.by_service.get_mut(&old) {
                keys.remove(key);
                last = keys.is_empty();
            }
            if last {
                self.by_service.remove(&old);
            }
            touched.push((old, last));
        }
        if let Some(new) = new {
            let keys = self.by_service.entry(new.clone()).or_default();
            let first = keys.is_empty();
            keys.insert(key.clone());
            self.owners.insert(key.clone(), new.clone());
            touched.push((new, first));
        }
        touched
    }

    /// Whether some object holds endpoints of the Service, ready or not.
    pub(crate) fn has_endpoints(&self, service: &ServiceName) -> bool {
        self.by_service.contains_key(service)
    }

    /// The objects that hold endpoints of the Service.
    pub(super) fn holders(&self, service: &ServiceName) -> impl Iterator<Item = &ObjectKey> {
        self.by_service.get(service).into_iter().flatten()
    }
}

/// The Service whose endpoints an object holds.
fn owner(key: &ObjectKey, resources: &Resources, options: &Options) -> Option<ServiceName> {
    if !options.endpoints || !select::is_visible(key, options) {
        return None;
    }
    let object = select::effective(resources.get(key)?);
    match (&object.body, key.kind) {
        (Body::EndpointSlice(slice), _) => slice
            .service
            .as_deref()
            .map(|service| ServiceName::new(&key.namespace, service)),
        (_, Kind::Endpoints) => Some(ServiceName::new(&key.namespace, &key.name)),
        _ => None,
    }
}
