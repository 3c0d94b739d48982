//! Unary gRPC calls to side services: external authorisation and rate limits. Health checks use their
//! messages only, on connections of their own.
//!
//! A call is a request like any other over the worker's pool, so that breakers, TLS and balancing
//! apply to it. Messages are framed here: tonic's generic client asks for bodies that may change
//! threads, which ours never do, and it folds all ways to fail into one status, where we must tell
//! a service that nobody reached from one that is late or talks nonsense.
//!
//! Messages are those of the public protocols, cut to what is used (spec/services §6); fields that
//! they do not name are skipped.

pub(crate) mod auth;
pub(crate) mod health;
pub(crate) mod ratelimit;
pub(crate) mod types;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HOST, HeaderName, TE};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::Body;
use http_body_util::Full;
use prost::Message;
use tonic::Code;

use crate::error::ErrorKind;
use crate::upstream::{Call, ClusterHandle, WorkerPool, classify, outgoing};

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Before each message: a byte that tells whether it is compressed, and its length.
const PREFIX: usize = 5;
/// Most headers of an answer, and of its trailers.
const MAX_HEADERS: usize = 100;

/// A question, ready to be sent as often as need be.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    /// `/package.Service/Method`.
    path: &'static str,
    frame: Bytes,
    /// Further headers.
    pub(crate) metadata: HeaderMap,
}

/// What a caller puts up with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For all of it, connecting included.
    pub(crate) timeout: Duration,
    /// Most bytes of the answer's message.
    pub(crate) max_bytes: usize,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CallError {
    /// Nobody got the question: no endpoint, no connection, or an open breaker.
    Unreached(ErrorKind),
    /// It took too long.
    Late,
    /// The connection or the stream broke while the answer was waited for or read.
    Broken(ErrorKind),
    /// The service says that the call failed.
    Status(Code, String),
    /// What came is no answer.
    Garbage(&'static str),
}

// === impl Question ===

impl Question {
    /// A question to a method.
    pub(crate) fn new<Q: Message>(path: &'static str, message: &Q) -> Self {
        let length = message.encoded_len();
        let mut frame = BytesMut::with_capacity(PREFIX.saturating_add(length));
        frame.put_u8(0);
        // Nothing that is asked comes near 4 GiB; what did would be refused as garbage.
        frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
        frame.extend_from_slice(&message.encode_to_vec());
        Self {
            path,
            frame: frame.freeze(),
            metadata: HeaderMap::new(),
        }
    }

    /// The request that asks it, in the form that [`outgoing`] wants.
    pub(crate) fn request(
        &self,
        authority: HeaderValue,
        timeout: Duration,
    ) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.frame.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_static(self.path);
        let headers = request.headers_mut();
        headers.clone_from(&self.metadata);
        headers.insert(HOST, authority);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(GRPC_TIMEOUT, timeout_value(timeout));
        request
    }
}

/// At most eight digits are allowed.
fn timeout_value(timeout: Duration) -> HeaderValue {
    const MOST: u128 = 99_999_999;
    let text = match timeout.as_millis() {
        millis if millis <= MOST => format!("{}m", millis.max(1)),
        _ => format!("{}S", u128::from(timeout.as_secs()).min(MOST)),
    };
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("1S"))
}

/// What a cluster is called in a call to it.
pub(crate) fn authority(cluster: &ClusterHandle) -> HeaderValue {
    if let Some(name) = &cluster.host_name {
        return name.clone();
    }
    let name = cluster.config.stats_name.as_str();
    let usable = Authority::try_from(name).is_ok();
    HeaderValue::from_str(name)
        .ok()
        .filter(|_| usable)
        .unwrap_or(HeaderValue::from_static("localhost"))
}

// === impl WorkerPool ===

impl WorkerPool {
    /// Asks a cluster, and reads the answer to its end, so that its stream is done with.
    ///
    /// Dropping the future gives up the call.
    pub(crate) async fn call<A: Message + Default>(
        &self,
        cluster: &Arc<ClusterHandle>,
        question: &Question,
        patience: Patience,
    ) -> Result<A, CallError> {
        let asking = async {
            let request = question.request(authority(cluster), patience.timeout);
            let mut call = Call::default();
            let mut slot = outgoing(cluster, request, &call)
                .map_err(|error| CallError::Unreached(error.kind()))?;
            let response = self
                .send_slot(cluster, &mut slot, &mut call)
                .await
                .map_err(|error| CallError::of(error.kind()))?;
            read(response, patience.max_bytes).await
        };
        let outcome = tokio::time::timeout(patience.timeout, asking)
            .await
            .unwrap_or(Err(CallError::Late));
        match &outcome {
            Ok(_) => cluster.answers().answered(),
            Err(error) => cluster.answers().failed(error),
        }
        outcome
    }
}

