//! `envoy.service.auth.v3` (spec/services §6.1).

use std::collections::BTreeMap;

use prost_types::{Struct, Timestamp};

use super::types::{Address, HeaderValueOption, QueryParameter, Status};

/// The method.
pub(crate) const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// The question.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct CheckRequest {
    /// What is asked about.
    #[prost(message, optional, tag = "1")]
    pub(crate) attributes: Option<AttributeContext>,
}

/// What is known of a request and its connection.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct AttributeContext {
    /// The client.
    #[prost(message, optional, tag = "1")]
    pub(crate) source: Option<Peer>,
    /// Us.
    #[prost(message, optional, tag = "2")]
    pub(crate) destination: Option<Peer>,
    /// The request.
    #[prost(message, optional, tag = "4")]
    pub(crate) request: Option<AttributeRequest>,
    /// What the route says.
    #[prost(btree_map = "string, string", tag = "10")]
    pub(crate) context_extensions: BTreeMap<String, String>,
}

/// One end of a connection.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Peer {
    /// Its address.
    #[prost(message, optional, tag = "1")]
    pub(crate) address: Option<Address>,
    /// What it calls itself.
    #[prost(string, tag = "2")]
    pub(crate) service: String,
    /// Who it is by its certificate.
    #[prost(string, tag = "4")]
    pub(crate) principal: String,
}

/// `AttributeContext.Request`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct AttributeRequest {
    /// When it arrived.
    #[prost(message, optional, tag = "1")]
    pub(crate) time: Option<Timestamp>,
    /// What it is.
    #[prost(message, optional, tag = "2")]
    pub(crate) http: Option<HttpRequest>,
}

/// `AttributeContext.HttpRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct HttpRequest {
    /// Tells requests apart.
    #[prost(string, tag = "1")]
    pub(crate) id: String,
    /// Method.
    #[prost(string, tag = "2")]
    pub(crate) method: String,
    /// All headers by lower-case name, pseudo-headers included.
    #[prost(btree_map = "string, string", tag = "3")]
    pub(crate) headers: BTreeMap<String, String>,
    /// Path and query.
    #[prost(string, tag = "4")]
    pub(crate) path: String,
    /// Authority.
    #[prost(string, tag = "5")]
    pub(crate) host: String,
    /// Scheme.
    #[prost(string, tag = "6")]
    pub(crate) scheme: String,
    /// Bytes of body that are here.
    #[prost(int64, tag = "9")]
    pub(crate) size: i64,
    /// `HTTP/1.1` and so on.
    #[prost(string, tag = "10")]
    pub(crate) protocol: String,
    /// The body, or its beginning.
    #[prost(string, tag = "11")]
    pub(crate) body: String,
}

/// The answer.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct CheckResponse {
    /// 0 allows; no status is a status of 0.
    #[prost(message, optional, tag = "1")]
    pub(crate) status: Option<Status>,
    /// What follows from it.
    #[prost(oneof = "HttpResponse", tags = "2, 3")]
    pub(crate) http_response: Option<HttpResponse>,
    /// What else is known of the request.
    #[prost(message, optional, tag = "4")]
    pub(crate) dynamic_metadata: Option<Struct>,
}

/// What follows from an answer.
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum HttpResponse {
    /// For the client.
    #[prost(message, tag = "2")]
    Denied(DeniedHttpResponse),
    /// For the upstream.
    #[prost(message, tag = "3")]
    Ok(OkHttpResponse),
}

/// What a client that is denied gets.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct DeniedHttpResponse {
    /// Status.
    #[prost(message, optional, tag = "1")]
    pub(crate) status: Option<HttpStatus>,
    /// Headers.
    #[prost(message, repeated, tag = "2")]
    pub(crate) headers: Vec<HeaderValueOption>,
    /// Body.
    #[prost(string, tag = "3")]
    pub(crate) body: String,
}

/// What becomes of a request that is allowed.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct OkHttpResponse {
    /// Headers for the upstream.
    #[prost(message, repeated, tag = "2")]
    pub(crate) headers: Vec<HeaderValueOption>,
    /// As in the answer itself; out of date.
    #[prost(message, optional, tag = "3")]
    pub(crate) dynamic_metadata: Option<Struct>,
    /// Names of headers that the upstream does not get.
    #[prost(string, repeated, tag = "5")]
    pub(crate) headers_to_remove: Vec<String>,
    /// Headers for the client.
    #[prost(message, repeated, tag = "6")]
    pub(crate) response_headers_to_add: Vec<HeaderValueOption>,
    /// Query parameters for the upstream.
    #[prost(message, repeated, tag = "7")]
    pub(crate) query_parameters_to_set: Vec<QueryParameter>,
    /// Names of query parameters that the upstream does not get.
    #[prost(string, repeated, tag = "8")]
    pub(crate) query_parameters_to_remove: Vec<String>,
}

/// `envoy.type.v3.HttpStatus`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct HttpStatus {
    /// The status code.
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
}
