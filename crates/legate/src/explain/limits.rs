//! The limits that the gateway counts itself and that a route's requests may meet.

use legate_compiler::Snapshot;
use legate_config::limit::Label;
use legate_config::policy::PolicySet;
use legate_config::rules::{Limit, LimitDepth, LimitDomain, LimitItem, LimitRule, LimitValue};

/// A line for each limit that one of a route's groups of labels may meet, whatever the values of
/// its request are. Of several for one group the most specific one counts.
pub(super) fn lines(policy: &PolicySet, snapshot: &Snapshot) -> String {
    let Some(labels) = &policy.labels else {
        return String::new();
    };
    let mut text = String::new();
    for (name, groups) in &labels.domains {
        let Some(domain) = snapshot.limits.get(name.as_str()) else {
            continue;
        };
        let met = domain.rules.iter().filter(|rule| {
            let mut groups = groups.iter();
            groups.any(|group| may_meet(rule, group, domain))
        });
        for line in met.filter_map(|rule| line(name, rule)) {
            text.push_str(&line);
        }
    }
    text
}

fn line(domain: &str, rule: &LimitRule) -> Option<String> {
    let rate = match rule.limit? {
        Limit::Unlimited => "without limit".to_owned(),
        Limit::Rate {
            requests,
            unit_seconds,
            ..
        } => format!("{requests} in {unit_seconds} s"),
    };
    let items: Vec<String> = rule.items.iter().map(item).collect();
    let shadow = if rule.shadow { ", only reported" } else { "" };
    Some(format!(
        "      counted in {domain} by {}: {rate}{shadow}\n",
        items.join(", ")
    ))
}

fn item(item: &LimitItem) -> String {
    let entries = item.any_of.iter().map(|entry| match &entry.value {
        LimitValue::Any => entry.key.clone(),
        LimitValue::Is(value) => format!("{}={value}", entry.key),
        LimitValue::StartsWith(value) => format!("{}={value}*", entry.key),
    });
    entries.collect::<Vec<_>>().join(" or ")
}

fn may_meet(rule: &LimitRule, group: &[Label], domain: &LimitDomain) -> bool {
    let fits = match rule.depth {
        LimitDepth::Exact => group.len() == rule.items.len(),
        LimitDepth::Prefix => group.len() >= rule.items.len(),
    };
    let mut pairs = rule.items.iter().zip(group);
    fits && pairs.all(|(item, label)| {
        let (key, value) = entry(label, domain.honour_label_keys);
        item.any_of.iter().any(|wanted| {
            wanted.key == key
                && match (&wanted.value, value) {
                    (LimitValue::Is(wanted), Some(value)) => wanted == value,
                    (LimitValue::StartsWith(start), Some(value)) => value.starts_with(start),
                    (LimitValue::Any, _) | (_, None) => true,
                }
        })
    })
}

/// The key of a label's entry, and its value where that is the same for all requests.
fn entry(label: &Label, honour: bool) -> (&str, Option<&str>) {
    let (key, written, value) = match label {
        Label::SourceCluster { written_key, value } => {
            ("source_cluster", written_key.as_deref(), Some(value))
        }
        Label::DestinationCluster { written_key } => {
            ("destination_cluster", written_key.as_deref(), None)
        }
        Label::RemoteAddress { written_key } => ("remote_address", written_key.as_deref(), None),
        Label::RequestHeader { key, .. } => (key.as_str(), None, None),
        Label::Generic { key, value } => (key.as_str(), None, Some(value)),
    };
    let key = written.filter(|_| honour).unwrap_or(key);
    (key, value.map(String::as_str))
}
