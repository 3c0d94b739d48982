//! Decides which route a request takes, from the tables of one config snapshot.
//!
//! Absences first: no I/O, no async, no clock, no randomness (the draw is an argument), no request
//! body, no policy. Nothing is allocated per request.
//!
//! The meaning is plain (spec/routing §§3.6–3.8, 4.2, 4.5, 4.6): choose the chain, choose its
//! virtual host, walk the rows of its route sets in rank order, the first whose conditions all hold
//! wins. Everything here only makes that cost the length of the request instead of the number of
//! routes; `tests/property.rs` holds the index against the plain meaning.
//!
//! Map, lowest first:
//! - `request`: what is known of a request; `matcher`: compiled regexes that match in full
//! - `row`: one route with its compiled conditions; `list`: rows that share a path condition
//! - `tree`: radix tree over path bytes; `paths`: trees and regex groups of one route set
//! - `order`, `set`: rows of a route set in rank order, with their index; `host`: index over host patterns
//! - `vhost`: a virtual host and its layers; `router`: listeners, chains, and the build
//! - `explain`: the same walk, in words

mod explain;
mod host;
mod list;
mod matcher;
mod order;
mod paths;
mod request;
mod router;
mod row;
mod set;
mod tree;
mod vhost;

pub use explain::{
    Candidate, Choice, Connection, Explanation, Found, LayerView, Question, Reason, Rival, explain,
};
pub use request::RequestView;
pub use router::{Chain, ListenerRoutes, Router};
pub use row::Row;
pub use vhost::{Selected, Verdict, VirtualHostRoutes};
