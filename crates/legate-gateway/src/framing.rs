//! gRPC as bytes: where messages end, and what gRPC-Web makes of them (spec/services §3.13).
//!
//! Pure: nothing here knows a connection. Bodies on their way are `http`'s, counters `metrics`'.

mod messages;
mod text;
mod web;

pub(crate) use messages::Messages;
pub(crate) use text::{Decoder, Malformed};
pub(crate) use web::{WebForm, Writer, ask, is_grpc_response};
