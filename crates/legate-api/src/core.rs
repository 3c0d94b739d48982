//! The core kinds, reduced to what we read. Lenient: a field of a wrong shape is as if absent.
//!
//! Not here: how they are read (see [`mod@crate::decode`]).

use std::collections::BTreeMap;

/// A Service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceBody {
    /// `ClusterIP` (also when absent), `NodePort`, `LoadBalancer` or `ExternalName`.
    pub type_: Option<String>,
    /// `None` for a headless Service.
    pub cluster_ip: Option<String>,
    /// All cluster addresses.
    pub cluster_ips: Vec<String>,
    /// The DNS name of an `ExternalName` Service.
    pub external_name: Option<String>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
}

/// A port of a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServicePort {
    /// Name; may be absent when there is only one port.
    pub name: Option<String>,
    /// Number.
    pub port: u16,
    /// `targetPort`: a number or a name, as text.
    pub target_port: Option<String>,
    /// `TCP` when absent.
    pub protocol: Option<String>,
    /// `appProtocol`
    pub app_protocol: Option<String>,
}

/// An EndpointSlice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointSliceBody {
    /// `IPv4`, `IPv6` or `FQDN`.
    pub address_type: Option<String>,
    /// The Service, from the label `kubernetes.io/service-name`.
    pub service: Option<String>,
    /// The endpoints.
    pub endpoints: Vec<SliceEndpoint>,
    /// The ports, the same for all endpoints.
    pub ports: Vec<EndpointPort>,
}

/// An endpoint of a slice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// Its addresses.
    pub addresses: Vec<String>,
    /// `conditions.ready`; absent means ready.
    pub ready: Option<bool>,
    /// `conditions.serving`
    pub serving: Option<bool>,
    /// `conditions.terminating`
    pub terminating: Option<bool>,
    /// `zone`
    pub zone: Option<String>,
}

impl SliceEndpoint {
    /// Whether traffic may be sent to it.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready != Some(false)
    }

    /// Whether it is going away and still serves: better than nothing where no other is ready.
    #[must_use]
    pub fn is_last_resort(&self) -> bool {
        self.serving == Some(true) && self.terminating == Some(true)
    }
}

/// A port of endpoints.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointPort {
    /// Name of the Service's port.
    pub name: Option<String>,
    /// Number; absent means any.
    pub port: Option<u16>,
    /// `TCP` when absent.
    pub protocol: Option<String>,
    /// `appProtocol`
    pub app_protocol: Option<String>,
}

/// An Endpoints object; its name is the Service's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointsBody {
    /// The subsets.
    pub subsets: Vec<EndpointSubset>,
}

/// Addresses that share ports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointSubset {
    /// Those that are ready.
    pub addresses: Vec<EndpointAddress>,
    /// Those that are not.
    pub not_ready_addresses: Vec<EndpointAddress>,
    /// Their ports.
    pub ports: Vec<EndpointPort>,
}

/// An address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointAddress {
    /// The address.
    pub ip: String,
    /// Its host name.
    pub hostname: Option<String>,
}

/// A Secret. Its contents never appear in `Debug` output.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretBody {
    /// `type`
    pub type_: Option<String>,
    /// `data`, base64 decoded, and `stringData` over it.
    pub data: BTreeMap<String, Vec<u8>>,
}

impl std::fmt::Debug for SecretBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretBody")
            .field("type_", &self.type_)
            .field("keys", &self.data.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// A ConfigMap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigMapBody {
    /// `data`
    pub data: BTreeMap<String, String>,
    /// `binaryData`, base64 decoded.
    pub binary_data: BTreeMap<String, Vec<u8>>,
}
