//! Settings that members of a group must share with the founder (spec/routing §4.3).

use legate_api::mapping::MappingSpec;
use serde::Serialize;

use super::Member;
use crate::rank::Condition;

/// The first difference.
pub(super) struct Mismatch {
    /// The field.
    pub(super) path: String,
    /// Both values in words.
    pub(super) message: String,
}

/// Whether `member` sets something to a value that the founder does not have. One-way: the founder
/// may set what the member leaves out.
pub(super) fn mismatch(founder: &Member, member: &Member) -> Option<Mismatch> {
    let (first, later) = (founder.lowered.spec()?, member.lowered.spec()?);
    flags(first, later)
        .or_else(|| settings(first, later))
        .or_else(|| conditions(founder, member))
}

fn flags(first: &MappingSpec, later: &MappingSpec) -> Option<Mismatch> {
    let fields = [
        ("spec.bypass_auth", first.bypass_auth, later.bypass_auth),
        ("spec.prefix_exact", first.prefix_exact, later.prefix_exact),
        ("spec.prefix_regex", first.prefix_regex, later.prefix_regex),
    ];
    fields
        .into_iter()
        .find(|(_, first, later)| later.is_some_and(|later| later != first.unwrap_or(false)))
        .map(|(path, first, later)| differs(path, &first, &later))
}

fn settings(first: &MappingSpec, later: &MappingSpec) -> Option<Mismatch> {
    fn check<T: PartialEq + Serialize>(
        path: &str,
        first: Option<&T>,
        later: Option<&T>,
    ) -> Option<Mismatch> {
        (later.is_some() && later != first).then(|| differs(path, &first, &later))
    }
    check(
        "spec.circuit_breakers",
        first.circuit_breakers.as_ref(),
        later.circuit_breakers.as_ref(),
    )
    .or_else(|| {
        check(
            "spec.connect_timeout_ms",
            first.connect_timeout_ms.as_ref(),
            later.connect_timeout_ms.as_ref(),
        )
    })
    .or_else(|| {
        check(
            "spec.cluster_idle_timeout_ms",
            first.cluster_idle_timeout_ms.as_ref(),
            later.cluster_idle_timeout_ms.as_ref(),
        )
    })
    .or_else(|| {
        check(
            "spec.cluster_max_connection_lifetime_ms",
            first.cluster_max_connection_lifetime_ms.as_ref(),
            later.cluster_max_connection_lifetime_ms.as_ref(),
        )
    })
    .or_else(|| {
        check(
            "spec.keepalive",
            first.keepalive.as_ref(),
            later.keepalive.as_ref(),
        )
    })
    .or_else(|| check("spec.labels", first.labels.as_ref(), later.labels.as_ref()))
    .or_else(|| {
        check(
            "spec.load_balancer",
            first.load_balancer.as_ref(),
            later.load_balancer.as_ref(),
        )
    })
}

/// The conditions have equal names and values, or the two would not be in one group; what may
/// differ is whether a value is a regular expression.
fn conditions(founder: &Member, member: &Member) -> Option<Mismatch> {
    let (first, later) = (founder.matching()?, member.matching()?);
    let differing = |first: &[Condition], later: &[Condition]| {
        later
            .iter()
            .find(|condition| !first.contains(condition))
            .cloned()
    };
    let (condition, query) = differing(&first.header_conditions, &later.header_conditions)
        .map(|condition| (condition, false))
        .or_else(|| {
            let found = differing(&first.query_conditions, &later.query_conditions);
            found.map(|condition| (condition, true))
        })?;
    let path = match (condition.name.as_str(), query, condition.regex) {
        (":authority", false, _) => "spec.host_regex".to_owned(),
        (":method", false, _) => "spec.method_regex".to_owned(),
        (name, false, true) => format!("spec.regex_headers.{name}"),
        (name, false, false) => format!("spec.headers.{name}"),
        (name, true, true) => format!("spec.regex_query_parameters.{name}"),
        (name, true, false) => format!("spec.query_parameters.{name}"),
    };
    let (here, there) = if condition.regex {
        ("a regular expression", "exact")
    } else {
        ("exact", "a regular expression")
    };
    Some(Mismatch {
        path,
        message: format!(
            "the condition on `{}` is {here} in the later one and {there} in the first",
            condition.name
        ),
    })
}

fn differs<T: Serialize + ?Sized>(path: &str, first: &T, later: &T) -> Mismatch {
    let text = |value: &T| match serde_json::to_string(value) {
        Ok(text) if text == "null" => "absent".to_owned(),
        Ok(text) if text.len() <= 80 => text,
        _ => "another value".to_owned(),
    };
    let name = path.strip_prefix("spec.").unwrap_or(path);
    Mismatch {
        path: path.to_owned(),
        message: format!(
            "`{name}` is {} in the later one and {} in the first",
            text(later),
            text(first)
        ),
    }
}
