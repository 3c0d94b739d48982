//! `--as auth-grpc`: an AuthService of `envoy.service.auth.v3`, cut to what a demo needs.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;

use http::{Request, Response};
use hyper::body::Incoming;
use tonic::body::Body;
use tonic::server::{Grpc, UnaryService};
use tonic_prost::ProstCodec;

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
/// `google.rpc.Code` of somebody who did not say who they are.
const UNAUTHENTICATED: i32 = 16;

#[derive(Clone, PartialEq, prost::Message)]
struct CheckRequest {
    #[prost(message, optional, tag = "1")]
    attributes: Option<Attributes>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Attributes {
    #[prost(message, optional, tag = "4")]
    request: Option<AttributeRequest>,
    #[prost(btree_map = "string, string", tag = "10")]
    context_extensions: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AttributeRequest {
    #[prost(message, optional, tag = "2")]
    http: Option<HttpRequest>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HttpRequest {
    #[prost(btree_map = "string, string", tag = "3")]
    headers: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CheckResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<Code>,
    #[prost(message, optional, tag = "2")]
    denied: Option<Denied>,
    #[prost(message, optional, tag = "3")]
    ok: Option<Allowed>,
}

/// `google.rpc.Status`, and `envoy.type.v3.HttpStatus`.
#[derive(Clone, PartialEq, prost::Message)]
struct Code {
    #[prost(int32, tag = "1")]
    code: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Denied {
    #[prost(message, optional, tag = "1")]
    status: Option<Code>,
    #[prost(message, repeated, tag = "2")]
    headers: Vec<HeaderOption>,
    #[prost(string, tag = "3")]
    body: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Allowed {
    #[prost(message, repeated, tag = "2")]
    headers: Vec<HeaderOption>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HeaderOption {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Header {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

fn set(key: &str, value: &str) -> HeaderOption {
    HeaderOption {
        header: Some(Header {
            key: key.to_owned(),
            value: value.to_owned(),
        }),
    }
}

/// Answers one call.
pub(super) async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    if request.uri().path() != CHECK {
        let status = tonic::Status::unimplemented("there is only Authorization/Check");
        return Ok(status.into_http());
    }
    let codec = ProstCodec::default();
    Ok(Grpc::new(codec).unary(Judge, request).await)
}

struct Judge;

impl UnaryService<CheckRequest> for Judge {
    type Response = CheckResponse;
    type Future =
        Pin<Box<dyn Future<Output = Result<tonic::Response<CheckResponse>, tonic::Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<CheckRequest>) -> Self::Future {
        let verdict = judge(request.into_inner());
        Box::pin(std::future::ready(Ok(tonic::Response::new(verdict))))
    }
}

/// Takes every bearer token for the name of a user.
fn judge(asked: CheckRequest) -> CheckResponse {
    let attributes = asked.attributes.unwrap_or_default();
    let http = attributes.request.and_then(|request| request.http);
    let headers = http.unwrap_or_default().headers;
    let user = headers.get("authorization").map(String::as_str);
    let Some(user) = user.and_then(super::user_of) else {
        return CheckResponse {
            status: Some(Code {
                code: UNAUTHENTICATED,
            }),
            denied: Some(Denied {
                status: Some(Code { code: 401 }),
                headers: vec![set("www-authenticate", "Bearer")],
                body: super::WHO.to_owned(),
            }),
            ok: None,
        };
    };
    let told = attributes.context_extensions.iter();
    let told = told.map(|(key, value)| set(&format!("x-auth-{key}"), value));
    CheckResponse {
        status: Some(Code { code: 0 }),
        denied: None,
        ok: Some(Allowed {
            headers: [set("x-user", user)].into_iter().chain(told).collect(),
        }),
    }
}
