//! A rate limit service, built from the public protocol.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use envoy_types::pb::envoy::config::core::v3::HeaderValue;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::Code;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_server::{
    RateLimitService, RateLimitServiceServer,
};
pub(crate) use envoy_types::pb::envoy::service::ratelimit::v3::{
    RateLimitRequest, RateLimitResponse,
};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use crate::harness::Case;

/// A running service; stops when dropped.
pub(crate) struct Limiter {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<RateLimitRequest>>>,
    task: JoinHandle<()>,
}

/// What is answered.
type Answer = Result<RateLimitResponse, Status>;

struct Service<F> {
    asked: Arc<Mutex<Vec<RateLimitRequest>>>,
    answer: F,
}

impl Drop for Limiter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Limiter {
    /// Answers every question as the function says.
    pub(crate) async fn says<F, W>(answer: F) -> Self
    where
        F: Fn(RateLimitRequest) -> W + Send + Sync + 'static,
        W: Future<Output = Answer> + Send + 'static,
    {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), answer).await
    }

    /// The same at an address.
    pub(crate) async fn at<F, W>(address: SocketAddr, answer: F) -> Self
    where
        F: Fn(RateLimitRequest) -> W + Send + Sync + 'static,
        W: Future<Output = Answer> + Send + 'static,
    {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::default();
        let service = Service {
            asked: Arc::clone(&asked),
            answer,
        };
        let server = tonic::transport::Server::builder()
            .add_service(RateLimitServiceServer::new(service))
            .serve_with_incoming(TcpIncoming::from(listener));
        let task = tokio::spawn(async move { server.await.unwrap() });
        Self {
            address,
            asked,
            task,
        }
    }

    /// Answers every question with this.
    pub(crate) async fn always(answer: RateLimitResponse) -> Self {
        Self::says(move |_| std::future::ready(Ok(answer.clone()))).await
    }

    /// All questions so far.
    pub(crate) fn asked(&self) -> Vec<RateLimitRequest> {
        self.asked.lock().unwrap().clone()
    }

    /// The descriptors of all questions so far, `key=value` with commas; all are of one domain.
    pub(crate) fn descriptors(&self, domain: &str) -> Vec<Vec<String>> {
        let of = |request: &RateLimitRequest| {
            assert_eq!((request.domain.as_str(), request.hits_addend), (domain, 0));
            let descriptors = request.descriptors.iter().map(|descriptor| {
                let entries = descriptor.entries.iter();
                let entries = entries.map(|entry| format!("{}={}", entry.key, entry.value));
                entries.collect::<Vec<_>>().join(",")
            });
            descriptors.collect()
        };
        self.asked().iter().map(of).collect()
    }
}

#[tonic::async_trait]
impl<F, W> RateLimitService for Service<F>
where
    F: Fn(RateLimitRequest) -> W + Send + Sync + 'static,
    W: Future<Output = Answer> + Send + 'static,
{
    async fn should_rate_limit(
        &self,
        request: Request<RateLimitRequest>,
    ) -> Result<Response<RateLimitResponse>, Status> {
        let request = request.into_inner();
        self.asked.lock().unwrap().push(request.clone());
        (self.answer)(request).await.map(Response::new)
    }
}

/// Adds a RateLimitService at this address, patient unless it says otherwise.
pub(crate) fn limited(case: Case, address: SocketAddr, spec: &str) -> Case {
    let patient = if spec.contains("timeout_ms") {
        ""
    } else {
        "timeout_ms: 10000\n"
    };
    let version = if spec.contains("protocol_version") {
        ""
    } else {
        "protocol_version: v3\n"
    };
    let spec = format!("service: {address}\n{patient}{version}{spec}");
    case.object("RateLimitService", "rl", &spec)
}

/// An answer of this code.
pub(crate) fn code(code: Code) -> RateLimitResponse {
    RateLimitResponse {
        overall_code: code.into(),
        ..RateLimitResponse::default()
    }
}

pub(crate) fn ok() -> RateLimitResponse {
    code(Code::Ok)
}

pub(crate) fn over() -> RateLimitResponse {
    code(Code::OverLimit)
}

/// A header of an answer.
pub(crate) fn header(key: &str, value: &str) -> HeaderValue {
    HeaderValue {
        key: key.to_owned(),
        value: value.to_owned(),
        ..HeaderValue::default()
    }
}
