//! From a request that may go upstream to the form in which it is sent: timeouts, the upgrade check,
//! headers and path, and the copy for a shadow.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, HOST};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, Uri, Version};
use http_body::Body;
use hyper::upgrade::OnUpgrade;

use super::affinity;
use super::body::{RequestBody, ResponseBody};
use super::exchange::Exchange;
use super::gates::Routed;
use super::grpc;
use super::mirror;
use super::proxy::{finish, note};
use super::respond::{self, About};
use super::route::Forward;
use super::upgrade;
use crate::clock;
use crate::config::Target;
use crate::error::ProxyError;
use crate::reply::{Reply, grpc_timeout};
use crate::request::captured::Captured;
use crate::request::{CompiledHost, CompiledPolicy, Facts, accepted};
use crate::upstream::{Call, ClusterHandle, Slot, outgoing};

/// What follows from a request's headers.
pub(super) enum Step {
    /// A reply of ours.
    Answered(Response<ResponseBody>),
    /// The request as it is to be sent.
    Send(Sending),
}

/// What is sent, and what is needed once the upstream has answered.
pub(super) struct Sending {
    pub(super) slot: Slot,
    pub(super) captured: Captured,
    pub(super) on_upgrade: Option<OnUpgrade>,
    pub(super) call: Call,
    pub(super) about: About<'static>,
}

/// The stages between the last gate and the sending.
pub(super) fn proceed(exchange: &Rc<Exchange>, routed: Routed) -> Step {
    let Routed {
        mut head,
        body,
        forward,
        about,
        on_upgrade,
    } = routed;
    let Some(Target::Cluster {
        cluster,
        policy,
        bypassed,
        ..
    }) = exchange.target()
    else {
        note(exchange, &head, about.version);
        return Step::Answered(respond::local(exchange, Reply::cluster_not_found(), &about));
    };
    if let Some(compression) = &exchange.serving.config.listener.http.compression {
        exchange.coding.set(accepted(&head.headers));
        if compression.hide_accept_encoding {
            head.headers.remove(ACCEPT_ENCODING);
        }
    }
    exchange.limit(policy.timeout, policy.idle_timeout);
    if about.grpc
        && let Some(limit) = grpc_timeout(&head.headers)
    {
        exchange.set_deadline(limit);
    }
    let key = affinity::key(exchange, policy, &head.headers);
    count(exchange, cluster.as_ref(), bypassed.as_ref(), &head, &about);
    let upgrade = forward.upgrade.is_some();
    let prepared = match (&forward.upgrade, cluster) {
        (Some(token), _) if !policy.allows_upgrade(token) => Err(Reply::upgrade_refused()),
        (_, None) => Err(Reply::cluster_not_found()),
        (_, Some(cluster)) => prepare(exchange, forward, &mut head, (cluster, policy), &about),
    };
    let captured = policy.capture(&head.headers);
    note(exchange, &head, about.version);
    if let Err(reply) = prepared {
        let about = About {
            policy: Some((policy, &captured)),
            ..about
        };
        return Step::Answered(respond::local(exchange, reply, &about));
    }
    let call = Call {
        upgrade,
        bodyless: body.is_end_stream(),
        priority: policy.priority,
        key,
        most_kept: usize::try_from(exchange.serving.config.listener.http.buffer_limit_bytes).ok(),
        ..Call::default()
    };
    let slot = match cluster {
        Some(cluster) => send_copy(exchange, cluster, policy.timeout, (head, body), &call),
        None => Ok(Slot::empty()),
    };
    match slot {
        Ok(slot) => Step::Send(Sending {
            slot,
            captured,
            on_upgrade,
            call,
            about,
        }),
        Err(error) => {
            let about = About {
                policy: Some((policy, &captured)),
                ..about
            };
            Step::Answered(finish(exchange, Ok(Err(error)), &call, on_upgrade, &about))
        }
    }
}

