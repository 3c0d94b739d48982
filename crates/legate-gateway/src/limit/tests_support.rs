//! Rules and descriptors for tests.

use legate_config::rules::{
    Limit, LimitDepth, LimitEntry, LimitItem, LimitPlace, LimitRule, LimitValue,
};

use super::decide::collect;
use super::{Domain, Hits, Limiter};
use crate::request::DescriptorEntry;

/// A rule for one key, whatever its value is.
pub(super) fn rule(key: &str, requests: u32, unit_seconds: u32) -> LimitRule {
    LimitRule {
        name: key.into(),
        items: vec![LimitItem {
            any_of: vec![LimitEntry {
                key: key.into(),
                value: LimitValue::Any,
            }],
            shared: false,
        }],
        depth: LimitDepth::Exact,
        limit: Some(Limit::Rate {
            requests,
            unit_seconds,
            burst: requests,
        }),
        shadow: false,
        replaces: Vec::new(),
        place: LimitPlace::Process,
        request_headers: Vec::new(),
        response_headers: Vec::new(),
    }
}

/// What applies to one descriptor per key, all with one value.
pub(super) fn hits<'a>(limiter: &Limiter, domain: &'a Domain, keys: &[&str]) -> Hits<'a> {
    let mut hits = Hits::new();
    for key in keys {
        let descriptor = [DescriptorEntry {
            key,
            value: "v".into(),
        }];
        collect(limiter, domain, &descriptor, &mut hits);
    }
    hits
}
