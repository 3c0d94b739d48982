//! Rate limits that are counted by us: here, or in a store that gateways share (spec/services §2.7).
//!
//! Those that are counted here decide on the spot, without an allocation. Where a store has to be
//! asked, nothing is decided before its answer.

use std::rc::Rc;

use bytes::Bytes;
use http::Response;

use super::body::ResponseBody;
use super::exchange::Exchange;
use super::gates::Routed;
use super::rate_limit::{self, OverLimit};
use crate::config::Target;
use crate::limit::{self, Hits, Limits, Overdrawn};
use crate::metrics::LimitResult;
use crate::upstream::ClusterHandle;

/// What is known of a request's limits without waiting.
pub(super) enum Known {
    /// It may go on.
    Within,
    /// A store has to be asked.
    Asked,
    /// Its answer: it goes no further.
    Over(Box<Response<ResponseBody>>),
}

/// Decides about a request, unless a store has to be asked.
pub(super) fn admit(exchange: &Rc<Exchange>, routed: &mut Routed) -> Known {
    let limits = &exchange.serving.config.limits;
    if limits.is_empty() {
        return Known::Within;
    }
    let Some(cluster) = cluster(exchange) else {
        return Known::Within;
    };
    let mut hits = hits(exchange, routed, limits, cluster);
    if hits.is_empty() {
        return Known::Within;
    }
    if limit::waits(&mut hits) {
        return Known::Asked;
    }
    let limiter = &exchange.conn.context.process.limiter;
    let result = limit::admit(limiter, &mut hits);
    match conclude(exchange, routed, cluster, &hits, result) {
        Some(response) => Known::Over(Box::new(response)),
        None => Known::Within,
    }
}

/// Decides about a request that a store has to be asked about. `Some` is the answer to one that goes
/// no further.
pub(super) async fn ask(
    exchange: &Rc<Exchange>,
    routed: &mut Routed,
) -> Option<Response<ResponseBody>> {
    let limits = &exchange.serving.config.limits;
    if limits.stores.is_empty() {
        return None;
    }
    let cluster = cluster(exchange)?;
    let mut hits = hits(exchange, routed, limits, cluster);
    if !limit::waits(&mut hits) {
        // It was decided about before.
        return None;
    }
    let context = &exchange.conn.context;
    let limiter = &context.process.limiter;
    let result = limit::admit_shared(limiter, &context.stores, &mut hits).await;
    exchange.passed();
    conclude(exchange, routed, cluster, &hits, result)
}

fn cluster(exchange: &Exchange) -> Option<&ClusterHandle> {
    match exchange.target()? {
        Target::Cluster { cluster, .. } => cluster.as_deref(),
        Target::Fail(_) => None,
    }
}

/// The limits that apply to a request.
fn hits<'a>(
    exchange: &'a Exchange,
    routed: &Routed,
    limits: &'a Limits,
    cluster: &ClusterHandle,
) -> Hits<'a> {
    let mut hits = Hits::new();
    let Some(Target::Cluster { policy, .. }) = exchange.target() else {
        return hits;
    };
    let Some(labels) = &policy.labels else {
        return hits;
    };
    let Some(facts) = rate_limit::facts(exchange, routed.forward.scheme, cluster) else {
        return hits;
    };
    let sources = labels.sources(&routed.head, facts);
    let limiter = &exchange.conn.context.process.limiter;
    for labels in labels.domains() {
        let Some(domain) = limits.domain(&labels.name) else {
            continue;
        };
        labels.descriptors(&sources, domain.honour_label_keys, |descriptor| {
            limit::collect(limiter, domain, descriptor, &mut hits);
        });
    }
    hits
}

/// Counts the decision, and adds what it brings. `Some` is the answer to a request over a limit.
fn conclude(
    exchange: &Rc<Exchange>,
    routed: &mut Routed,
    cluster: &ClusterHandle,
    hits: &Hits<'_>,
    result: Result<(), Overdrawn>,
) -> Option<Response<ResponseBody>> {
    let context = &exchange.conn.context;
    let extra = limit::extra(&context.process.limiter, hits);
    let overdrawn = match result {
        Ok(()) => {
            context.pool.count_limit(cluster, LimitResult::Ok);
            if let Some(extra) = extra {
                for (name, value) in extra.request {
                    routed.head.headers.append(name, value);
                }
                exchange.from_limits.borrow_mut().extend(extra.response);
            }
            return None;
        }
        Err(overdrawn) => overdrawn,
    };
    context.pool.count_limit(cluster, LimitResult::OverLimit);
    let mut headers = extra.map(|extra| extra.response).unwrap_or_default();
    headers.extend(overdrawn.retry_after());
    let over = OverLimit {
        body: Bytes::new(),
        headers,
        resource_exhausted: overdrawn.resource_exhausted,
    };
    Some(rate_limit::over_limit(exchange, routed, over))
}
