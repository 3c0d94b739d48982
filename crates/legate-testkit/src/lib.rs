//! Real parts for tests and benchmarks: origins, clients, certificates.
//!
//! Nothing here imitates a protocol: servers are hyper, rustls and sockets. The one exception is
//! [`fixed`], an origin so cheap that it never is the bottleneck of a benchmark.

pub mod certs;
pub mod client;
pub mod fixed;
pub mod origin;

pub use certs::{Authority, Pair};
pub use client::{Answer, Client, TlsOptions};
pub use origin::{Behaviour, Origin, Seen};
