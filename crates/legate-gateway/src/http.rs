//! Serving connections and the one request pipeline.
//!
//! Not here: accepting and TLS (`listener`), connections to upstreams (`upstream`), and what happens
//! to single headers, paths and addresses (`request`).
//!
//! - [`context`], [`port`], [`conn`], [`exchange`]: what a worker, a listener on it, a connection
//!   and a request know, each holding the one before
//! - [`stream`], [`watch`]: the byte stream of a connection, and its deadlines; [`frames`]: where
//!   headers begin and end in HTTP/2
//! - [`h1`], [`h2`]: hyper's state machines under those deadlines
//! - [`proxy`]: the pipeline; [`route`] decides, [`gates`] let pass or stop, among them [`check`],
//!   [`rate_limit`] and [`collect`], [`prepare`] makes what is sent, [`respond`] makes the response,
//!   [`body`] streams, [`grpc`] translates and counts calls, [`bridge`] collects responses,
//!   [`upgrade`] goes on after a 101, [`record`] is written at the end

mod affinity;
mod body;
mod bridge;
mod check;
mod collect;
pub(crate) mod conn;
pub(crate) mod context;
mod encode;
mod exchange;
mod frames;
mod gates;
mod grpc;
pub(crate) mod h1;
pub(crate) mod h2;
mod limits;
mod mirror;
pub(crate) mod port;
mod prepare;
mod proxy;
mod rate_limit;
mod record;
mod respond;
mod route;
pub(crate) mod stream;
mod upgrade;
mod watch;
