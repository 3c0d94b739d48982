//! A RateLimitService for demos: each descriptor may come so many times a minute.
//!
//! Messages are those of `envoy.service.ratelimit.v3`, cut to what is used here.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::{Grpc, NamedService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

const WINDOW: Duration = Duration::from_secs(60);
/// More descriptors than these are not remembered: it starts anew.
const MAX_DESCRIPTORS: usize = 10_000;

const OK: i32 = 1;
const OVER_LIMIT: i32 = 2;

#[derive(Clone, PartialEq, prost::Message)]
struct RateLimitRequest {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(message, repeated, tag = "2")]
    descriptors: Vec<Descriptor>,
}

#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
struct Descriptor {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RateLimitResponse {
    #[prost(int32, tag = "1")]
    overall_code: i32,
    #[prost(message, repeated, tag = "3")]
    response_headers_to_add: Vec<HeaderValue>,
    #[prost(bytes = "vec", tag = "5")]
    raw_body: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HeaderValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// Counts, by domain and descriptor, since when.
#[derive(Debug)]
struct Counts {
    per_minute: u32,
    counts: Mutex<HashMap<(String, Descriptor), (Instant, u32)>>,
}

#[derive(Debug, Clone)]
struct Limiter(Arc<Counts>);

/// Serves on a bound socket for ever.
///
/// # Errors
/// Accepting failed for good.
pub(super) async fn serve(listener: TcpListener, per_minute: u32) -> io::Result<()> {
    let limiter = Limiter(Arc::new(Counts {
        per_minute,
        counts: Mutex::default(),
    }));
    Server::builder()
        .add_service(limiter)
        .serve_with_incoming(TcpIncoming::from(listener))
        .await
        .map_err(io::Error::other)
}

impl Counts {
    fn answer(&self, request: RateLimitRequest, now: Instant) -> RateLimitResponse {
        let mut counts = self.counts.lock();
        if counts.len() > MAX_DESCRIPTORS {
            counts.clear();
        }
        let mut left = self.per_minute;
        let mut over = false;
        for descriptor in request.descriptors {
            let key = (request.domain.clone(), descriptor);
            let (since, count) = counts.entry(key).or_insert((now, 0));
            if now.duration_since(*since) >= WINDOW {
                (*since, *count) = (now, 0);
            }
            *count = count.saturating_add(1);
            over |= *count > self.per_minute;
            left = left.min(self.per_minute.saturating_sub(*count));
        }
        RateLimitResponse {
            overall_code: if over { OVER_LIMIT } else { OK },
            response_headers_to_add: vec![HeaderValue {
                key: "x-left-this-minute".to_owned(),
                value: left.to_string(),
            }],
            raw_body: if over {
                b"slow down\n".to_vec()
            } else {
                Vec::new()
            },
        }
    }
}

impl NamedService for Limiter {
    const NAME: &'static str = "envoy.service.ratelimit.v3.RateLimitService";
}

/// The one method.
impl Service<Request<RateLimitRequest>> for Limiter {
    type Response = Response<RateLimitResponse>;
    type Error = Status;
    type Future = std::future::Ready<Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RateLimitRequest>) -> Self::Future {
        let answer = self.0.answer(request.into_inner(), Instant::now());
        std::future::ready(Ok(Response::new(answer)))
    }
}

impl Service<http::Request<Body>> for Limiter {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let limiter = self.clone();
        Box::pin(async move {
            if !request.uri().path().ends_with("/ShouldRateLimit") {
                return Ok(Status::unimplemented("there is one method only").into_http());
            }
            let codec: ProstCodec<RateLimitResponse, RateLimitRequest> = ProstCodec::default();
            Ok(Grpc::new(codec).unary(limiter, request).await)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(values: &[&str]) -> RateLimitRequest {
        let descriptor = |value: &&str| Descriptor {
            entries: vec![Entry {
                key: "user".to_owned(),
                value: (*value).to_owned(),
            }],
        };
        RateLimitRequest {
            domain: "d".to_owned(),
            descriptors: values.iter().map(descriptor).collect(),
        }
    }

    #[test]
    fn each_descriptor_has_its_minute() {
        let counts = Counts {
            per_minute: 2,
            counts: Mutex::default(),
        };
        let start = Instant::now();
        let code = |values: &[&str], now| counts.answer(request(values), now).overall_code;
        assert_eq!(code(&["a"], start), OK);
        assert_eq!(code(&["a", "b"], start), OK);
        assert_eq!(code(&["a"], start), OVER_LIMIT);
        assert_eq!(code(&["b"], start), OK);
        assert_eq!(code(&["b", "c"], start), OVER_LIMIT);
        assert_eq!(code(&["a"], start + WINDOW), OK);
    }
}
