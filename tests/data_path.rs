//! The data path: `legate run`'s own code in process, real sockets on port 0, real TLS, real
//! backends. The worked examples of spec/routing §8, each a test named after its id.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first surprise; the helpers are not marked as tests"
)]

#[path = "data_path/harness.rs"]
mod harness;
#[path = "data_path/tonic_echo.rs"]
mod tonic_echo;
#[path = "data_path/wire.rs"]
mod wire;

#[path = "data_path/access_log.rs"]
mod access_log;
#[path = "data_path/addresses.rs"]
mod addresses;
#[path = "data_path/association.rs"]
mod association;
#[path = "data_path/auth.rs"]
mod auth;
#[path = "data_path/auth_body.rs"]
mod auth_body;
#[path = "data_path/auth_cors.rs"]
mod auth_cors;
#[path = "data_path/auth_grpc.rs"]
mod auth_grpc;
#[path = "data_path/auth_grpc_faults.rs"]
mod auth_grpc_faults;
#[path = "data_path/auth_grpc_flow.rs"]
mod auth_grpc_flow;
#[path = "data_path/balancing.rs"]
mod balancing;
#[path = "data_path/breakers.rs"]
mod breakers;
#[path = "data_path/buffering.rs"]
mod buffering;
#[path = "data_path/canary.rs"]
mod canary;
#[path = "data_path/compression.rs"]
mod compression;
#[path = "data_path/cors.rs"]
mod cors;
#[path = "data_path/counting.rs"]
mod counting;
#[path = "data_path/ejection.rs"]
mod ejection;
#[path = "data_path/faults.rs"]
mod faults;
#[path = "data_path/groups.rs"]
mod groups;
#[path = "data_path/grpc.rs"]
mod grpc;
#[path = "data_path/grpc_bridge.rs"]
mod grpc_bridge;
#[path = "data_path/grpc_stats.rs"]
mod grpc_stats;
#[path = "data_path/grpc_web.rs"]
mod grpc_web;
#[path = "data_path/headers.rs"]
mod headers;
#[path = "data_path/health_checks.rs"]
mod health_checks;
#[path = "data_path/health_grpc.rs"]
mod health_grpc;
#[path = "data_path/hostile.rs"]
mod hostile;
#[path = "data_path/hostile_http2.rs"]
mod hostile_http2;
#[path = "data_path/hostile_slow.rs"]
mod hostile_slow;
#[path = "data_path/hostile_upstream.rs"]
mod hostile_upstream;
#[path = "data_path/http10.rs"]
mod http10;
#[path = "data_path/identity.rs"]
mod identity;
#[path = "data_path/limits.rs"]
mod limits;
#[path = "data_path/limits_shared.rs"]
mod limits_shared;
#[path = "data_path/matching.rs"]
mod matching;
#[path = "data_path/module.rs"]
mod module;
#[path = "data_path/moody.rs"]
mod moody;
#[path = "data_path/rate_limit_hostile.rs"]
mod rate_limit_hostile;
#[path = "data_path/rate_limit_server.rs"]
mod rate_limit_server;
#[path = "data_path/rate_limit_service.rs"]
mod rate_limit_service;
#[path = "data_path/replies.rs"]
mod replies;
#[path = "data_path/retries.rs"]
mod retries;
#[path = "data_path/rewriting.rs"]
mod rewriting;
#[path = "data_path/rolling.rs"]
mod rolling;
#[path = "data_path/security.rs"]
mod security;
#[path = "data_path/services.rs"]
mod services;
#[path = "data_path/shadow.rs"]
mod shadow;
#[path = "data_path/streams.rs"]
mod streams;
#[path = "data_path/timeouts.rs"]
mod timeouts;
#[path = "data_path/tls.rs"]
mod tls;
#[path = "data_path/websocket.rs"]
mod websocket;
