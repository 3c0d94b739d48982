//! `legate echo`: the demo backend of examples and tests (design §6.1).

mod auth_grpc;
mod grpc;
mod rate_limit;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::args::{EchoArgs, EchoRole};
use crate::output::{Exit, say};

/// Longest time that `/delay/MS` waits.
const MAX_DELAY: Duration = Duration::from_secs(600);

/// Runs the command.
#[must_use]
pub fn command(args: &EchoArgs) -> Exit {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("error: {error}"));
            return Exit::Environment;
        }
    };
    let served = runtime.block_on(async {
        let mut servers = tokio::task::JoinSet::new();
        for address in &args.listen {
            let listener = TcpListener::bind(address)
                .await
                .map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")))?;
            let name = args.name.clone().unwrap_or_else(|| address.to_string());
            let role = args.role;
            servers.spawn(play(listener, name, role, args.per_minute));
        }
        match servers.join_next().await {
            Some(Ok(result)) => result,
            _ => Ok(()),
        }
    });
    match served {
        Ok(()) => Exit::Fine,
        Err(error) => {
            say(&format!("error: {error}"));
            Exit::Environment
        }
    }
}

/// How often a descriptor may come in demos.
pub const PER_MINUTE: u32 = 5;

/// Serves echoes on a bound socket for ever, or what else is to be played there.
///
/// # Errors
/// Accepting failed for good.
pub async fn serve(listener: TcpListener, name: String, role: Option<EchoRole>) -> io::Result<()> {
    play(listener, name, role, PER_MINUTE).await
}

/// The same; `per_minute` is for [`EchoRole::RateLimit`].
async fn play(
    listener: TcpListener,
    name: String,
    role: Option<EchoRole>,
    per_minute: u32,
) -> io::Result<()> {
    if role == Some(EchoRole::RateLimit) {
        return rate_limit::serve(listener, per_minute).await;
    }
    let address = listener.local_addr()?;
    let backend = Arc::new(Backend {
        name,
        address,
        role,
    });
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            // The peer went away, or descriptors ran out for a moment: neither ends the backend.
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        // Only latency would suffer.
        let _ = stream.set_nodelay(true);
        let backend = Arc::clone(&backend);
        legate_runtime::task::spawn("echo connection", async move {
            let mut builder = auto::Builder::new(TokioExecutor::new());
            builder.http1().timer(TokioTimer::new());
            builder.http2().timer(TokioTimer::new());
            let io = TokioIo::new(stream);
            // A client that breaks off is its own business.
            let _ = if backend.role == Some(EchoRole::AuthGrpc) {
                let service = service_fn(auth_grpc::answer);
                builder.serve_connection(io, service).await
            } else {
                let service = service_fn(move |request| answer(Arc::clone(&backend), request));
                builder.serve_connection_with_upgrades(io, service).await
            };
        });
    }
}

#[derive(Debug)]
struct Backend {
    name: String,
    address: SocketAddr,
    role: Option<EchoRole>,
}

async fn answer(
    backend: Arc<Backend>,
    request: Request<Incoming>,
) -> Result<Response<UnsyncBoxBody<Bytes, Infallible>>, Infallible> {
    if backend.role.is_none() && grpc::is_call(request.headers()) {
        return Ok(grpc::answer(request).map(BodyExt::boxed_unsync));
    }
    let response = plain(backend, request).await?;
    Ok(response.map(BodyExt::boxed_unsync))
}

async fn plain(
    backend: Arc<Backend>,
    mut request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if backend.role == Some(EchoRole::AuthHttp) {
        return Ok(judge(request.headers()));
    }
    if wants_websocket(request.headers()) {
        return Ok(websocket(&mut request));
    }
    let (parts, mut body) = request.into_parts();
    let mut bytes = 0_u64;
    while let Some(Ok(frame)) = body.frame().await {
        bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
    }
    let path = parts.uri.path();
    let mut status = StatusCode::OK;
    // The last `/status/N` or `/delay/MS` in the path counts, so that it works behind any prefix.
    if let Some(wait) = number_after(path, "/delay/") {
        tokio::time::sleep(Duration::from_millis(wait).min(MAX_DELAY)).await;
    }
    if let Some(code) = number_after(path, "/status/") {
        status = u16::try_from(code)
            .ok()
            .and_then(|code| StatusCode::from_u16(code).ok())
            .filter(|code| !code.is_informational())
            .unwrap_or(StatusCode::BAD_REQUEST);
    }
    let host = parts
        .headers
        .get(header::HOST)
        .map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned())
        .or_else(|| parts.uri.authority().map(ToString::to_string));
    let described = json!({
        "name": backend.name,
        "address": backend.address.to_string(),
        "method": parts.method.as_str(),
        "path": path,
        "query": parts.uri.query(),
        "host": host,
        "protocol": format!("{:?}", parts.version),
        "headers": described(&parts.headers),
        "body_bytes": bytes,
    });
    let mut text = described.to_string();
    text.push('\n');
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    Ok(response)
}

/// An AuthService that takes every bearer token for the name of a user.
fn judge(headers: &HeaderMap) -> Response<Full<Bytes>> {
    let user = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(user_of)
        .and_then(|token| HeaderValue::from_str(token).ok());
    let mut response = Response::new(Full::default());
    let Some(user) = user else {
        *response.body_mut() = Full::new(Bytes::from_static(WHO.as_bytes()));
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        let scheme = HeaderValue::from_static("Bearer");
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, scheme);
        return response;
    };
    let name = HeaderName::from_static("x-user");
    response.headers_mut().insert(name, user);
    response
}

/// What somebody without a token is told.
const WHO: &str = "say who you are\n";

/// The user that an `authorization` header names.
fn user_of(authorization: &str) -> Option<&str> {
    let token = authorization.strip_prefix("Bearer ")?.trim();
    (!token.is_empty()).then_some(token)
}

fn number_after(path: &str, marker: &str) -> Option<u64> {
    let (_, rest) = path.rsplit_once(marker)?;
    rest.split('/').next()?.parse().ok()
}

fn described(headers: &HeaderMap) -> Value {
    let mut map = Map::new();
    for name in headers.keys() {
        let values = headers
            .get_all(name)
            .iter()
            .map(|value| Value::from(String::from_utf8_lossy(value.as_bytes())))
            .collect();
        map.insert(name.as_str().to_owned(), Value::Array(values));
    }
    Value::Object(map)
}

fn wants_websocket(headers: &HeaderMap) -> bool {
    headers
        .get(header::UPGRADE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
}

/// Accepts the upgrade and echoes frames.
fn websocket(request: &mut Request<Incoming>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    let Some(key) = request.headers().get("sec-websocket-key") else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    let accept = derive_accept_key(key.as_bytes());
    let upgraded = hyper::upgrade::on(request);
    legate_runtime::task::spawn("echo websocket", async move {
        let Ok(upgraded) = upgraded.await else { return };
        let stream =
            WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        let (sink, frames) = stream.split();
        // The peer closing, or breaking off, ends the echo either way.
        let _ = frames
            .try_filter(|message| std::future::ready(message.is_text() || message.is_binary()))
            .forward(sink)
            .await;
    });
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::try_from(accept) {
        headers.insert(HeaderName::from_static("sec-websocket-accept"), accept);
    }
    response
}
