//! gRPC within an exchange: the form in which its client speaks it, and what is counted of it
//! (spec/services §3.13).

use std::cell::{Cell, OnceCell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderValue, TE};
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode, Version};
use legate_config::http::{GrpcMethods, GrpcSettings, GrpcStats};

use super::exchange::Exchange;
use crate::framing::{self, Decoder, Messages, WebForm};
use crate::metrics::{MethodMetrics, method_of};
use crate::reply::{GRPC_STATUS, is_grpc};
use crate::upstream::ClusterHandle;

/// A method that the upstream does not have.
const UNIMPLEMENTED: u32 = 12;

/// What an exchange knows of its being gRPC.
#[derive(Default)]
pub(crate) struct GrpcState {
    web: Cell<Option<WebForm>>,
    bridged: Cell<bool>,
    malformed: Cell<bool>,
    call: OnceCell<Box<GrpcCall>>,
}

/// A call that is counted.
pub(crate) struct GrpcCall {
    cluster: Arc<ClusterHandle>,
    path: Box<str>,
    /// Whether its path is in the config, and not only what a client says.
    listed: bool,
    timed: bool,
    metrics: OnceCell<Arc<MethodMetrics>>,
    request: RefCell<Messages>,
    response: RefCell<Messages>,
    /// Messages of the request before it was known where they are counted.
    waiting: Cell<u64>,
    charged: Cell<bool>,
}

impl GrpcState {
    /// Tells the client's form, and makes the request's headers those of plain gRPC.
    pub(crate) fn arrive(&self, settings: &GrpcSettings, head: &mut Parts) {
        if settings.web {
            self.web.set(framing::ask(&mut head.headers));
            if self.web.get().is_some() {
                return;
            }
        }
        if settings.http1_bridge && head.version != Version::HTTP_2 && is_grpc(&head.headers) {
            self.bridged.set(true);
            // There are upstreams that insist on it; the client cannot know.
            head.headers
                .insert(TE, HeaderValue::from_static("trailers"));
        }
    }

    /// The client's form of gRPC-Web, where it speaks that.
    pub(crate) fn web(&self) -> Option<WebForm> {
        self.web.get()
    }

    /// Whether the client wants trailers as headers.
    pub(crate) fn is_bridged(&self) -> bool {
        self.bridged.get()
    }

    /// What decodes the request's body, where it is text.
    pub(crate) fn decoder(&self) -> Option<Box<Decoder>> {
        let text = self.web.get().is_some_and(|form| form.sends_text);
        text.then(Box::default)
    }

    /// The request's body is not what it claims to be.
    pub(crate) fn set_malformed(&self) {
        self.malformed.set(true);
    }

    /// Whether the request's body is not what it claims to be.
    pub(crate) fn is_malformed(&self) -> bool {
        self.malformed.get()
    }

    /// The call, where it is counted.
    pub(crate) fn call(&self) -> Option<&GrpcCall> {
        self.call.get().map(|call| &**call)
    }
}

/// Begins to count a gRPC request that goes to a cluster, where its method is one that is counted.
pub(crate) fn count(exchange: &Exchange, cluster: &Arc<ClusterHandle>, path: &str) {
    let Some(stats) = &exchange.serving.config.listener.http.grpc.stats else {
        return;
    };
    let Some(listed) = selects(stats, path) else {
        return;
    };
    let known = exchange
        .conn
        .context
        .methods
        .get(&cluster.config.stats_name, path);
    let metrics = OnceCell::new();
    if let Some(known) = known {
        let _ = metrics.set(known);
    }
    // Set once: the route is final.
    let _ = exchange.grpc.call.set(Box::new(GrpcCall {
        cluster: Arc::clone(cluster),
        path: path.into(),
        listed,
        timed: stats.upstream_time,
        metrics,
        request: RefCell::default(),
        response: RefCell::default(),
        waiting: Cell::new(0),
        charged: Cell::new(false),
    }));
}

/// Whether a path is counted, and then, whether it is listed.
fn selects(stats: &GrpcStats, path: &str) -> Option<bool> {
    let method = method_of(path)?;
    match &stats.methods {
        GrpcMethods::All => Some(false),
        GrpcMethods::Listed(listed) => listed
            .binary_search_by(|it| (it.service.as_str(), it.name.as_str()).cmp(&method))
            .is_ok()
            .then_some(true),
    }
}

impl GrpcCall {
    /// A piece of the request's body.
    pub(crate) fn request_data(&self, data: &[u8]) {
        let messages = self.request.borrow_mut().count(data);
        match self.metrics.get() {
            _ if messages == 0 => {}
            Some(metrics) => metrics.request_messages(messages),
            None => self.waiting.set(self.waiting.get() + messages),
        }
    }

    /// A piece of the response's body.
    pub(crate) fn response_data(&self, data: &[u8]) {
        let messages = self.response.borrow_mut().count(data);
        if messages > 0
            && let Some(metrics) = self.metrics.get()
        {
            metrics.response_messages(messages);
        }
    }

    /// The head of the response. Whoever answers in gRPC, and does not say that there is no such
    /// method, has it.
    pub(crate) fn answered(&self, exchange: &Exchange, headers: &HeaderMap) {
        let status = status(headers);
        let is_there = match status {
            Some(status) => status != UNIMPLEMENTED,
            None => framing::is_grpc_response(headers),
        };
        let path = if is_there || self.listed {
            &*self.path
        } else {
            "/_other/_other"
        };
        if self.metrics.get().is_none() && (is_there || status.is_some()) {
            let context = &exchange.conn.context;
            let cluster = self.cluster.config.stats_name.as_str();
            let found = context
                .methods
                .get_or_ask(&context.metrics, (cluster, path), !self.listed);
            if let Some(found) = found {
                found.request_messages(self.waiting.take());
                let _ = self.metrics.set(found);
            }
        }
        self.charge(status);
    }

    /// The trailers of the response.
    pub(crate) fn trailers(&self, trailers: &HeaderMap) {
        self.charge(status(trailers));
    }

    fn charge(&self, status: Option<u32>) {
        if let (Some(status), Some(metrics)) = (status, self.metrics.get())
            && !self.charged.replace(true)
        {
            metrics.ended(status);
        }
    }

    /// The upstream's response is complete.
    pub(crate) fn took(&self, time: Duration) {
        if self.timed
            && let Some(metrics) = self.metrics.get()
        {
            metrics.upstream_time(time);
        }
    }
}

fn status(headers: &HeaderMap) -> Option<u32> {
    headers.get(&GRPC_STATUS)?.to_str().ok()?.parse().ok()
}

/// Gives a reply of ours to a gRPC request the client's form.
pub(crate) fn local(exchange: &Exchange, mut response: Response<Bytes>) -> Response<Bytes> {
    let state = &exchange.grpc;
    if let Some(form) = state.web()
        && framing::is_grpc_response(response.headers())
    {
        let trailers = form.answer(response.headers_mut());
        exchange.trailers(&trailers);
        let body = form.writer(trailers).finish(None);
        response
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        *response.body_mut() = body;
    } else if state.is_bridged() {
        bridge(response.headers().get(&GRPC_STATUS)).clone_into(response.status_mut());
    }
    response
}

/// The status that a client of the bridge gets for a gRPC status.
pub(crate) fn bridge(status: Option<&HeaderValue>) -> StatusCode {
    match status {
        Some(status) if status != "0" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::OK,
    }
}
