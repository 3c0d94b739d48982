//! The data-plane config: what the compiler produces and the gateway serves.
//!
//! Absences first: no Kubernetes type, no Emissary word that a front-end like Ingress or Gateway
//! API could not share, no default still to fill in, no I/O, no async, no clock. Every value here
//! is *resolved* and *validated*; the gateway only builds run-time objects (pools, acceptors,
//! compiled matchers) from it.
//!
//! Map:
//! - [`key`]: typed keys of the tables; [`hash`]: canonical content hashes
//! - [`table`]: keyed tables of shared entries; [`snapshot`]: one published version of them all
//! - [`listener`]: listeners, filter chains, virtual hosts; [`http`]: per-listener HTTP settings
//! - [`route`]: route sets, routes, ranks, matches, actions; [`policy`]: interned policy bundles;
//!   [`auth`]: the check among them; [`limit`]: what requests are counted by, and who is asked
//! - [`rules`]: rate limits that are counted by us
//! - [`cluster`]: clusters and endpoint sets; [`health`]: checks of endpoints; [`secret`]: certificates, CA bundles, CRLs
//! - [`codec`]: a whole snapshot as bytes and back, private keys included
//! - [`template`]: the `%OPERATOR%` language of header values and access logs
//! - [`diagnostic`]: what the compiler has to say about an object

pub mod auth;
pub mod cluster;
pub mod codec;
pub mod diagnostic;
pub mod hash;
pub mod health;
pub mod http;
pub mod key;
pub mod limit;
pub mod listener;
pub mod policy;
pub mod route;
pub mod rules;
pub mod secret;
pub mod snapshot;
pub mod table;
pub mod template;

pub use cluster::{Cluster, Endpoint, EndpointSet};
pub use diagnostic::{Code, Diagnostic, Effect, Location, ObjectRef, Severity};
pub use hash::Hash128;
pub use key::{
    CaKey, CertificateKey, ChainKey, ClusterKey, CredentialKey, CrlKey, EndpointSetKey,
    LimitDomainKey, ListenerKey, PolicyKey, RouteKey, RouteSetKey, VirtualHostKey,
};
pub use listener::{FilterChain, HostPattern, Listener, VirtualHost};
pub use policy::PolicySet;
pub use route::{Action, Rank, Route, RouteMatch, RouteSet};
pub use snapshot::{Origin, Snapshot};
pub use table::{Entry, Table};
