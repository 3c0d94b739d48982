//! What decoding yields: an object with its identity, its typed body and what was wrong with it.
//!
//! Not here: how a document becomes one (see [`mod@crate::decode`]).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::core::{ConfigMapBody, EndpointSliceBody, EndpointsBody, SecretBody, ServiceBody};
use crate::host::HostSpec;
use crate::listener::ListenerSpec;
use crate::mapping::MappingSpec;
use crate::module::ModuleSpec;
use crate::rate_limits::{RateLimitPolicySpec, RateLimitSpec};
use crate::resolvers::{
    ConsulResolverSpec, KubernetesEndpointResolverSpec, KubernetesServiceResolverSpec,
};
use crate::services::{
    AuthServiceSpec, DevPortalSpec, LogServiceSpec, RateLimitServiceSpec, TracingServiceSpec,
};
use crate::tcp_mapping::TcpMappingSpec;
use crate::tls_context::TlsContextSpec;

/// One object as decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Identity, labels and annotations.
    pub meta: Meta,
    /// The version that the object was written as, which decides what an absent field means.
    pub written_as: WrittenAs,
    /// The typed content.
    pub body: Body,
    /// What decoding found. An issue with an `E-` code means: rejected (spec/routing §7.1); `body`
    /// still holds whatever was readable.
    pub issues: Vec<Issue>,
    /// The object as its API server gave it, as JSON without `managedFields` and `status`: what is
    /// kept of a last good version. `None` for objects from files, and for core kinds.
    pub raw: Option<Arc<str>>,
}

impl Object {
    /// Kind, namespace and name.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        ObjectKey {
            kind: self.kind(),
            namespace: self.meta.namespace.clone(),
            name: self.meta.name.clone(),
        }
    }

    /// The kind of the body.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.body.kind()
    }

    /// The object's `ambassador_id`; empty for the default id, and for kinds that have none.
    #[must_use]
    pub fn ids(&self) -> &[String] {
        self.body.ids()
    }

    /// Whether the schema rejects the object.
    #[must_use]
    pub fn is_rejected(&self) -> bool {
        self.issues.iter().any(Issue::is_error)
    }
}

