//! `ip_allow` and `ip_deny` (spec/services §3.17).

use std::net::IpAddr;

use ipnet::IpNet;
use legate_config::http::{IpMode, IpPolicy, IpRule, IpSource};
use serde_json::Value;

use super::read::{Report, Section};

/// The list that counts. An allow list stays a list, however little of it could be read: it must
/// not let in whom it was meant to keep out.
pub(super) fn policy(config: Section<'_>, report: &mut Report<'_>) -> Option<IpPolicy> {
    let allow = config.get("ip_allow");
    let deny = config.get("ip_deny");
    if allow.is_some() && deny.is_some() {
        report.bad(
            &config.path_of("ip_deny"),
            "`ip_deny` has no effect beside `ip_allow`",
        );
    }
    if let Some(value) = allow {
        return Some(IpPolicy {
            mode: IpMode::Allow,
            rules: rules(value, &config.path_of("ip_allow"), report),
        });
    }
    let rules = rules(deny?, &config.path_of("ip_deny"), report);
    (!rules.is_empty()).then_some(IpPolicy {
        mode: IpMode::Deny,
        rules,
    })
}

fn rules(value: &Value, path: &str, report: &mut Report<'_>) -> Vec<IpRule> {
    let Some(entries) = value.as_array() else {
        report.bad(
            path,
            "it must be a list of `peer: RANGE` and `remote: RANGE`",
        );
        return Vec::new();
    };
    let mut out = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        match rule(entry) {
            Ok(rule) => out.push(rule),
            Err(message) => report.bad(&format!("{path}[{at}]"), message),
        }
    }
    out
}

fn rule(entry: &Value) -> Result<IpRule, String> {
    let shape = || "an entry is `peer: RANGE` or `remote: RANGE`; it is skipped".to_owned();
    let map = entry.as_object().ok_or_else(shape)?;
    let mut pairs = map.iter();
    let (Some((name, value)), None) = (pairs.next(), pairs.next()) else {
        return Err(shape());
    };
    let source = match name.as_str() {
        "peer" => IpSource::Peer,
        "remote" => IpSource::Remote,
        _ => return Err(shape()),
    };
    let text = value.as_str().ok_or_else(shape)?;
    let range = range(text)
        .ok_or_else(|| format!("`{text}` is neither an address nor a range; it is skipped"))?;
    Ok(IpRule { source, range })
}

/// A range, or one address. IPv4 ranges written as IPv6 are taken apart: peers are, too.
fn range(text: &str) -> Option<IpNet> {
    let text = text.trim();
    let net = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address.to_canonical()),
        Err(_) => text.parse::<IpNet>().ok()?.trunc(),
    };
    if let IpNet::V6(v6) = net
        && let Some(v4) = v6.addr().to_ipv4_mapped()
        && let Some(length) = v6.prefix_len().checked_sub(96)
    {
        return IpNet::new(v4.into(), length).ok().map(|net| net.trunc());
    }
    Some(net)
}
