//! What happens to a request's path, headers and addresses, as plain functions over `http` types.
//!
//! No I/O, no connection and no pipeline: the order in which these are called is `http`'s.
//! In pipeline order:
//! - [`hop`]: rules on the `Connection` header; hop-by-hop headers are removed first, so that a
//!   client cannot nominate a header that we generate
//! - [`host`]: which host a request is for
//! - [`path`]: path normalisation
//! - [`client`]: the trusted client address, forwarded headers, request id, stripping of headers
//!   that only a proxy may send
//! - [`ip`]: IP allow and deny lists
//! - [`redirect`]: locations of redirects
//! - [`cors`]: which origins' scripts may use a target
//! - [`policy`]: header edits and path rewriting of a target; [`rewrite`]: the replacements
//! - [`auth`]: headers of a check of external authorisation, and of its answer
//! - [`affinity`]: what of a request decides about its endpoint
//! - [`labels`]: what requests are counted by
//! - [`coding`]: which responses are compressed, and how
//! - [`mod@template`]: the `%OPERATOR%` language, over the [`facts`] of a request and
//!   [copies](captured) of its headers

pub(crate) mod affinity;
pub(crate) mod auth;
pub(crate) mod captured;
pub(crate) mod client;
pub(crate) mod coding;
pub(crate) mod cors;
pub(crate) mod edits;
pub(crate) mod facts;
pub(crate) mod hop;
pub(crate) mod host;
pub(crate) mod ip;
pub(crate) mod labels;
pub(crate) mod metadata;
pub(crate) mod path;
pub(crate) mod policy;
pub(crate) mod redirect;
pub(crate) mod rewrite;
pub(crate) mod template;
#[cfg(test)]
pub(crate) mod tests_support;

pub(crate) use auth::{CompiledAuth, CompiledCheck, PARTIAL_BODY};
pub(crate) use client::{ClientAddress, Peer, apply_forwarded, decide, value_of_digits};
pub(crate) use coding::{Coding, accepted, will_compress};
pub(crate) use cors::{CompiledCors, wants_preflight};
pub(crate) use edits::{HeaderEdit, is_framing, query_with};
pub(crate) use facts::Facts;
pub(crate) use hop::{HopHeaders, check_connection_header, strip_hop_by_hop};
pub(crate) use host::{HostError, effective_host};
pub(crate) use ip::ip_allowed;
pub(crate) use labels::{CompiledLabels, DescriptorEntry, LabelFacts};
pub(crate) use metadata::DynamicMetadata;
pub(crate) use path::{PathParts, normalise_path};
pub(crate) use policy::{CompiledHost, CompiledPolicy};
pub(crate) use redirect::{CompiledRedirect, https_redirect_location};