/// The part of an object's metadata that we read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta {
    /// Never empty after decoding, except for kinds without a namespace.
    pub namespace: String,
    /// Never empty after decoding.
    pub name: String,
    /// `metadata.labels`
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`
    pub annotations: BTreeMap<String, String>,
    /// `metadata.uid`; only from an API server.
    pub uid: Option<String>,
    /// `metadata.resourceVersion`; only from an API server.
    pub resource_version: Option<String>,
    /// `metadata.generation`; 0 when absent.
    pub generation: i64,
    /// `metadata.creationTimestamp`, RFC 3339; only from an API server.
    pub creation_timestamp: Option<String>,
}

/// The version that an object was written as. `v2` and `v3alpha1` differ in meaning: a v2 Mapping
/// without a host means every host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WrittenAs {
    /// `getambassador.io/v1` or `ambassador/v1`
    V1,
    /// `getambassador.io/v2` or `ambassador/v2`
    V2,
    /// `getambassador.io/v3alpha1`, and kinds of our own
    V3Alpha1,
    /// A kind that is not of the group.
    Core,
}

/// Kind, namespace and name; ordered in that order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Kind.
    pub kind: Kind,
    /// Namespace; empty for kinds without one.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal in $versions:expr;)*) => {
        /// Every kind that we read.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $($(#[$doc])* $variant,)* }

        impl Kind {
            /// All kinds, in order.
            pub const ALL: &[Kind] = &[$(Kind::$variant),*];

            /// The kind's name as in YAML.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Kind::$variant => $name,)* }
            }

            /// The `apiVersion`s that we read the kind in.
            #[must_use]
            pub fn api_versions(self) -> &'static [&'static str] {
                match self { $(Kind::$variant => $versions,)* }
            }
        }
    };
}

/// `apiVersion`s of a kind that was there from the start. `ambassador/vN` is the group's old name.
const SINCE_V1: &[&str] = &[
    "getambassador.io/v3alpha1",
    "getambassador.io/v2",
    "getambassador.io/v1",
    "ambassador/v2",
    "ambassador/v1",
];
const SINCE_V2: &[&str] = &[
    "getambassador.io/v3alpha1",
    "getambassador.io/v2",
    "ambassador/v2",
];
const SINCE_V3ALPHA1: &[&str] = &["getambassador.io/v3alpha1"];
/// Kinds that Emissary does not have.
const OUR_OWN: &[&str] = &["legate.dev/v1alpha1"];

kinds! {
    /// A DNS name with its TLS and request policy.
    Host = "Host" in SINCE_V2;
    /// A port.
    Listener = "Listener" in SINCE_V3ALPHA1;
    /// HTTP routes.
    Mapping = "Mapping" in SINCE_V1;
    /// A TCP route.
    TcpMapping = "TCPMapping" in SINCE_V1;
    /// TLS settings.
    TlsContext = "TLSContext" in SINCE_V1;
    /// Global settings.
    Module = "Module" in SINCE_V1;
    /// Upstreams from endpoints.
    KubernetesEndpointResolver = "KubernetesEndpointResolver" in SINCE_V1;
    /// Upstreams from service DNS.
    KubernetesServiceResolver = "KubernetesServiceResolver" in SINCE_V1;
    /// Upstreams from Consul.
    ConsulResolver = "ConsulResolver" in SINCE_V1;
    /// External authorisation.
    AuthService = "AuthService" in SINCE_V1;
    /// External rate limiting.
    RateLimitService = "RateLimitService" in SINCE_V1;
    /// Limits, as Edge Stack has them.
    RateLimit = "RateLimit" in SINCE_V1;
    /// Limits that the gateways count themselves.
    RateLimitPolicy = "RateLimitPolicy" in OUR_OWN;
    /// gRPC access logs.
    LogService = "LogService" in SINCE_V1;
    /// Tracing.
    TracingService = "TracingService" in SINCE_V1;
    /// A developer portal; recognised, not served.
    DevPortal = "DevPortal" in SINCE_V1;
    /// Core Service.
    Service = "Service" in &["v1"];
    /// Endpoints of a Service.
    EndpointSlice = "EndpointSlice" in &["discovery.k8s.io/v1"];
    /// Endpoints of a Service, the old way.
    Endpoints = "Endpoints" in &["v1"];
    /// Core Secret.
    Secret = "Secret" in &["v1"];
    /// Core ConfigMap.
    ConfigMap = "ConfigMap" in &["v1"];
    /// Core Namespace.
    Namespace = "Namespace" in &["v1"];
    /// Kubernetes Ingress.
    Ingress = "Ingress" in &["networking.k8s.io/v1"];
    /// Class of Ingresses.
    IngressClass = "IngressClass" in &["networking.k8s.io/v1"];
}

impl Kind {
    /// The kind of a document, if we read it in that version.
    #[must_use]
    pub fn parse(api_version: &str, kind: &str) -> Option<Kind> {
        Kind::ALL
            .iter()
            .copied()
            .find(|known| known.as_str() == kind && known.api_versions().contains(&api_version))
    }

    /// Group and version that objects of the kind are stored in: the first that we read.
    #[must_use]
    pub fn stored_version(self) -> &'static str {
        self.api_versions().first().copied().unwrap_or("v1")
    }

    /// Whether objects of this kind have no namespace.
    #[must_use]
    pub fn is_cluster_scoped(self) -> bool {
        matches!(self, Kind::Namespace | Kind::IngressClass)
    }

    /// Whether the kind is a custom resource that we read: of the group `getambassador.io`, or of our
    /// own.
    #[must_use]
    pub fn is_ambassador(self) -> bool {
        self <= Kind::DevPortal
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The typed content of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Host
    Host(Box<HostSpec>),
    /// Listener
    Listener(Box<ListenerSpec>),
    /// Mapping
    Mapping(Box<MappingSpec>),
    /// TCPMapping
    TcpMapping(Box<TcpMappingSpec>),
    /// TLSContext
    TlsContext(Box<TlsContextSpec>),
    /// Module
    Module(ModuleSpec),
    /// KubernetesEndpointResolver
    KubernetesEndpointResolver(KubernetesEndpointResolverSpec),
    /// KubernetesServiceResolver
    KubernetesServiceResolver(KubernetesServiceResolverSpec),
    /// ConsulResolver
    ConsulResolver(ConsulResolverSpec),
    /// AuthService
    AuthService(Box<AuthServiceSpec>),
    /// RateLimitService
    RateLimitService(Box<RateLimitServiceSpec>),
    /// RateLimit
    RateLimit(Box<RateLimitSpec>),
    /// RateLimitPolicy
    RateLimitPolicy(Box<RateLimitPolicySpec>),
    /// LogService
    LogService(Box<LogServiceSpec>),
    /// TracingService
    TracingService(Box<TracingServiceSpec>),
    /// DevPortal
    DevPortal(DevPortalSpec),
    /// Service
    Service(ServiceBody),
    /// EndpointSlice
    EndpointSlice(EndpointSliceBody),
    /// Endpoints
    Endpoints(EndpointsBody),
    /// Secret
    Secret(SecretBody),
    /// ConfigMap
    ConfigMap(ConfigMapBody),
    /// Namespace
    Namespace,
    /// Ingress, as written.
    Ingress(Value),
    /// IngressClass, as written.
    IngressClass(Value),
}

impl Body {
    /// The kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Body::Host(_) => Kind::Host,
            Body::Listener(_) => Kind::Listener,
            Body::Mapping(_) => Kind::Mapping,
            Body::TcpMapping(_) => Kind::TcpMapping,
            Body::TlsContext(_) => Kind::TlsContext,
            Body::Module(_) => Kind::Module,
            Body::KubernetesEndpointResolver(_) => Kind::KubernetesEndpointResolver,
            Body::KubernetesServiceResolver(_) => Kind::KubernetesServiceResolver,
            Body::ConsulResolver(_) => Kind::ConsulResolver,
            Body::AuthService(_) => Kind::AuthService,
            Body::RateLimitService(_) => Kind::RateLimitService,
            Body::RateLimit(_) => Kind::RateLimit,
            Body::RateLimitPolicy(_) => Kind::RateLimitPolicy,
            Body::LogService(_) => Kind::LogService,
            Body::TracingService(_) => Kind::TracingService,
            Body::DevPortal(_) => Kind::DevPortal,
            Body::Service(_) => Kind::Service,
            Body::EndpointSlice(_) => Kind::EndpointSlice,
            Body::Endpoints(_) => Kind::Endpoints,
            Body::Secret(_) => Kind::Secret,
            Body::ConfigMap(_) => Kind::ConfigMap,
            Body::Namespace => Kind::Namespace,
            Body::Ingress(_) => Kind::Ingress,
            Body::IngressClass(_) => Kind::IngressClass,
        }
    }

    fn ids(&self) -> &[String] {
        match self {
            Body::Host(spec) => &spec.ambassador_id,
            Body::Listener(spec) => &spec.ambassador_id,
            Body::Mapping(spec) => &spec.ambassador_id,
            Body::TcpMapping(spec) => &spec.ambassador_id,
            Body::TlsContext(spec) => &spec.ambassador_id,
            Body::Module(spec) => &spec.ambassador_id,
            Body::KubernetesEndpointResolver(spec) => &spec.ambassador_id,
            Body::KubernetesServiceResolver(spec) => &spec.ambassador_id,
            Body::ConsulResolver(spec) => &spec.ambassador_id,
            Body::AuthService(spec) => &spec.ambassador_id,
            Body::RateLimitService(spec) => &spec.ambassador_id,
            Body::RateLimit(spec) => &spec.ambassador_id,
            Body::RateLimitPolicy(spec) => &spec.ambassador_id,
            Body::LogService(spec) => &spec.ambassador_id,
            Body::TracingService(spec) => &spec.ambassador_id,
            Body::DevPortal(spec) => &spec.ambassador_id,
            _ => &[],
        }
    }
}

/// Something that decoding found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// A stable code such as `E-SCHEMA`; the first letter is the severity.
    pub code: &'static str,
    /// Where, e.g. `spec.headers.x-a` or `spec.hosts[2]`.
    pub path: String,
    /// What is wrong, one sentence without a final stop.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Issue {
    /// Whether it rejects the object.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.code.starts_with("E-")
    }
}

/// What became of a document.
#[allow(
    clippy::large_enum_variant,
    reason = "nearly all are objects, and each is taken apart at once"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// An object of a kind that we read.
    Object(Object),
    /// A Kubernetes object that we do not read.
    UnknownKind {
        /// Its `apiVersion`.
        api_version: String,
        /// Its `kind`.
        kind: String,
    },
    /// No Kubernetes object, or one that cannot be told from others because it has no name.
    NotAnObject {
        /// Why not.
        message: String,
    },
}