/// Reads an answer to its end.
pub(crate) async fn read<A, B>(response: Response<B>, max_bytes: usize) -> Result<A, CallError>
where
    A: Message + Default,
    B: Body<Data = Bytes, Error = hyper::Error> + Unpin,
{
    let (head, mut body) = response.into_parts();
    open(head.status, &head.headers)?;
    let mut data = BytesMut::new();
    let mut trailers = None;
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|error| CallError::Broken(classify(&error).kind()))?;
        match frame.into_data() {
            Ok(bytes) if data.len() + bytes.len() > max_bytes.saturating_add(PREFIX) => {
                return Err(CallError::Garbage("the answer is too large"));
            }
            Ok(bytes) => data.extend_from_slice(&bytes),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    let status = trailers.as_ref().unwrap_or(&head.headers);
    if status.len() > MAX_HEADERS {
        return Err(CallError::Garbage("the answer has too many trailers"));
    }
    close(status)?;
    message(&data)
}

/// Whether what begins with these headers can be an answer.
fn open(status: StatusCode, headers: &HeaderMap) -> Result<(), CallError> {
    if headers.len() > MAX_HEADERS {
        return Err(CallError::Garbage("the answer has too many headers"));
    }
    if status != StatusCode::OK {
        let code = match status.as_u16() {
            400 => Code::Internal,
            401 => Code::Unauthenticated,
            403 => Code::PermissionDenied,
            404 => Code::Unimplemented,
            429 | 502 | 503 | 504 => Code::Unavailable,
            _ => Code::Unknown,
        };
        return Err(CallError::Status(code, format!("HTTP status {status}")));
    }
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    if !content_type.is_some_and(|value| value.starts_with(b"application/grpc")) {
        return Err(CallError::Garbage("the answer is not gRPC"));
    }
    // An answer that is nothing but a status has it here.
    match tonic::Status::from_header_map(headers) {
        Some(status) if status.code() != Code::Ok => Err(failed(&status)),
        _ => Ok(()),
    }
}

/// The status at the end.
fn close(trailers: &HeaderMap) -> Result<(), CallError> {
    match tonic::Status::from_header_map(trailers) {
        Some(status) if status.code() == Code::Ok => Ok(()),
        Some(status) => Err(failed(&status)),
        None => Err(CallError::Garbage("the answer has no status")),
    }
}

fn failed(status: &tonic::Status) -> CallError {
    CallError::Status(status.code(), status.message().to_owned())
}

/// The one message of an answer.
fn message<A: Message + Default>(data: &[u8]) -> Result<A, CallError> {
    let Some((&[compressed, a, b, c, d], message)) = data.split_first_chunk::<PREFIX>() else {
        return Err(CallError::Garbage("the answer has no message"));
    };
    if compressed != 0 {
        return Err(CallError::Garbage("the answer is compressed"));
    }
    if u32::try_from(message.len()) != Ok(u32::from_be_bytes([a, b, c, d])) {
        return Err(CallError::Garbage(
            "the answer's message has another length",
        ));
    }
    A::decode(message).map_err(|_| CallError::Garbage("the answer's message cannot be decoded"))
}

// === impl CallError ===

impl CallError {
    fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::NoHealthyUpstream
            | ErrorKind::Overflow
            | ErrorKind::ConnectFailed
            | ErrorKind::ConnectTimeout
            | ErrorKind::TlsFailed
            | ErrorKind::Unsendable => Self::Unreached(kind),
            ErrorKind::PerTryTimeout => Self::Late,
            ErrorKind::ConnectionTerminated
            | ErrorKind::RemoteReset
            | ErrorKind::RefusedStream
            | ErrorKind::Protocol
            | ErrorKind::Downstream
            | ErrorKind::MalformedBody => Self::Broken(kind),
        }
    }
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreached(kind) | Self::Broken(kind) => kind.fmt(f),
            Self::Late => f.write_str("no answer in time"),
            Self::Status(code, message) => write!(f, "status {}: {message}", i32::from(*code)),
            Self::Garbage(why) => f.write_str(why),
        }
    }
}

#[cfg(test)]
mod tests;
