//! The objects that users write: every kind of the groups `getambassador.io` and `legate.dev`, the core kinds that we
//! read, their schemas, and decoding of documents of any supported version into one typed shape.
//!
//! Not here: what the fields do (the compiler), and where documents come from (the source). There is
//! no logic on the types: they mirror the YAML in the shape of `v3alpha1`.

pub mod common;
mod convert;
pub mod core;
pub mod crd;
pub mod decode;
pub mod host;
pub mod listener;
pub mod mapping;
pub mod module;
pub mod object;
pub mod rate_limits;
pub mod resolvers;
pub mod schema;
pub mod services;
pub mod status;
pub mod tcp_mapping;
pub mod tls_context;

pub use common::{
    AddedHeader, CircuitBreaker, LabelSelector, LabelSelectorRequirement, NameReference, Priority,
    SelectorOperator, V2ExplicitTls,
};
pub use core::{
    ConfigMapBody, EndpointAddress, EndpointPort, EndpointSliceBody, EndpointSubset, EndpointsBody,
    SecretBody, ServiceBody, ServicePort, SliceEndpoint,
};
pub use crd::{crd_files, crd_yaml, crds};
pub use decode::{decode, decode_written_as};
pub use host::{
    AcmeProvider, HostSpec, HostTls, InsecureAction, InsecurePolicy, PreviewType, PreviewUrl,
    RequestPolicy, SecretReference,
};
pub use listener::{
    HostBinding, ListenerProtocol, ListenerSpec, NamespaceBinding, NamespaceFrom, SecurityModel,
    StackLayer,
};
pub use mapping::{
    Cors, DocsInfo, ErrorBody, ErrorResponseOverride, GrpcHealthCheck, HealthCheck,
    HealthCheckProbe, HttpHealthCheck, KeepAlive, LabelSpecifier, Labels, LoadBalancer,
    LoadBalancerCookie, LoadBalancerPolicy, MappingSpec, RegexSubstitution, RetryPolicy,
    StatusRange, TextFormatSource,
};
pub use module::ModuleSpec;
pub use object::{Body, Decoded, Issue, Kind, Meta, Object, ObjectKey, WrittenAs};
pub use rate_limits::{
    Enforcement, InjectedHeader, LimitDescriptor, LimitRate, LimitReplaces, LimitUnit,
    RateLimitAction, RateLimitErrorResponse, RateLimitHeaders, RateLimitLimit, RateLimitPolicySpec,
    RateLimitSpec, RateLimitStore,
};
pub use resolvers::{
    ConsulResolverSpec, KubernetesEndpointResolverSpec, KubernetesServiceResolverSpec,
};
pub use services::{
    AdditionalLogHeader, AuthProtocol, AuthServiceSpec, CollectorEndpointVersion, CustomTag,
    DevPortalSpec, IncludeBody, LogDriver, LogDriverConfig, LogServiceSpec, ProtocolVersion,
    RateLimitGrpc, RateLimitServiceSpec, StatusOnError, TagEnvironment, TagLiteral,
    TagRequestHeader, TraceConfig, TraceDriver, TraceSampling, TracingServiceSpec,
};
pub use tcp_mapping::TcpMappingSpec;
pub use tls_context::{TlsContextSpec, TlsVersion};
