//! Keeps clients at their endpoints (spec/services §3.8): the hash of a request, and the cookie that its
//! response carries where the client had none.

use http::HeaderMap;
use http::header::SET_COOKIE;

use super::exchange::Exchange;
use crate::request::CompiledPolicy;

/// The hash that decides about the request's endpoint; `None` = any will do. The headers are the
/// client's: the route's edits follow.
pub(super) fn key(
    exchange: &Exchange,
    policy: &CompiledPolicy,
    headers: &HeaderMap,
) -> Option<u64> {
    let source = policy.hash.as_ref()?;
    let client = exchange.record.borrow().client?;
    let (key, cookie) = source.read(headers, &client, exchange.conn.local);
    *exchange.affinity.borrow_mut() = cookie;
    key
}

/// Gives the client of an upstream's response the cookie that was made for it.
pub(super) fn mark(exchange: &Exchange, headers: &mut HeaderMap) {
    if let Some(cookie) = exchange.affinity.take() {
        headers.append(SET_COOKIE, cookie);
    }
}
