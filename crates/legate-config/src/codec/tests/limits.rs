//! Rate limits and credentials in every variant, no field at its default.

use super::sample::put;
use crate::limit::RateLimit;
use crate::rules::{
    Limit, LimitDepth, LimitDomain, LimitEntry, LimitItem, LimitPlace, LimitRule, LimitStore,
    LimitValue,
};
use crate::secret::{Credential, Password};
use crate::snapshot::Snapshot;

fn rule(depth: LimitDepth, limit: Option<Limit>, place: LimitPlace) -> LimitRule {
    let entry = |value| LimitEntry {
        key: "key".into(),
        value,
    };
    LimitRule {
        name: "name".into(),
        items: vec![LimitItem {
            any_of: vec![
                entry(LimitValue::Any),
                entry(LimitValue::Is("a".into())),
                entry(LimitValue::StartsWith("b".into())),
            ],
            shared: true,
        }],
        depth,
        limit,
        shadow: true,
        replaces: vec!["other".into()],
        place,
        request_headers: vec![("x-a".into(), "1".into())],
        response_headers: vec![("x-b".into(), "2".into())],
    }
}

/// A service that is asked.
pub(super) fn asked() -> RateLimit {
    RateLimit {
        name: "default/rl".into(),
        cluster: "key-0".into(),
        domain: "d".into(),
        timeout_ms: 20,
        deny_on_error: true,
        resource_exhausted: true,
    }
}

pub(super) fn limits(snapshot: &mut Snapshot) {
    let rate = Limit::Rate {
        requests: 1,
        unit_seconds: 60,
        burst: 2,
    };
    let rules = [
        (LimitDepth::Exact, None, LimitPlace::Process),
        (
            LimitDepth::Prefix,
            Some(Limit::Unlimited),
            LimitPlace::Divided,
        ),
        (LimitDepth::Exact, Some(rate), LimitPlace::Store(7)),
        (LimitDepth::Exact, Some(rate), LimitPlace::OwnStore),
        (LimitDepth::Exact, Some(rate), LimitPlace::IfStore),
    ];
    let domain = LimitDomain {
        headers: true,
        honour_label_keys: true,
        grpc_resource_exhausted: true,
        stores: vec![LimitStore {
            cluster: "cluster".into(),
            credential: Some("a/b".into()),
            timeout_ms: 20,
        }],
        rules: rules.map(|(d, l, p)| rule(d, l, p)).into(),
    };
    put(&mut snapshot.limits, [domain]);
    let credential = Credential {
        username: "user".into(),
        password: Password::new("\u{3b1}-password".into(), &[1; 32]),
    };
    put(&mut snapshot.credentials, [credential]);
}
