//! Authorisation services over gRPC that are absent, fail, or say what nobody should (spec/services
//! §1.5): each has one answer, and opens nothing.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use envoy_types::ext_authz::v3::pb::HttpResponse;
use envoy_types::ext_authz::v3::pb::{CheckResponse, DeniedHttpResponse, OkHttpResponse};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{HeaderMap, Request, Response};
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::auth_grpc::{Oracle, answer, asks, counted, set};
use crate::harness::{Gate, base};
use crate::wire::within;

/// An HTTP/2 server that says the same to everybody, gRPC or not.
struct Liar {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What it says.
#[derive(Clone, Default)]
struct Lie {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    trailers: Vec<(&'static str, String)>,
    /// Breaks the connection after the body.
    breaks: bool,
}

fn map(lines: &[(&'static str, String)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

impl Liar {
    async fn says(lie: Lie) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let lie = lie.clone();
                tokio::spawn(async move {
                    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                        let lie = lie.clone();
                        async move {
                            let _ = request.into_body().collect().await;
                            Ok::<_, Infallible>(tell(&lie))
                        }
                    });
                    let io = hyper_util::rt::TokioIo::new(stream);
                    let executor = hyper_util::rt::TokioExecutor::new();
                    let _ = hyper::server::conn::http2::Builder::new(executor)
                        .serve_connection(io, service)
                        .await;
                });
            }
        });
        Self { address, task }
    }
}

type Frames = StreamBody<
    futures_util::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, std::io::Error>>>,
>;

fn tell(lie: &Lie) -> Response<Frames> {
    let mut frames = vec![Ok(Frame::data(Bytes::from(lie.body.clone())))];
    if lie.breaks {
        frames.push(Err(std::io::ErrorKind::BrokenPipe.into()));
    }
    if !lie.trailers.is_empty() {
        frames.push(Ok(Frame::trailers(map(&lie.trailers))));
    }
    let mut response = Response::new(StreamBody::new(futures_util::stream::iter(frames)));
    *response.status_mut() = lie.status.try_into().unwrap();
    *response.headers_mut() = map(&lie.headers);
    response
}

/// An answer in all its parts, which can then be spoilt.
fn truth(message: &[u8]) -> Lie {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    Lie {
        status: 200,
        headers: vec![("content-type", "application/grpc".to_owned())],
        body: [&[0], &length[..], message].concat(),
        trailers: vec![("grpc-status", "0".to_owned())],
        breaks: false,
    }
}

fn allows() -> Vec<u8> {
    answer(0, None).encode_to_vec()
}

async fn asked_at(address: SocketAddr, spec: &str) -> Gate {
    let spec = format!("auth_service: {address}\nproto: grpc\nprotocol_version: v3\n{spec}");
    base()
        .map("a", "prefix: /")
        .object("AuthService", "auth", &spec)
        .start()
        .await
}

#[tokio::test]
async fn a_09_nobody_is_there() {
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    for (spec, expected) in [
        ("", "403"),
        ("status_on_error: {code: 503}", "503"),
        ("failure_mode_allow: true", "a:/"),
    ] {
        let gate = asked_at(nobody, spec).await;
        gate.rows(8080, &[("/", expected)]).await;
    }
}

#[tokio::test]
async fn a_09_the_call_fails() {
    let oracle =
        Oracle::answers(Err(tonic::Code::Unavailable), Duration::ZERO, "127.0.0.1:0").await;
    for (spec, expected, result) in [
        ("", "403", "error"),
        ("status_on_error: {code: 503}", "503", "error"),
        ("failure_mode_allow: true", "a:/", "failure_mode_allowed"),
    ] {
        let case = base().map("a", "prefix: /");
        let gate = asks(case, "auth", &oracle, spec).start().await;
        gate.rows(8080, &[("/", expected)]).await;
        assert_eq!(counted(&gate, &oracle, result).await, 1);
    }
}

/// Two services, of which one is away: it is passed over.
#[tokio::test]
async fn a_21_one_of_two_is_away() {
    let oracle = Oracle::says(answer(0, None)).await;
    let case = asks(base().map("a", "prefix: /"), "two", &oracle, "");
    let spec = "auth_service: 127.0.0.1:1\nproto: grpc\nprotocol_version: v3";
    let gate = case.object("AuthService", "one", spec).start().await;
    for _ in 0..4 {
        gate.rows(8080, &[("/", "a:/")]).await;
    }
    assert_eq!(oracle.asked().len(), 4);
}