/// What is counted of a request that goes upstream.
fn count(
    exchange: &Exchange,
    cluster: Option<&Arc<ClusterHandle>>,
    bypassed: Option<&Arc<ClusterHandle>>,
    head: &Parts,
    about: &About<'_>,
) {
    if about.grpc
        && let Some(cluster) = cluster
    {
        grpc::count(exchange, cluster, head.uri.path());
    }
    if let Some(bypassed) = bypassed {
        exchange.conn.context.pool.count_bypassed(bypassed);
    }
}

/// The request in the form in which it is sent, after a copy went to the shadow, if there is one.
fn send_copy(
    exchange: &Exchange,
    cluster: &ClusterHandle,
    timeout: Option<Duration>,
    (head, body): (Parts, RequestBody),
    call: &Call,
) -> Result<Slot, ProxyError> {
    let body = match exchange.mirror().filter(|_| !call.upgrade) {
        Some(mirror) => {
            let context = &exchange.conn.context;
            match mirror::copy(context, mirror, &head, body, (timeout, call.key)) {
                Ok(tee) => return outgoing(cluster, Request::from_parts(head, tee), call),
                Err(body) => body,
            }
        }
        None => body,
    };
    outgoing(cluster, Request::from_parts(head, body), call)
}

/// Gives a request the form in which it is sent.
fn prepare(
    exchange: &Exchange,
    forward: Forward,
    head: &mut Parts,
    (cluster, policy): (&ClusterHandle, &CompiledPolicy),
    about: &About<'_>,
) -> Result<(), Reply> {
    if let Some(host) = forward.host
        && let Ok(host) = HeaderValue::try_from(host)
    {
        head.headers.insert(HOST, host);
    }
    if policy.edits_requests() {
        edit(exchange, head, forward.scheme, (cluster, policy), about);
    }
    match &policy.host {
        CompiledHost::Keep => {}
        CompiledHost::Literal(host) => {
            head.headers.insert(HOST, host.clone());
        }
        CompiledHost::Auto => {
            if let Some(host) = &cluster.host_name {
                head.headers.insert(HOST, host.clone());
            }
        }
    }
    let settings = &exchange.serving.config.listener.http;
    policy.apply_generated(&mut head.headers, forward.original.as_deref(), settings);
    if forward.upgrade.is_some() && about.version == Version::HTTP_2 {
        upgrade::as_http1(head, forward.upgrade);
    }
    head.version = Version::HTTP_11;
    set_path(&mut head.uri, forward.path)
}

/// The route's edits of the request's headers.
fn edit(
    exchange: &Exchange,
    head: &mut Parts,
    scheme: &str,
    (cluster, policy): (&ClusterHandle, &CompiledPolicy),
    about: &About<'_>,
) {
    let client = exchange.record.borrow().client;
    let facts = || Facts {
        started: clock::wall(exchange.started()),
        version: about.version,
        method: head.method.as_str(),
        path: head.uri.path_and_query().map_or("", PathAndQuery::as_str),
        authority: text(head.headers.get(HOST)),
        scheme,
        client: client.as_ref(),
        cluster: Some(&cluster.config.stats_name),
        route: exchange
            .chosen
            .get()
            .map(|(row, _)| row.route.name.as_str()),
        ..super::record::connection_facts(&exchange.conn)
    };
    let values = policy.request_values(&head.headers, facts);
    policy.apply_request(&mut head.headers, values);
}

fn text(value: Option<&HeaderValue>) -> &str {
    value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// Makes the URI origin-form, with a new path and query if there is one.
fn set_path(uri: &mut Uri, path: Option<String>) -> Result<(), Reply> {
    let path = match path {
        Some(path) => Some(
            PathAndQuery::from_maybe_shared(Bytes::from(path)).map_err(|_| Reply::bad_path())?,
        ),
        None if uri.authority().is_some() || uri.scheme().is_some() => Some(
            uri.path_and_query()
                .cloned()
                .unwrap_or_else(|| PathAndQuery::from_static("/")),
        ),
        None => None,
    };
    if let Some(path) = path {
        *uri = Uri::from(path);
    }
    Ok(())
}
