//! The meaning of routing, spelled out without any index (spec/routing §§3.6–3.8, 4.2, 4.5, 4.6).

#![allow(unreachable_pub, reason = "shared between test binaries by path")]

use std::cell::RefCell;
use std::collections::HashMap;

use legate_config::listener::{ChainMatch, FilterChain, InsecureAction, VirtualHost};
use legate_config::route::{Action, PathMatch, Route, StringMatch};
use legate_config::{ChainKey, HostPattern, RouteKey, Snapshot, VirtualHostKey};
use legate_router::Verdict;
use regex_automata::meta::Regex;

use crate::tables::Request;

fn regex_holds(pattern: &str, text: &[u8]) -> bool {
    thread_local! {
        static KNOWN: RefCell<HashMap<String, Regex>> = RefCell::default();
    }
    KNOWN.with_borrow_mut(|known| {
        if !known.contains_key(pattern) {
            let regex = Regex::new(&format!("\\A(?:{pattern})\\z")).expect("valid");
            known.insert(pattern.to_owned(), regex);
        }
        known.get(pattern).expect("inserted").is_match(text)
    })
}

fn string_holds(condition: &StringMatch, text: &str) -> bool {
    match condition {
        StringMatch::Exact(wanted) => wanted == text,
        StringMatch::Regex(pattern) => regex_holds(pattern, text.as_bytes()),
        StringMatch::Present(_) => true,
    }
}

fn host_holds(pattern: &HostPattern, host: &str) -> bool {
    match pattern {
        HostPattern::Regex(pattern) => regex_holds(pattern, host.as_bytes()),
        other => other.matches(host),
    }
}

fn path_holds(condition: &PathMatch, path: &str) -> bool {
    let fold = |text: &str, ignore_case: bool| {
        if ignore_case {
            text.to_ascii_lowercase()
        } else {
            text.to_owned()
        }
    };
    match condition {
        PathMatch::Prefix { value, ignore_case } => {
            fold(path, *ignore_case).starts_with(&fold(value, *ignore_case))
        }
        PathMatch::Exact { value, ignore_case } => {
            fold(path, *ignore_case) == fold(value, *ignore_case)
        }
        PathMatch::Regex { value } => regex_holds(value, path.as_bytes()),
    }
}

fn query_value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value)
}

fn conditions_hold(route: &Route, request: &Request) -> bool {
    let header = |name: &str| {
        let values: Vec<&str> = request
            .headers
            .get_all(name)
            .iter()
            .map(|value| value.to_str().expect("ASCII"))
            .collect();
        (!values.is_empty()).then(|| values.join(","))
    };
    let matches = &route.matches;
    path_holds(&matches.path, &request.path)
        && matches
            .method
            .as_ref()
            .is_none_or(|condition| string_holds(condition, request.method))
        && matches
            .headers
            .iter()
            .all(|it| header(&it.name).is_some_and(|value| string_holds(&it.value, &value)))
        && matches.query.iter().all(|it| {
            query_value(request.query.as_deref().unwrap_or(""), &it.name)
                .is_some_and(|value| string_holds(&it.value, value))
        })
}

/// The target of a draw; `None` where the draw lies beyond all of them.
fn target(action: &Action, draw: u32) -> Option<usize> {
    let Action::Forward(split) = action else {
        return Some(0);
    };
    let mut total = 0;
    for (index, target) in split.targets.iter().enumerate() {
        total += target.weight;
        if draw < total && target.weight > 0 {
            return Some(index);
        }
    }
    None
}

/// Walks all rows of all sets of the virtual host in rank order.
pub fn select(
    snapshot: &Snapshot,
    vhost: &VirtualHost,
    request: &Request,
) -> Option<(RouteKey, Verdict)> {
    let mut rows: Vec<(&RouteKey, &Route)> = snapshot
        .routes
        .iter()
        .map(|(key, entry)| (key, &*entry.value))
        .filter(|(_, route)| vhost.route_sets.contains(&route.set))
        .collect();
    rows.sort_by(|(_, a), (_, b)| a.rank.cmp(&b.rank));
    for (key, route) in rows {
        let set = snapshot
            .route_sets
            .get(route.set.as_str())
            .expect("present");
        if !host_holds(&set.host, &request.host) || !conditions_hold(route, request) {
            continue;
        }
        let Some(target) = target(&route.action, request.draw) else {
            continue;
        };
        let act = Verdict::Act { target };
        let verdict = match vhost.insecure {
            _ if request.secure || route.always_routed => act,
            InsecureAction::Route => act,
            InsecureAction::Redirect => Verdict::RedirectToHttps,
            InsecureAction::Reject => continue,
        };
        return Some((key.clone(), verdict));
    }
    None
}

/// Exact, longest suffix, longest prefix, any; the first listed of equal ones.
pub fn virtual_host(
    snapshot: &Snapshot,
    chain: &FilterChain,
    host: &str,
) -> Option<VirtualHostKey> {
    let place = |pattern: &HostPattern| match pattern {
        HostPattern::Exact(_) => (0, 0),
        HostPattern::Suffix(text) => (1, usize::MAX - text.len()),
        HostPattern::Prefix(text) => (2, usize::MAX - text.len()),
        HostPattern::Any | HostPattern::Regex(_) => (3, 0),
    };
    chain
        .virtual_hosts
        .iter()
        .filter_map(|key| Some((key, &snapshot.virtual_hosts.get(key.as_str())?.host)))
        .filter(|(_, pattern)| pattern.matches(host))
        .min_by_key(|(_, pattern)| place(pattern))
        .map(|(key, _)| key.clone())
}

/// Exact name, longest `*.suffix`, longest other glob, default.
pub fn chain(snapshot: &Snapshot, sni: Option<&str>) -> Option<ChainKey> {
    let place = |matches: &ChainMatch| match matches {
        ChainMatch::Plain => None,
        ChainMatch::DefaultTls => Some((3, 0, 0)),
        ChainMatch::Sni(pattern) => {
            if !pattern.matches(sni?) {
                return None;
            }
            match pattern {
                HostPattern::Exact(_) => Some((0, 0, 0)),
                HostPattern::Suffix(text) if text.starts_with('.') => {
                    Some((1, usize::MAX - text.len(), 0))
                }
                HostPattern::Suffix(text) => Some((2, usize::MAX - text.len(), 0)),
                HostPattern::Prefix(text) => Some((2, usize::MAX - text.len(), 1)),
                HostPattern::Any | HostPattern::Regex(_) => None,
            }
        }
    };
    snapshot
        .chains
        .iter()
        .filter_map(|(key, entry)| Some((place(&entry.value.matches)?, key)))
        .min_by_key(|(place, _)| *place)
        .map(|(_, key)| key.clone())
}

/// The first chain without TLS.
pub fn plain_chain(snapshot: &Snapshot) -> Option<ChainKey> {
    snapshot
        .chains
        .iter()
        .find(|(_, entry)| entry.value.matches == ChainMatch::Plain)
        .map(|(key, _)| key.clone())
}