#[tokio::test]
async fn what_is_no_answer_is_an_error() {
    let whole = truth(&allows());
    let half = Lie {
        body: whole.body[..whole.body.len() - 1].to_vec(),
        ..whole.clone()
    };
    for (what, lie) in [
        ("half a message", half),
        ("no protobuf", truth(b"\xff\xff\xff")),
        (
            "no message",
            Lie {
                body: Vec::new(),
                ..whole.clone()
            },
        ),
        (
            "two messages",
            Lie {
                body: whole.body.repeat(2),
                ..whole.clone()
            },
        ),
        (
            "no status",
            Lie {
                trailers: Vec::new(),
                ..whole.clone()
            },
        ),
        (
            "another status",
            Lie {
                trailers: vec![("grpc-status", "13".to_owned())],
                ..whole.clone()
            },
        ),
        (
            "no gRPC",
            Lie {
                headers: vec![("content-type", "text/html".to_owned())],
                ..whole.clone()
            },
        ),
        (
            "an HTTP error",
            Lie {
                status: 502,
                ..whole.clone()
            },
        ),
        (
            "closes mid-body",
            Lie {
                breaks: true,
                trailers: Vec::new(),
                ..whole.clone()
            },
        ),
        (
            "a flood of trailers",
            Lie {
                trailers: (0..200)
                    .map(|_| ("x-t", "v".to_owned()))
                    .chain([("grpc-status", "0".to_owned())])
                    .collect(),
                ..whole.clone()
            },
        ),
        ("too large", truth(&vec![0; 3 * 1024 * 1024])),
    ] {
        let liar = Liar::says(lie).await;
        let gate = asked_at(liar.address, "").await;
        let answer = within(gate.send(8080, "/")).await;
        assert_eq!(answer.status, 403, "{what}");
        assert_eq!(answer.text(), "", "{what}");
    }
    let liar = Liar::says(whole).await;
    let gate = asked_at(liar.address, "").await;
    gate.rows(8080, &[("/", "a:/")]).await;
}

/// Fields that nobody knows are skipped.
#[tokio::test]
async fn a_newer_protocol_is_understood() {
    let mut message = allows();
    // Field 99, a text.
    message.extend_from_slice(b"\x9a\x06\x03new");
    let liar = Liar::says(truth(&message)).await;
    let gate = asked_at(liar.address, "").await;
    gate.rows(8080, &[("/", "a:/")]).await;
}

#[tokio::test]
async fn too_much_is_invalid() {
    let many = |count: usize| (0..count).map(|at| set(&format!("x-{at}"), "v"));
    let large = || vec![set("x-large", &"x".repeat(61 * 1024))];
    // Within its own limit, but not with the request's own headers.
    let merged = || vec![set("x-large", &"x".repeat(59 * 1024))];
    let ok = |then: OkHttpResponse| answer(0, Some(HttpResponse::OkResponse(then)));
    let headers = |headers| OkHttpResponse {
        headers,
        ..OkHttpResponse::default()
    };
    let back = |headers| OkHttpResponse {
        response_headers_to_add: headers,
        ..OkHttpResponse::default()
    };
    let denied = |headers| {
        let denied = DeniedHttpResponse {
            headers,
            ..DeniedHttpResponse::default()
        };
        answer(7, Some(HttpResponse::DeniedResponse(denied)))
    };
    let cases: Vec<CheckResponse> = vec![
        ok(headers(many(101).collect())),
        ok(headers(large())),
        ok(headers(merged())),
        ok(back(many(101).collect())),
        ok(back(large())),
        denied(many(101).collect()),
        denied(large()),
    ];
    for (index, says) in cases.into_iter().enumerate() {
        let oracle = Oracle::says(says).await;
        let case = base().map("a", "prefix: /");
        // Failures may pass; this is none.
        let gate = asks(case, "auth", &oracle, "failure_mode_allow: true")
            .start()
            .await;
        let request = format!("/ x-own:{}", "y".repeat(2048));
        let answer = within(gate.send(8080, &request)).await;
        assert_eq!(answer.status, 500, "{index}");
        assert_eq!(answer.header("x-0"), None, "{index}");
        assert_eq!(counted(&gate, &oracle, "invalid").await, 1, "{index}");
    }
}

#[tokio::test]
async fn what_cannot_be_honoured_is_counted() {
    let then = OkHttpResponse {
        headers: vec![set("bad name", "v"), set("x-bad", "\0"), set("host", "h")],
        headers_to_remove: vec![":path".to_owned(), "x-fine".to_owned()],
        ..OkHttpResponse::default()
    };
    let oracle = Oracle::says(answer(0, Some(HttpResponse::OkResponse(then)))).await;
    let case = base().map("a", "prefix: /");
    let gate = asks(case, "auth", &oracle, "stats_name: oracle")
        .start()
        .await;
    gate.rows(8080, &[("/", "a:/")]).await;
    let dropped = gate.metric("legate_ext_authz_dropped_total{cluster=\"oracle\"}");
    assert_eq!(dropped.await, 4);
}

/// More checks at a time than the service is to have: those are errors, at once.
#[tokio::test]
async fn circuit_breakers_of_the_service() {
    let held = Oracle::answers(
        Ok(answer(0, None)),
        Duration::from_secs(3600),
        "127.0.0.1:0",
    )
    .await;
    let case = base().map("a", "prefix: /");
    let spec = "circuit_breakers: [{max_requests: 1}]\ntimeout_ms: 3600000";
    let gate = asks(case, "auth", &held, spec).start().await;
    let first = gate.send(8080, "/");
    let second = async {
        while held.asked().is_empty() {
            tokio::task::yield_now().await;
        }
        gate.send(8080, "/").await
    };
    let answer = within(async {
        tokio::select! {
            _ = first => panic!("nobody answers"),
            answer = second => answer,
        }
    })
    .await;
    assert_eq!(answer.status, 403);
    assert_eq!(held.asked().len(), 1);
}
