//! Rate limit services that misbehave: each failure is one, whatever its form, and clients get what
//! `failure_mode_deny` says.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body_util::{BodyExt, Full};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;
use tonic::transport::server::TcpIncoming;

use crate::harness::base;
use crate::rate_limit_server::{Limiter, RateLimitResponse, header, limited, ok, over};
use crate::wire::within;

const MAPPING: &str =
    "prefix: /\nrewrite: \"\"\nlabels: {ambassador: [{g: [{generic_key: {value: a}}]}]}";

/// Makes an answer.
type Answering = Box<dyn Fn() -> Response<Body> + Send + Sync>;

/// A service in HTTP's words: every question gets this answer.
#[derive(Clone)]
struct Raw(Arc<dyn Fn() -> Response<Body> + Send + Sync>);

impl NamedService for Raw {
    const NAME: &'static str = "envoy.service.ratelimit.v3.RateLimitService";
}

impl Service<http::Request<Body>> for Raw {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        let answer = (self.0)();
        Box::pin(async move { Ok(answer) })
    }
}

/// Something that listens; stops when dropped.
struct Hostile {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Hostile {
    async fn answers(answer: impl Fn() -> Response<Body> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder()
            .add_service(Raw(Arc::new(answer)))
            .serve_with_incoming(TcpIncoming::from(listener));
        let task = tokio::spawn(async move { server.await.unwrap() });
        Self { address, task }
    }

    /// Does this with each connection.
    async fn accepts<W>(what: impl Fn(TcpStream) -> W + Send + 'static) -> Self
    where
        W: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(what(stream));
            }
        });
        Self { address, task }
    }
}

/// A response with these headers, this message in one frame, and the status at the end.
fn grpc(headers: &[(&str, &str)], frame: Vec<u8>, trailers: &[(&str, &str)]) -> Response<Body> {
    let map = |lines: &[(&str, &str)]| -> HeaderMap {
        let line = |(name, value): &(&str, &str)| {
            let name = HeaderName::try_from(*name).unwrap();
            (name, HeaderValue::try_from(*value).unwrap())
        };
        lines.iter().map(line).collect()
    };
    let trailers = map(trailers);
    let body = Full::new(Bytes::from(frame));
    let body = body.with_trailers(async move { Some(Ok(trailers)) });
    let mut response = Response::new(Body::new(body));
    *response.headers_mut() = map(headers);
    response
}

const GRPC: (&str, &str) = ("content-type", "application/grpc");
const OK: (&str, &str) = ("grpc-status", "0");

fn framed(message: &[u8]) -> Vec<u8> {
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(message);
    frame
}

/// What becomes of requests while the service at this address is as it is: an error, counted, that
/// lets pass or not.
async fn is_an_error(address: SocketAddr, what: &str) {
    for (mode, status) in [("true", "500"), ("false", "a:/")] {
        let spec = format!("timeout_ms: 1000\nfailure_mode_deny: {mode}");
        let case = limited(base().map("a", MAPPING), address, &spec);
        let gate = case.start().await;
        for _ in 0..2 {
            let answer = within(gate.send(8080, "/")).await;
            assert_eq!(crate::harness::short(&answer), status, "{what}");
            assert_eq!(answer.header("x-envoy-ratelimited"), None, "{what}");
        }
        let result =
            |result| format!("legate_ratelimit_total{{cluster=\"a_default\",result=\"{result}\"}}");
        assert_eq!(gate.metric(&result("error")).await, 2, "{what}");
        assert_eq!(gate.metric(&result("over_limit")).await, 0, "{what}");
    }
}

#[tokio::test]
async fn connections_that_lead_nowhere() {
    let closes = Hostile::accepts(|stream| async move { drop(stream) }).await;
    is_an_error(closes.address, "closes at once").await;
    let silent = Hostile::accepts(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    is_an_error(silent.address, "never says a word").await;
    let other = Hostile::accepts(|mut stream| async move {
        use tokio::io::AsyncWriteExt;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .await;
        std::future::pending::<()>().await;
    })
    .await;
    is_an_error(other.address, "speaks HTTP/1.1").await;
    let nobody = Hostile::accepts(|stream| async move { drop(stream) })
        .await
        .address;
    is_an_error(nobody, "refuses").await;
}

#[tokio::test]
async fn answers_that_are_none() {
    // `overall_code: 2` would be a refusal.
    let over = || framed(b"\x08\x02");
    let cases: Vec<(&str, Answering)> = vec![
        (
            "an HTTP status",
            Box::new(move || {
                let mut response = grpc(&[GRPC], over(), &[OK]);
                *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
                response
            }),
        ),
        (
            "another content type",
            Box::new(move || grpc(&[("content-type", "text/html")], over(), &[OK])),
        ),
        ("no status", Box::new(move || grpc(&[GRPC], over(), &[]))),
        (
            "a status that fails",
            Box::new(move || grpc(&[GRPC], over(), &[("grpc-status", "8")])),
        ),
        ("no message", Box::new(|| grpc(&[GRPC], Vec::new(), &[OK]))),
        (
            "half a message",
            Box::new(move || grpc(&[GRPC], over()[..6].to_vec(), &[OK])),
        ),
        (
            "no protobuf",
            Box::new(|| grpc(&[GRPC], framed(b"\x08\xff"), &[OK])),
        ),
        (
            "a code without a meaning",
            Box::new(|| grpc(&[GRPC], framed(b"\x08\x03"), &[OK])),
        ),
        (
            "more than a megabyte",
            Box::new(|| {
                let mut message = b"\x08\x02\x2a\x80\x80\x80\x01".to_vec();
                message.resize(message.len() + 2 * 1024 * 1024, b'x');
                grpc(&[GRPC], framed(&message), &[OK])
            }),
        ),
        (
            "a flood of headers",
            Box::new(move || {
                let mut response = grpc(&[GRPC], over(), &[OK]);
                for index in 0..200 {
                    let name = HeaderName::try_from(format!("x-{index}")).unwrap();
                    response
                        .headers_mut()
                        .append(name, HeaderValue::from_static("v"));
                }
                response
            }),
        ),
    ];
    for (what, answer) in cases {
        let hostile = Hostile::answers(answer).await;
        is_an_error(hostile.address, what).await;
    }
}

/// Headers that an answer asks for, in numbers or lengths that nobody wants.
#[tokio::test]
async fn answers_that_ask_for_too_much() {
    let many: Vec<_> = (0..101)
        .map(|index| header(&format!("x-{index}"), "v"))
        .collect();
    let long = vec![header("x-long", &"v".repeat(61 * 1024))];
    for headers in [many, long] {
        let mut to_clients = over();
        to_clients.response_headers_to_add = headers.clone();
        let mut to_upstreams = ok();
        to_upstreams.request_headers_to_add = headers;
        for answer in [to_clients, to_upstreams] {
            let limiter = Limiter::always(answer).await;
            is_an_error(limiter.address, "too much").await;
        }
    }
}

/// A service that comes back is asked again; the others were not disturbed.
#[tokio::test]
async fn a_service_that_comes_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let case = limited(base().map("a", MAPPING), address, "");
    let gate = case.map("b", "prefix: /b/\nrewrite: \"\"").start().await;
    gate.rows(8080, &[("/", "a:/"), ("/b/", "b:/b/")]).await;
    let refusal: RateLimitResponse = over();
    let _limiter = Limiter::at(address, move |_| std::future::ready(Ok(refusal.clone()))).await;
    gate.rows(8080, &[("/", "429"), ("/b/", "b:/b/")]).await;
}
