//! Real parts for tests and benchmarks: origins, clients, certificates, a Kubernetes API server, a
//! Redis.
//!
//! Nothing here imitates a protocol: servers are hyper, rustls and sockets. There are two
//! exceptions: [`fixed`], an origin so cheap that it never is the bottleneck of a benchmark, and
//! [`fault`], an origin that breaks the protocol on purpose.

pub mod certs;
pub mod client;
pub mod fault;
pub mod fixed;
pub mod kube;
pub mod origin;
pub mod redis;

pub use certs::{Authority, Pair};
pub use client::{Answer, Client, TlsOptions};
pub use fault::{Fault, Step};
pub use origin::{Behaviour, Origin, Seen};
pub use redis::Redis;
