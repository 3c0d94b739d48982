//! One question to one endpoint, on a connection of its own: whether a new connection gets an answer
//! is part of what is asked.

use std::fmt::Display;
use std::future::{Future, pending};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HOST, TE, USER_AGENT};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use legate_config::health::{GrpcProbe, HealthCheck, HttpProbe, Probe};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::grpc::health::{CHECK, HealthCheckRequest, HealthCheckResponse, SERVING};
use crate::upstream::tls::ClientTls;

const AGENT: HeaderValue = HeaderValue::from_static("legate/health-check");
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// Most bytes of an answer's head, and of a gRPC answer.
const MAX_HEAD: u16 = 60 * 1024;
const MAX_BODY: usize = 4096;

/// Who is asked, and what.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    pub(super) tls: Option<Arc<ClientTls>>,
    /// Whether the cluster speaks HTTP/2.
    pub(super) http2: bool,
    pub(super) check: Arc<HealthCheck>,
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// The endpoint is well.
    Good,
    /// It says that it is not.
    Bad(String),
    /// It says nothing.
    None(String),
}

type Body = Full<Bytes>;

// === impl Target ===

impl Target {
    /// What is asked, for people.
    pub(super) fn question(&self) -> &str {
        match &self.check.probe {
            Probe::Http(http) => &http.path,
            Probe::Grpc(grpc) => &grpc.service,
        }
    }
}

/// Asks once. Dropping the future ends the connection.
pub(super) async fn ask(target: &Target) -> Answer {
    match &target.check.probe {
        Probe::Http(http) => ask_http(target, http).await,
        Probe::Grpc(grpc) => ask_grpc(target, grpc).await,
    }
    .unwrap_or_else(Answer::None)
}

async fn ask_http(target: &Target, probe: &HttpProbe) -> Result<Answer, String> {
    let request = http_request(target, probe)?;
    let judge = async |response: Response<Incoming>| {
        let status = response.status();
        let expected = probe.expected.iter();
        if expected
            .clone()
            .any(|range| range.contains(status.as_u16()))
        {
            Ok(Answer::Good)
        } else {
            Ok(Answer::Bad(format!("status {}", status.as_u16())))
        }
    };
    exchange(target, target.http2, request, judge).await
}

async fn ask_grpc(target: &Target, probe: &GrpcProbe) -> Result<Answer, String> {
    let request = grpc_request(target, probe)?;
    exchange(target, true, request, judge_grpc).await
}

/// One request on a connection of its own, and what is made of its response.
async fn exchange<J>(
    target: &Target,
    http2: bool,
    request: Request<Body>,
    judge: impl FnOnce(Response<Incoming>) -> J,
) -> Result<Answer, String>
where
    J: Future<Output = Result<Answer, String>>,
{
    let tcp = TcpStream::connect(target.address).await.map_err(text)?;
    tcp.set_nodelay(true).map_err(text)?;
    match &target.tls {
        None => over(tcp, http2, request, judge).await,
        Some(tls) => {
            let name = tls.server_name(target.address);
            let connecting = tls.connector(http2).connect(name, tcp);
            let stream = connecting.await.map_err(text)?;
            over(stream, http2, request, judge).await
        }
    }
}

async fn over<J>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    http2: bool,
    request: Request<Body>,
    judge: impl FnOnce(Response<Incoming>) -> J,
) -> Result<Answer, String>
where
    J: Future<Output = Result<Answer, String>>,
{
    let io = TokioIo::new(stream);
    if http2 {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.max_header_list_size(MAX_HEAD.into());
        let (mut sender, connection) = builder.handshake(io).await.map_err(text)?;
        let asking = async { judge(sender.send_request(request).await.map_err(text)?).await };
        driven(connection, asking).await
    } else {
        let mut builder = http1::Builder::new();
        builder.max_header_size(MAX_HEAD.into());
        let (mut sender, connection) = builder.handshake(io).await.map_err(text)?;
        let asking = async { judge(sender.send_request(request).await.map_err(text)?).await };
        driven(connection, asking).await
    }
}

