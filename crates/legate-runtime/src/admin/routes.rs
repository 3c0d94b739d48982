//! The admin server's paths.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::Value;

use super::AdminState;
use crate::logging::{Level, LogHandle};
use crate::metrics::{Registry, TextFormat};

/// What `/` and `/help` print.
const INDEX: &str = "\
admin commands are:
  /: this list
  /ambassador/v0/check_alive: is the process alive
  /ambassador/v0/check_ready: is it ready for traffic
  /clusters: upstream clusters and their endpoints (?format=json)
  /config_dump: the running configuration
  /help: this list
  /listeners: listeners and their addresses (?format=json)
  /logging: the log level (POST ?level=debug changes it, from loopback only)
  /metrics: metrics for Prometheus
  /quitquitquit: end the process (POST, from loopback only)
  /ready: LIVE when ready
  /server_info: version, state and options
  /stats/prometheus: the same as /metrics
";

type Context = Arc<Shared>;
type Parameters = Query<HashMap<String, String>>;

pub(super) struct Shared {
    state: Arc<dyn AdminState>,
    metrics: Registry,
    log: Option<LogHandle>,
}

/// All paths.
pub(super) fn routes(
    state: Arc<dyn AdminState>,
    metrics: Registry,
    log: Option<LogHandle>,
) -> Router {
    let context = Arc::new(Shared {
        state,
        metrics,
        log,
    });
    let guard = || middleware::from_fn(loopback_only);
    Router::new()
        .route("/", get(|| async { text(INDEX) }))
        .route("/help", get(|| async { text(INDEX) }))
        .route("/ambassador/v0/check_alive", get(check_alive))
        .route("/ambassador/v0/check_ready", get(check_ready))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics_text))
        .route("/stats/prometheus", get(metrics_text))
        .route("/config_dump", get(config_dump))
        .route("/clusters", get(clusters))
        .route("/listeners", get(listeners))
        .route("/server_info", get(server_info))
        .route("/logging", post(set_level).layer(guard()).get(show_level))
        .route("/quitquitquit", post(quit).layer(guard()))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::map_response(common_headers))
        .with_state(context)
}

// === Probes ===

async fn check_alive(State(shared): State<Context>) -> Response {
    probe(shared.state.alive(), "Ambassador is alive and well\n")
}

async fn check_ready(State(shared): State<Context>) -> Response {
    probe(shared.state.ready(), "Ambassador is ready and waiting\n")
}

fn probe(outcome: Result<(), String>, fine: &'static str) -> Response {
    match outcome {
        Ok(()) => text(fine),
        Err(reason) => status(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn ready(State(shared): State<Context>) -> Response {
    let word = format!("{}\n", shared.state.phase().as_str());
    match shared.state.ready() {
        Ok(()) => text(word),
        Err(_) => status(StatusCode::SERVICE_UNAVAILABLE, word),
    }
}

// === Views ===

async fn metrics_text(State(shared): State<Context>, headers: HeaderMap) -> Response {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    let format = TextFormat::for_accept(accept);
    let content_type = [(header::CONTENT_TYPE, format.content_type())];
    let metrics = shared.metrics.clone();
    aside(move || (content_type, metrics.encode(format)).into_response()).await
}

async fn config_dump(State(shared): State<Context>) -> Response {
    aside(move || json(&shared.state.config_dump())).await
}

async fn server_info(State(shared): State<Context>) -> Response {
    aside(move || json(&shared.state.server_info())).await
}

async fn clusters(State(shared): State<Context>, Query(query): Parameters) -> Response {
    aside(move || {
        if wants_json(&query) {
            json(&shared.state.clusters_json())
        } else {
            text(shared.state.clusters_text())
        }
    })
    .await
}

async fn listeners(State(shared): State<Context>, Query(query): Parameters) -> Response {
    aside(move || {
        if wants_json(&query) {
            json(&shared.state.listeners_json())
        } else {
            text(shared.state.listeners_text())
        }
    })
    .await
}

fn wants_json(query: &HashMap<String, String>) -> bool {
    query.get("format").is_some_and(|format| format == "json")
}

/// Runs what may take long away from the thread that answers probes.
async fn aside(view: impl FnOnce() -> Response + Send + 'static) -> Response {
    match tokio::task::spawn_blocking(view).await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(%error, "Admin view failed; this is a bug");
            let words = "this view failed; see the log\n";
            status(StatusCode::INTERNAL_SERVER_ERROR, words)
        }
    }
}

// === Changes ===

async fn show_level(State(shared): State<Context>) -> Response {
    match &shared.log {
        Some(log) => text(format!("active loggers:\n  legate: {}\n", log.level())),
        None => no_log(),
    }
}

async fn set_level(State(shared): State<Context>, Query(query): Parameters) -> Response {
    let Some(log) = &shared.log else {
        return no_log();
    };
    let Some(level) = query.get("level") else {
        let words = "usage: POST /logging?level=error|warn|info|debug|trace\n";
        return status(StatusCode::BAD_REQUEST, words);
    };
    match level.parse::<Level>() {
        Ok(level) => {
            log.set_level(level);
            tracing::info!(%level, "Log level changed");
            text(format!("active loggers:\n  legate: {level}\n"))
        }
        Err(unknown) => status(StatusCode::BAD_REQUEST, format!("{unknown}\n")),
    }
}

fn no_log() -> Response {
    let words = "the log level of this process cannot be changed\n";
    status(StatusCode::NOT_FOUND, words)
}

async fn quit(State(shared): State<Context>) -> Response {
    tracing::info!("Asked to quit by the admin server");
    shared.state.quit();
    text("OK\n")
}

/// Changes come from this machine only, and not from a web page that is open on it.
async fn loopback_only(request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let local = peer.is_some_and(|ConnectInfo(peer)| peer.ip().to_canonical().is_loopback());
    let from_page = request.headers().contains_key(header::ORIGIN);
    if local && !from_page {
        next.run(request).await
    } else {
        let words = "changes are accepted from loopback only\n";
        status(StatusCode::FORBIDDEN, words)
    }
}

// === The rest ===

async fn unknown() -> Response {
    let words = "there is no such admin path; GET / lists them\n";
    status(StatusCode::NOT_FOUND, words)
}

async fn wrong_method() -> Response {
    let words = "method not allowed here; GET / lists what each path does\n";
    status(StatusCode::METHOD_NOT_ALLOWED, words)
}

async fn common_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let value = header::HeaderValue::from_static;
    headers.insert(header::CACHE_CONTROL, value("no-cache, max-age=0"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, value("nosniff"));
    response
}

fn text(words: impl Into<String>) -> Response {
    status(StatusCode::OK, words)
}

fn status(code: StatusCode, words: impl Into<String>) -> Response {
    let plain = [(header::CONTENT_TYPE, "text/plain; charset=UTF-8")];
    (code, plain, words.into()).into_response()
}

fn json(value: &Value) -> Response {
    let mut words = format!("{value:#}");
    words.push('\n');
    ([(header::CONTENT_TYPE, "application/json")], words).into_response()
}
