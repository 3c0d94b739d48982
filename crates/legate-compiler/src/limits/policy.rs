//! The tree of a RateLimitPolicy, flattened to rules.

use std::sync::Arc;

use legate_api::{
    Enforcement, LimitDescriptor, LimitRate, LimitUnit, Object, ObjectKey, RateLimitPolicySpec,
};
use legate_config::rules::{
    Limit, LimitDepth, LimitEntry, LimitItem, LimitPlace, LimitRule, LimitValue,
};

use super::{Draft, LimitPass, Written, store};
use crate::codes;
use crate::lower::Report;
use crate::resolve::Context;

/// Most requests per second that can be told apart.
const MOST_PER_SECOND: u64 = 1_000_000_000;

/// Reads a policy.
pub(super) fn read(
    key: &ObjectKey,
    object: &Arc<Object>,
    spec: &RateLimitPolicySpec,
    draft: &mut Draft,
    context: &Context<'_>,
    pass: &mut LimitPass,
    report: &mut Report,
) -> Vec<Written> {
    let shared = spec.enforcement == Some(Enforcement::Shared);
    if shared && spec.divide == Some(true) {
        report.ignored(
            codes::W_IGNORED,
            "spec.divide",
            "shared limits are not divided; `divide` is for `enforcement: local`",
        );
    }
    let place = match &spec.store {
        Some(store) if shared => {
            let found = store::store(key, object, store, context, pass, report);
            found.map_or(LimitPlace::Process, |found| {
                let stores = &mut draft.domain.stores;
                let at = stores.iter().position(|known| *known == found);
                LimitPlace::Store(at.unwrap_or_else(|| {
                    stores.push(found);
                    stores.len() - 1
                }))
            })
        }
        Some(_) => {
            report.ignored(
                codes::W_IGNORED,
                "spec.store",
                "the store is not used; it is for `enforcement: shared`",
            );
            own(spec, report)
        }
        None if shared => LimitPlace::OwnStore,
        None => own(spec, report),
    };
    let mut rules = Vec::new();
    let mut reader = Reader {
        place,
        report,
        rules: &mut rules,
    };
    reader.level(&spec.descriptors, "spec.descriptors", &[]);
    rules
}

fn own(spec: &RateLimitPolicySpec, report: &mut Report) -> LimitPlace {
    if spec.divide != Some(true) {
        return LimitPlace::Process;
    }
    report.notice(
        codes::I_RL_DIVIDE,
        "spec.divide",
        "gateways do not know of each other yet: each takes itself for the only one",
    );
    LimitPlace::Divided
}

struct Reader<'a> {
    place: LimitPlace,
    report: &'a mut Report,
    rules: &'a mut Vec<Written>,
}