/// Drives a connection until the answer is there.
async fn driven<T, E>(
    connection: impl Future<Output = Result<(), E>>,
    asking: impl Future<Output = T>,
) -> T {
    let driving = async {
        // How it ended is told to whoever waits for the answer.
        let _ = connection.await;
        pending::<()>().await;
    };
    tokio::select! {
        answer = asking => answer,
        () = driving => pending().await,
    }
}

fn http_request(target: &Target, probe: &HttpProbe) -> Result<Request<Body>, String> {
    let mut request = Request::new(Body::default());
    *request.uri_mut() = uri(target, target.http2, &probe.host, &probe.path)?;
    let headers = request.headers_mut();
    if !target.http2 {
        headers.insert(HOST, value(&probe.host)?);
    }
    headers.insert(USER_AGENT, AGENT);
    for name in &probe.remove_headers {
        headers.remove(name.as_str());
    }
    for header in &probe.add_headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(text)?;
        let value = value(&header.value)?;
        if header.append {
            headers.append(name, value);
        } else {
            headers.insert(name, value);
        }
    }
    if target.http2 {
        *request.version_mut() = Version::HTTP_2;
    }
    Ok(request)
}

fn grpc_request(target: &Target, probe: &GrpcProbe) -> Result<Request<Body>, String> {
    let message = HealthCheckRequest {
        service: probe.service.clone(),
    };
    let length = u32::try_from(message.encoded_len()).map_err(text)?;
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(length);
    message.encode(&mut frame).map_err(text)?;
    let mut request = Request::new(Body::from(frame.freeze()));
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = uri(target, true, &probe.authority, CHECK)?;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, GRPC);
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert(USER_AGENT, AGENT);
    // At most eight digits are allowed.
    let timeout = target.check.timeout_ms.min(99_999_999);
    headers.insert(GRPC_TIMEOUT, value(&format!("{timeout}m"))?);
    Ok(request)
}

fn uri(target: &Target, http2: bool, host: &str, path: &str) -> Result<Uri, String> {
    if !http2 {
        return path.parse().map_err(text);
    }
    let scheme = if target.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let builder = Uri::builder().scheme(scheme).authority(host);
    builder.path_and_query(path).build().map_err(text)
}

fn value(value: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(value).map_err(text)
}

/// The answer of a gRPC health service; anything but `SERVING` is none that one could use.
async fn judge_grpc(response: Response<Incoming>) -> Result<Answer, String> {
    let (head, body) = response.into_parts();
    if head.status != StatusCode::OK {
        return Ok(Answer::Bad(format!("status {}", head.status.as_u16())));
    }
    let collected = match Limited::new(body, MAX_BODY).collect().await {
        Ok(collected) => collected,
        Err(error) if error.is::<LengthLimitError>() => {
            return Ok(Answer::Bad("the answer is too long".to_owned()));
        }
        Err(error) => return Err(text(error)),
    };
    let status = |headers: &HeaderMap| {
        let status = headers.get(GRPC_STATUS)?.to_str().ok()?;
        Some(status.to_owned())
    };
    let trailers = collected.trailers().and_then(status);
    match trailers.or_else(|| status(&head.headers)).as_deref() {
        Some("0") => {}
        Some(other) => return Ok(Answer::Bad(format!("grpc-status {other}"))),
        None => return Ok(Answer::Bad("there is no grpc-status".to_owned())),
    }
    let bytes = collected.to_bytes();
    Ok(match serving_status(bytes) {
        Some(SERVING) => Answer::Good,
        Some(status) => Answer::Bad(format!("serving status {status}")),
        None => Answer::Bad("the answer is no HealthCheckResponse".to_owned()),
    })
}

/// The status in a frame.
fn serving_status(mut frame: Bytes) -> Option<i32> {
    if frame.len() < 5 || frame.get_u8() != 0 {
        return None;
    }
    let length = usize::try_from(frame.get_u32()).ok()?;
    if length != frame.len() {
        return None;
    }
    HealthCheckResponse::decode(frame).ok().map(|it| it.status)
}

fn text(error: impl Display) -> String {
    error.to_string()
}
