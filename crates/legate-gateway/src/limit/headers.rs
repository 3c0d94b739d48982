//! The `x-ratelimit-*` headers, in the form that Envoy gives them (draft 03).

use std::fmt::Write as _;

use http::{HeaderName, HeaderValue};

use super::decide::{Hit, Hits, Verdict};
use super::rules::Ask;

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// One limit, as clients are told of it.
struct Told<'a> {
    requests: u32,
    unit_seconds: u32,
    name: &'a str,
    remaining: u64,
    reset: u64,
}

/// Adds what is left of the limits whose domains tell.
pub(super) fn add(hits: &Hits<'_>, gateways: u32, headers: &mut Vec<(HeaderName, HeaderValue)>) {
    let told: Vec<Told<'_>> = hits.iter().filter_map(|hit| told(hit, gateways)).collect();
    let Some(least) = told.iter().min_by_key(|told| told.remaining) else {
        return;
    };
    let mut limit = least.requests.to_string();
    for told in &told {
        let _ = write!(limit, ", {};w={}", told.requests, told.unit_seconds);
        if !told.name.is_empty() {
            let _ = write!(limit, ";name=\"{}\"", told.name);
        }
    }
    // A name that is no header value costs the header, not the request.
    if let Ok(limit) = HeaderValue::try_from(limit) {
        headers.push((LIMIT, limit));
        headers.push((REMAINING, HeaderValue::from(least.remaining)));
        headers.push((RESET, HeaderValue::from(least.reset)));
    }
}

fn told<'a>(hit: &'a Hit<'_>, gateways: u32) -> Option<Told<'a>> {
    if !hit.domain.headers || !hit.rule.enforces() {
        return None;
    }
    let name = hit.rule.config.name.as_str();
    match hit.rule.ask {
        Ask::Nothing => None,
        Ask::Never => Some(Told {
            requests: 0,
            unit_seconds: 1,
            name,
            remaining: 0,
            reset: 0,
        }),
        Ask::Rate {
            requests,
            unit_seconds,
            ..
        } => {
            let shape = hit.rule.shape(gateways)?;
            let debt = match hit.verdict {
                Verdict::Fits(debt) => debt,
                // What would have fitted is owed already.
                Verdict::Over(Some(wait)) => shape
                    .window()
                    .saturating_add(wait)
                    .saturating_sub(shape.period()),
                Verdict::None | Verdict::Over(None) => return None,
            };
            Some(Told {
                requests,
                unit_seconds,
                name,
                remaining: shape.remaining(debt),
                reset: debt.div_ceil(1_000_000_000),
            })
        }
    }
}
