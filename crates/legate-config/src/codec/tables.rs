//! Tables and their entries: `{key: {origins, value}}`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::secrets::{AuthoritiesForm, CertificateForm, CredentialForm, RevocationForm};
use crate::cluster::{Cluster, EndpointSet};
use crate::hash::Hash128;
use crate::key::{
    CaKey, CertificateKey, ChainKey, ClusterKey, CredentialKey, CrlKey, EndpointSetKey,
    LimitDomainKey, ListenerKey, PolicyKey, RouteKey, RouteSetKey, VirtualHostKey,
};
use crate::listener::{FilterChain, Listener, VirtualHost};
use crate::policy::PolicySet;
use crate::route::{Route, RouteSet};
use crate::rules::LimitDomain;
use crate::secret::{CaBundle, Certificate, Credential, RevocationList};
use crate::snapshot::{Origin, Snapshot};
use crate::table::{Entry, Table};

/// The form of a [`Snapshot`]'s tables; the compiler checks that none is missing.
#[derive(Deserialize, Serialize)]
#[serde(remote = "Snapshot", deny_unknown_fields)]
pub(super) struct SnapshotForm {
    #[serde(skip)]
    id: u64,
    #[serde(skip)]
    root: Hash128,
    #[serde(default, skip_serializing_if = "Table::is_empty", with = "self")]
    listeners: Table<ListenerKey, Listener>,
    #[serde(default, skip_serializing_if = "Table::is_empty", with = "self")]
    chains: Table<ChainKey, FilterChain>,
    #[serde(default, skip_serializing_if = "Table::is_empty", with = "self")]
    virtual_hosts: Table<VirtualHostKey, VirtualHost>,
    #[serde(default, skip_serializing_if = "Table::is_empty", with = "self")]
    route_sets: Table<RouteSetKey, RouteSet>,
    #[serde(default, skip_serializing_if = "Table::is_empty", with = "self")]
    routes: Table<RouteKey, Route>,
    #[serde(default, skip_serializing_if = "Table::is_empty", with = "self")]
    policies: Table<PolicyKey, PolicySet>,
    #[serde(default, skip_serializing_if = "Table::is_empty", with = "self")]
    clusters: Table<ClusterKey, Cluster>,
    #[serde(default, skip_serializing_if = "Table::is_empty", with = "self")]
    endpoint_sets: Table<EndpointSetKey, EndpointSet>,
    #[serde(default, skip_serializing_if = "Table::is_empty", with = "self")]
    certificates: Table<CertificateKey, Certificate>,
    #[serde(default, skip_serializing_if = "Table::is_empty", with = "self")]
    ca_bundles: Table<CaKey, CaBundle>,
    #[serde(default, skip_serializing_if = "Table::is_empty", with = "self")]
    revocation_lists: Table<CrlKey, RevocationList>,
    #[serde(default, skip_serializing_if = "Table::is_empty", with = "self")]
    limits: Table<LimitDomainKey, LimitDomain>,
    #[serde(default, skip_serializing_if = "Table::is_empty", with = "self")]
    credentials: Table<CredentialKey, Credential>,
}

/// A value with a form in which all of it is written down. For most that is how it serialises; for
/// those with key material it is not.
trait Whole: Serialize + Sized {
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

macro_rules! as_serialised {
    ($($type:ty),*) => {$(
        impl Whole for $type {
            fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.serialize(serializer)
            }

            fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::deserialize(deserializer)
            }
        }
    )*};
}

as_serialised!(
    Listener,
    FilterChain,
    VirtualHost,
    RouteSet,
    Route,
    PolicySet,
    Cluster,
    EndpointSet,
    LimitDomain
);

macro_rules! in_form {
    ($($type:ty: $form:ty),*) => {$(
        impl Whole for $type {
            fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                <$form>::serialize(self, serializer)
            }

            fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <$form>::deserialize(deserializer)
            }
        }
    )*};
}

in_form!(
    Certificate: CertificateForm,
    CaBundle: AuthoritiesForm,
    RevocationList: RevocationForm,
    Credential: CredentialForm
);

#[derive(Serialize)]
#[serde(bound = "T: Whole")]
struct Written<'a, T> {
    #[serde(skip_serializing_if = "<[Origin]>::is_empty")]
    origins: &'a [Origin],
    #[serde(serialize_with = "write")]
    value: &'a T,
}

#[derive(Deserialize)]
#[serde(bound = "T: Whole", deny_unknown_fields)]
struct Read<T> {
    #[serde(default)]
    origins: Vec<Origin>,
    #[serde(deserialize_with = "Whole::read")]
    value: T,
}

fn write<T: Whole, S: Serializer>(value: &&T, serializer: S) -> Result<S::Ok, S::Error> {
    value.write(serializer)
}

fn serialize<K, T, S>(table: &Table<K, T>, serializer: S) -> Result<S::Ok, S::Error>
where
    K: Serialize + Ord,
    T: Whole,
    S: Serializer,
{
    let mut map = serializer.serialize_map(Some(table.len()))?;
    for (key, entry) in table.iter() {
        let written = Written {
            origins: &entry.origins,
            value: &*entry.value,
        };
        map.serialize_entry(key, &written)?;
    }
    map.end()
}

fn deserialize<'de, K, T, D>(deserializer: D) -> Result<Table<K, T>, D::Error>
where
    K: DeserializeOwned + Ord,
    T: Whole,
    D: Deserializer<'de>,
{
    let read = BTreeMap::<K, Read<T>>::deserialize(deserializer)?;
    let entries = read
        .into_iter()
        .map(|(key, read)| (key, Entry::new(read.value, Arc::from(read.origins))));
    Ok(entries.collect())
}
