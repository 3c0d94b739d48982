//! `load_balancer` (spec/services §3.8, spec/routing §4.12).

use std::time::Duration;

use legate_api::mapping::{LoadBalancer, LoadBalancerCookie, LoadBalancerPolicy, MappingSpec};
use legate_config::cluster::Balancer;
use legate_config::policy::{HashCookie, HashSource};

use super::Report;
use super::matching::is_header_name;
use super::retry::parse_duration;
use crate::codes;

/// How requests are spread over endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Balance {
    /// The cluster's policy.
    pub(crate) policy: Balancer,
    /// What of a request is hashed, where the policy goes by that.
    pub(crate) hash: Option<HashSource>,
}

/// What is wrong with a load balancer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadBalance {
    /// The field; empty = the load balancer as a whole.
    pub(crate) field: &'static str,
    /// In words.
    pub(crate) message: String,
}

/// Reads the load balancer; a bad one rejects the Mapping.
pub(super) fn balance(spec: &MappingSpec, report: &mut Report) -> Option<Balance> {
    let written = spec.load_balancer.as_ref()?;
    match parse_balance(written) {
        Ok(balance) => Some(balance),
        // Why the policy cannot be read was said already.
        Err(_) if written.policy.is_none() && report.has_issue("spec.load_balancer") => None,
        Err(BadBalance { field, message }) => {
            let mut path = "spec.load_balancer".to_owned();
            if !field.is_empty() {
                path.push('.');
                path.push_str(field);
            }
            report.fatal(codes::E_MAP_LB, &path, message);
            None
        }
    }
}

/// Reads a load balancer.
pub(crate) fn parse_balance(written: &LoadBalancer) -> Result<Balance, BadBalance> {
    let bad = |field, message: &str| {
        Err(BadBalance {
            field,
            message: message.to_owned(),
        })
    };
    let by_address = written.source_ip == Some(true);
    let sources = [
        written.cookie.is_some(),
        written.header.is_some(),
        by_address,
    ];
    let sources = sources.into_iter().filter(|given| *given).count();
    let policy = match written.policy {
        None => return bad("policy", "a load balancer needs a policy"),
        Some(LoadBalancerPolicy::RoundRobin) => Balancer::RoundRobin,
        Some(LoadBalancerPolicy::LeastRequest) => Balancer::LeastRequest,
        Some(LoadBalancerPolicy::RingHash) => Balancer::RingHash,
        Some(LoadBalancerPolicy::Maglev) => Balancer::Maglev,
    };
    match policy {
        Balancer::RoundRobin | Balancer::LeastRequest if sources > 0 => {
            return bad(
                "",
                "`cookie`, `header` and `source_ip` go with `ring_hash` and `maglev` only",
            );
        }
        Balancer::RoundRobin | Balancer::LeastRequest => {
            return Ok(Balance { policy, hash: None });
        }
        Balancer::RingHash | Balancer::Maglev if sources != 1 => {
            return bad(
                "",
                "`ring_hash` and `maglev` need exactly one of `cookie`, `header` and `source_ip`",
            );
        }
        Balancer::RingHash | Balancer::Maglev => {}
    }
    let hash = match (&written.cookie, &written.header) {
        (Some(cookie), _) => HashSource::Cookie(parse_cookie(cookie)?),
        (None, Some(header)) => {
            let name = header.to_ascii_lowercase();
            if name != ":authority" && !is_header_name(&name) {
                return bad("header", &format!("`{header}` is no header name"));
            }
            HashSource::Header(name)
        }
        (None, None) => HashSource::SourceIp,
    };
    let hash = Some(hash);
    Ok(Balance { policy, hash })
}

