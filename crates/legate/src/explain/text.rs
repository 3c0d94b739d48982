//! An explanation for people.

use std::fmt::Write as _;

use legate_compiler::Snapshot;
use legate_config::auth::Auth;
use legate_config::policy::PolicySet;
use legate_config::route::{Action, Destination, PathMatch, StringMatch};
use legate_config::{Origin, Route};
use legate_router::{Explanation, Found, Reason};
use serde_json::json;

use super::limits;
use super::question::Asked;

/// The whole text.
pub(super) fn render(asked: &Asked, explanation: &Explanation, snapshot: &Snapshot) -> String {
    let mut text = String::new();
    let scheme = if asked.tls { "https" } else { "http" };
    let query = asked
        .query
        .as_ref()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let _ = writeln!(
        text,
        "{} {scheme}://{}{}{query} ({}, draw {})",
        asked.method,
        asked.host,
        asked.path,
        if asked.secure { "secure" } else { "insecure" },
        asked.draw
    );
    for (what, choice) in [
        ("chain", &explanation.chain),
        ("virtual host", &explanation.virtual_host),
    ] {
        if let Some(choice) = choice {
            let origins = origins(&choice.origins);
            let _ = writeln!(text, "{what}: {} ({}){origins}", choice.pattern, choice.why);
        }
    }
    let _ = writeln!(text, "result: {}", result(&explanation.found));
    if let Some(chain) = &explanation.owner_chain {
        let _ = writeln!(
            text,
            "  chain {chain} has that host: served if this connection's certificate and policy cover it, else 421 (HTTP/2) or 404"
        );
    }
    if !explanation.candidates.is_empty() {
        text.push_str("routes, in the order in which they are tried:\n");
    }
    for candidate in &explanation.candidates {
        let mark = if candidate.reason == Reason::Wins {
            '*'
        } else {
            ' '
        };
        let _ = writeln!(
            text,
            "{mark} {} {}: {}{}",
            candidate.route.name,
            conditions(&candidate.route),
            candidate.reason,
            origins(&candidate.origins)
        );
        if candidate.reason == Reason::Wins {
            text.push_str(&doing(&candidate.route, snapshot));
        }
    }
    if explanation.omitted > 0 {
        let _ = writeln!(
            text,
            "  … and {} more, none of which could match",
            explanation.omitted
        );
    }
    text
}

fn origins(origins: &[Origin]) -> String {
    if origins.is_empty() {
        return String::new();
    }
    let names: Vec<String> = origins.iter().map(ToString::to_string).collect();
    format!("  [{}]", names.join(", "))
}

fn result(found: &Found) -> String {
    match found {
        Found::NoListener => "no such listener".to_owned(),
        Found::NoChain => "no chain takes the connection: it is refused".to_owned(),
        Found::Refused { why } => format!("the handshake is refused: {why}"),
        Found::NoVirtualHost => "404: no virtual host takes the Host".to_owned(),
        Found::NoRoute => "404: no route matches".to_owned(),
        Found::RedirectToHttps { route } => format!("301 to https (insecure; route {route})"),
        Found::Route { route, target } => match target {
            Some(target) => format!("route {route}, target {target}"),
            None => format!("route {route}"),
        },
    }
}

/// The route's conditions, short: `/cart/* POST x-a=1 ?debug~[0-9]+`.
fn conditions(route: &Route) -> String {
    let matches = &route.matches;
    let mut text = match &matches.path {
        PathMatch::Prefix { value, ignore_case } => format!("{value}*{}", case(*ignore_case)),
        PathMatch::Exact { value, ignore_case } => format!("={value}{}", case(*ignore_case)),
        PathMatch::Regex { value } => format!("~{value}"),
    };
    if let Some(method) = &matches.method {
        let _ = write!(text, " method{}", compared(method));
    }
    for header in &matches.headers {
        let _ = write!(text, " {}{}", header.name, compared(&header.value));
    }
    for parameter in &matches.query {
        let _ = write!(text, " ?{}{}", parameter.name, compared(&parameter.value));
    }
    text
}

fn case(ignored: bool) -> &'static str {
    if ignored { " (any case)" } else { "" }
}

fn compared(value: &StringMatch) -> String {
    match value {
        StringMatch::Exact(text) => format!("={text}"),
        StringMatch::Regex(text) => format!("~{text}"),
        StringMatch::Present(_) => " present".to_owned(),
    }
}

/// Who is asked before a request goes to a target.
fn guard(policy: &PolicySet, snapshot: &Snapshot) -> String {
    let mut text = check(policy);
    if let Some(limit) = &policy.rate_limit {
        let _ = writeln!(
            text,
            "      limited by RateLimitService {} at {}",
            limit.name, limit.cluster
        );
    }
    text.push_str(&limits::lines(policy, snapshot));
    text
}

fn check(policy: &PolicySet) -> String {
    match policy.auth.as_deref() {
        None => String::new(),
        Some(Auth::Check(check)) => {
            let clusters = check.targets.iter().map(|target| target.cluster.as_str());
            format!(
                "      checked by AuthService {} at {}\n",
                check.names.join(", "),
                clusters.collect::<Vec<_>>().join(", ")
            )
        }
        Some(Auth::Refuse { message }) => {
            format!("      answers 500 instead of a check: {message}\n")
        }
    }
}

/// What the winner does.
fn doing(route: &Route, snapshot: &Snapshot) -> String {
    let mut text = String::new();
    match &route.action {
        Action::Forward(split) => {
            for target in &split.targets {
                let _ = write!(
                    text,
                    "    {} of {} to {}",
                    target.weight, split.of, target.name
                );
                match &target.to {
                    Destination::Cluster { cluster, policies } => {
                        let _ = writeln!(text, ": cluster {cluster}");
                        if let Some(policy) = snapshot.policies.get(policies.as_str()) {
                            text.push_str(&guard(policy, snapshot));
                            let _ = writeln!(text, "      policies {}", json!(&**policy));
                        }
                    }
                    Destination::Fail(fail) => {
                        let _ = writeln!(text, ": answers {} ({})", fail.status, fail.reason);
                    }
                }
            }
            if let Some(mirror) = &split.mirror {
                let _ = writeln!(
                    text,
                    "    copies of {} % to {}: cluster {}",
                    mirror.percent, mirror.name, mirror.cluster
                );
            }
        }
        other => {
            let _ = writeln!(text, "    {}", json!(other));
            if let Action::GuardedProbe { policies, .. } = other
                && let Some(policy) = snapshot.policies.get(policies.as_str())
            {
                text.push_str(&guard(policy, snapshot));
            }
        }
    }
    text
}
