//! One published version of the whole config.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::cluster::{Cluster, EndpointSet};
use crate::diagnostic::ObjectRef;
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
use crate::table::Table;

/// Where an entry came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Origin {
    /// The object.
    #[serde(flatten)]
    pub object: ObjectRef,
    /// `metadata.generation`, 0 when it has none (folder mode).
    #[serde(skip_serializing_if = "is_zero")]
    pub generation: i64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde's skip_serializing_if passes by reference"
)]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

// By hand: a flattened field and the refusal of unknown ones exclude each other.
impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Form {
            kind: String,
            namespace: String,
            name: String,
            #[serde(default)]
            generation: i64,
        }
        let form = Form::deserialize(deserializer)?;
        Ok(Self {
            object: ObjectRef {
                kind: form.kind,
                namespace: form.namespace,
                name: form.name,
            },
            generation: form.generation,
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.object, f)
    }
}

/// One version of the data-plane config: all tables, and the hash of their content.
///
/// Equal roots mean equal configs. Parents are named by children (a route names its route set),
/// so that adding a route touches one record. A snapshot is immutable once published.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Snapshot {
    /// Monotonic per compiler; not hashed.
    #[serde(skip)]
    pub id: u64,
    /// Hash over all (table, key, hash) in order.
    #[serde(skip)]
    pub root: Hash128,
    /// Bound sockets.
    #[serde(skip_serializing_if = "Table::is_empty")]
    pub listeners: Table<ListenerKey, Listener>,
    /// Filter chains of the listeners.
    #[serde(skip_serializing_if = "Table::is_empty")]
    pub chains: Table<ChainKey, FilterChain>,
    /// Virtual hosts of the listeners.
    #[serde(skip_serializing_if = "Table::is_empty")]
    pub virtual_hosts: Table<VirtualHostKey, VirtualHost>,
    /// Route sets, shared by any number of virtual hosts.
    #[serde(skip_serializing_if = "Table::is_empty")]
    pub route_sets: Table<RouteSetKey, RouteSet>,
    /// Routes of the route sets.
    #[serde(skip_serializing_if = "Table::is_empty")]
    pub routes: Table<RouteKey, Route>,
    /// Interned policy bundles.
    #[serde(skip_serializing_if = "Table::is_empty")]
    pub policies: Table<PolicyKey, PolicySet>,
    /// Upstream clusters.
    #[serde(skip_serializing_if = "Table::is_empty")]
    pub clusters: Table<ClusterKey, Cluster>,
    /// Endpoints of the clusters; updated on a path of its own.
    #[serde(skip_serializing_if = "Table::is_empty")]
    pub endpoint_sets: Table<EndpointSetKey, EndpointSet>,
    /// Server and client certificates with their keys.
    #[serde(skip_serializing_if = "Table::is_empty")]
    pub certificates: Table<CertificateKey, Certificate>,
    /// Certificate authorities.
    #[serde(skip_serializing_if = "Table::is_empty")]
    pub ca_bundles: Table<CaKey, CaBundle>,
    /// Revocation lists.
    #[serde(skip_serializing_if = "Table::is_empty")]
    pub revocation_lists: Table<CrlKey, RevocationList>,
    /// Rate limits that are counted by us, by domain.
    #[serde(skip_serializing_if = "Table::is_empty")]
    pub limits: Table<LimitDomainKey, LimitDomain>,
    /// User names and passwords of services.
    #[serde(skip_serializing_if = "Table::is_empty")]
    pub credentials: Table<CredentialKey, Credential>,
}

impl Snapshot {
    /// Computes the root hash over all tables as they are now.
    #[must_use]
    pub fn compute_root(&self) -> Hash128 {
        let mut bytes = Vec::with_capacity(64 * (self.routes.len() + 64));
        macro_rules! feed {
            ($($table:ident),*) => {$( feed!(always $table); )*};
            (always $table:ident) => {
                bytes.extend_from_slice(stringify!($table).as_bytes());
                for (key, entry) in self.$table.iter() {
                    bytes.push(0);
                    bytes.extend_from_slice(key.as_str().as_bytes());
                    bytes.push(0);
                    bytes.extend_from_slice(entry.hash.as_bytes());
                }
                bytes.push(1);
            };
        }
        feed!(
            listeners,
            chains,
            virtual_hosts,
            route_sets,
            routes,
            policies,
            clusters,
            endpoint_sets,
            certificates,
            ca_bundles,
            revocation_lists
        );
        // Without them the root is that of an older schema, whose writers knew of none.
        if !self.limits.is_empty() {
            feed!(limits);
        }
        if !self.credentials.is_empty() {
            feed!(credentials);
        }
        Hash128::of_bytes(&bytes)
    }
}