impl Reader<'_> {
    fn level(&mut self, level: &[LimitDescriptor], path: &str, above: &[LimitItem]) {
        for (index, node) in level.iter().enumerate() {
            self.node(node, &format!("{path}[{index}]"), above);
        }
    }

    fn node(&mut self, node: &LimitDescriptor, path: &str, above: &[LimitItem]) {
        if node.key.is_empty() {
            let message = "the key is empty, so that no label can match";
            let path = format!("{path}.key");
            self.report.ignored(codes::E_RL_LIMIT, &path, message);
            return;
        }
        for (field, wanted) in [
            ("detailed_metric", node.detailed_metric),
            ("value_to_metric", node.value_to_metric),
        ] {
            if wanted == Some(true) {
                self.report.ignored(
                    codes::W_UNSUPPORTED,
                    &format!("{path}.{field}"),
                    "metrics with values of requests are not supported yet",
                );
            }
        }
        let item = self.item(node, path);
        let mut items = above.to_vec();
        items.push(item);
        let rate = node.rate_limit.as_ref();
        let limit = rate.and_then(|rate| limit(rate, &format!("{path}.rate_limit"), self.report));
        let name = rate.and_then(|rate| rate.name.clone()).unwrap_or_default();
        let replaces = self.replaces(rate, &name, path);
        self.rules.push(Written {
            path: path.to_owned(),
            rule: LimitRule {
                name,
                items: items.clone(),
                depth: LimitDepth::Exact,
                limit,
                shadow: node.shadow_mode == Some(true),
                replaces,
                place: self.place,
                request_headers: Vec::new(),
                response_headers: Vec::new(),
            },
        });
        let below = format!("{path}.descriptors");
        self.level(&node.descriptors, &below, &items);
    }

    fn item(&mut self, node: &LimitDescriptor, path: &str) -> LimitItem {
        let value = match node.value.as_deref() {
            None | Some("" | "*") => LimitValue::Any,
            Some(value) => match value.strip_suffix('*') {
                Some(start) => LimitValue::StartsWith(start.to_owned()),
                None => LimitValue::Is(value.to_owned()),
            },
        };
        let wild = node
            .value
            .as_deref()
            .is_some_and(|value| value.ends_with('*'));
        let shared = node.share_threshold == Some(true);
        if shared && !wild {
            self.report.ignored(
                codes::W_IGNORED,
                &format!("{path}.share_threshold"),
                "`share_threshold` is for values that end with `*`",
            );
        }
        LimitItem {
            any_of: vec![LimitEntry {
                key: node.key.clone(),
                value,
            }],
            shared: shared && wild,
        }
    }

    fn replaces(&mut self, rate: Option<&LimitRate>, name: &str, path: &str) -> Vec<String> {
        let mut names = Vec::new();
        for (index, replaced) in rate
            .iter()
            .flat_map(|rate| rate.replaces.iter().enumerate())
        {
            if replaced.name == name || replaced.name.is_empty() {
                self.report.ignored(
                    codes::E_RL_LIMIT,
                    &format!("{path}.rate_limit.replaces[{index}].name"),
                    "a limit replaces others by their names, and never itself",
                );
                continue;
            }
            names.push(replaced.name.clone());
        }
        names
    }
}

/// How often, or `None` where that cannot be told, which is reported.
fn limit(rate: &LimitRate, path: &str, report: &mut Report) -> Option<Limit> {
    if rate.unlimited == Some(true) {
        if rate.unit.is_some() || rate.requests_per_unit.is_some() {
            report.ignored(
                codes::E_RL_LIMIT,
                path,
                "`unlimited` excludes `unit` and `requests_per_unit`; nothing is limited",
            );
        }
        return Some(Limit::Unlimited);
    }
    let (Some(unit), Some(requests)) = (rate.unit, rate.requests_per_unit) else {
        report.ignored(
            codes::E_RL_LIMIT,
            path,
            "a limit needs `unit` and `requests_per_unit`, or `unlimited`; nothing is limited",
        );
        return None;
    };
    let path = format!("{path}.requests_per_unit");
    Some(per_unit(requests, unit, 1, &path, report))
}

/// So many requests per unit.
pub(super) fn per_unit(
    requests: i64,
    unit: LimitUnit,
    factor: u64,
    path: &str,
    report: &mut Report,
) -> Limit {
    let unit_seconds: u32 = match unit {
        LimitUnit::Second => 1,
        LimitUnit::Minute => 60,
        LimitUnit::Hour => 3600,
        LimitUnit::Day => 86_400,
        LimitUnit::Week => 7 * 86_400,
        LimitUnit::Month => 30 * 86_400,
        LimitUnit::Year => 365 * 86_400,
    };
    // Numbers beyond are beyond a thousand million per second, or would not fit.
    let most = MOST_PER_SECOND
        .saturating_mul(u64::from(unit_seconds))
        .min(u64::from(u32::MAX));
    let wanted = u64::try_from(requests).unwrap_or(0);
    if wanted > most {
        report.ignored(
            codes::W_RL_RATE,
            path,
            format!("no more than {most} requests per unit can be counted; that many pass"),
        );
    }
    let small = |value: u64| u32::try_from(value.min(u64::from(u32::MAX))).unwrap_or(u32::MAX);
    let requests = wanted.min(most);
    Limit::Rate {
        requests: small(requests),
        unit_seconds,
        burst: small(requests.saturating_mul(factor.max(1))),
    }
}