fn parse_cookie(written: &LoadBalancerCookie) -> Result<HashCookie, BadBalance> {
    let bad = |field, message: String| Err(BadBalance { field, message });
    // Names of cookies and of headers are both tokens.
    if !is_header_name(&written.name.to_ascii_lowercase()) {
        return bad(
            "cookie.name",
            format!("`{}` is no name of a cookie", written.name),
        );
    }
    let path = written.path.as_ref().filter(|path| !path.is_empty());
    if path.is_some_and(|path| {
        path.bytes()
            .any(|it| !matches!(it, b' '..=b'~') || it == b';')
    }) {
        return bad(
            "cookie.path",
            "a path holds no semicolons, control characters or non-ASCII characters".to_owned(),
        );
    }
    let ttl_secs = match written.ttl.as_deref().map(parse_duration) {
        None => None,
        Some(Some(ttl)) => Some(seconds(ttl)),
        Some(None) => {
            return bad(
                "cookie.ttl",
                "this is no duration such as `600s` or `1h30m`".to_owned(),
            );
        }
    };
    Ok(HashCookie {
        name: written.name.clone(),
        path: path.cloned(),
        ttl_secs,
    })
}

/// Whole seconds; only nothing is 0, for that has a meaning of its own.
fn seconds(duration: Duration) -> u64 {
    let more = u64::from(duration.subsec_nanos() > 0);
    duration.as_secs().saturating_add(more)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse(written: Value) -> Result<Balance, BadBalance> {
        parse_balance(&serde_json::from_value(written).unwrap())
    }

    #[test]
    fn policies_take_the_sources_that_they_need() {
        for (written, policy) in [
            (json!({"policy": "round_robin"}), Balancer::RoundRobin),
            (
                json!({"policy": "least_request", "source_ip": false}),
                Balancer::LeastRequest,
            ),
        ] {
            let found = parse(written).unwrap();
            assert_eq!((found.policy, found.hash), (policy, None));
        }
        for policy in ["ring_hash", "maglev"] {
            let found = parse(json!({"policy": policy, "header": "X-User"})).unwrap();
            assert_eq!(found.hash, Some(HashSource::Header("x-user".to_owned())));
            let found = parse(json!({"policy": policy, "source_ip": true})).unwrap();
            assert_eq!(found.hash, Some(HashSource::SourceIp));
        }
        for (written, field) in [
            (json!({}), "policy"),
            (json!({"policy": "round_robin", "source_ip": true}), ""),
            (json!({"policy": "least_request", "header": "x"}), ""),
            (
                json!({"policy": "least_request", "cookie": {"name": "c"}}),
                "",
            ),
            (json!({"policy": "ring_hash"}), ""),
            (json!({"policy": "maglev", "source_ip": false}), ""),
            (
                json!({"policy": "maglev", "source_ip": true, "header": "x"}),
                "",
            ),
            (json!({"policy": "maglev", "header": "x y"}), "header"),
            (json!({"policy": "maglev", "header": ""}), "header"),
            (json!({"policy": "maglev", "cookie": {}}), "cookie.name"),
            (
                json!({"policy": "maglev", "cookie": {"name": "a=b"}}),
                "cookie.name",
            ),
            (
                json!({"policy": "maglev", "cookie": {"name": "a", "path": "/;x"}}),
                "cookie.path",
            ),
            (
                json!({"policy": "maglev", "cookie": {"name": "a", "ttl": "600"}}),
                "cookie.ttl",
            ),
        ] {
            let found = parse(written.clone()).unwrap_err();
            assert_eq!(found.field, field, "{written}");
        }
    }

    #[test]
    fn cookies_live_whole_seconds() {
        for (ttl, secs) in [("600s", 600), ("0s", 0), ("1h30m", 5400), ("1500ms", 2)] {
            let cookie = json!({"name": "Sid", "path": "/a", "ttl": ttl});
            let found = parse(json!({"policy": "maglev", "cookie": cookie})).unwrap();
            let expected = HashCookie {
                name: "Sid".to_owned(),
                path: Some("/a".to_owned()),
                ttl_secs: Some(secs),
            };
            assert_eq!(found.hash, Some(HashSource::Cookie(expected)), "{ttl}");
        }
    }
}
