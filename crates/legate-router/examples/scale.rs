//! Prints what a look-up and a build cost as tables grow: `cargo run --release -p legate-router
//! --example scale`.

#![allow(clippy::print_stdout, reason = "its purpose")]

#[path = "../tests/property/support.rs"]
mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use http::HeaderMap;
use legate_config::listener::InsecureAction;
use legate_config::route::{NamedMatch, PathMatch, Route, StringMatch};
use legate_config::{Entry, HostPattern, Snapshot};
use legate_router::{RequestView, Router};

use support::{LISTENER, add_route, base, matches, prefix, route};

/// The path of the n-th route; lengths differ.
fn path(index: usize) -> String {
    match index % 4 {
        0 => format!("/svc-{index}/"),
        1 => format!("/api/v{}/team-{}/service-{index}/", index % 3, index % 40),
        2 => format!("/{index}"),
        _ => format!("/region/{}/backend/{index}/deep/path/", index % 7),
    }
}

/// Routes on one host: prefixes of mixed lengths; one in a hundred is a regex, one has a header.
fn mixed(count: usize) -> Snapshot {
    let mut snapshot = base();
    for index in 0..count {
        let path = path(index);
        let row = match index % 100 {
            50 => matches(PathMatch::Regex {
                value: format!("{path}[a-z]+/[0-9]+/.*"),
            }),
            51 => {
                let mut row = matches(prefix("/by-header/"));
                row.headers = vec![NamedMatch {
                    name: "x-user".to_owned(),
                    value: StringMatch::Exact(format!("user-{index}")),
                }];
                row
            }
            _ => matches(prefix(&path)),
        };
        let name = format!("m{index:06}");
        add_route(&mut snapshot, &name, route("*", &name, row));
    }
    snapshot
}

/// The virtual host `*` with a set for each of many hosts.
fn hosts(count: usize) -> Snapshot {
    let mut snapshot = base();
    let keys: Vec<String> = (0..count)
        .map(|index| format!("host-{index}.test"))
        .collect();
    for key in &keys {
        support::add_set(&mut snapshot, key, HostPattern::Exact(key.clone()));
        add_route(&mut snapshot, "/", route(key, "m", matches(prefix("/"))));
    }
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let vhost = support::vhost(HostPattern::Any, InsecureAction::Route, &keys);
    support::add_vhost(&mut snapshot, "any", vhost);
    snapshot
}

fn build(snapshot: &Snapshot, previous: Option<&Router<()>>) -> Router<()> {
    Router::build(snapshot, previous, &mut |_, _| ())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// The best of some builds: what else runs on the machine only ever adds.
fn build_time(snapshot: &Snapshot, previous: Option<&Router<()>>) -> Duration {
    let time = |_| {
        let start = Instant::now();
        let router = build(snapshot, previous);
        let elapsed = start.elapsed();
        drop(black_box(router));
        elapsed
    };
    (0..9).map(time).min().unwrap_or_default()
}

/// Nanoseconds per choice of virtual host and route; the median of rounds.
fn select_time(router: &Router<()>, host: &str, path: &str, headers: &HeaderMap) -> f64 {
    const ROUND: u32 = 100_000;
    let request = RequestView {
        method: "GET",
        host,
        path,
        query: None,
        headers,
    };
    let round = |_| {
        let start = Instant::now();
        for _ in 0..ROUND {
            let request = black_box(&request);
            let listener = router.listener(LISTENER).expect("there is one");
            let chain = listener.plain_chain().expect("there is one");
            let found = listener
                .virtual_host(chain, request.host)
                .and_then(|routes| routes.select(request, true, 7));
            black_box(found.map(|found| found.verdict));
        }
        start.elapsed()
    };
    median((0..15).map(round).collect()).as_secs_f64() * 1e9 / f64::from(ROUND)
}

fn selects(count: usize, snapshot: &Snapshot, router: &Router<()>) {
    let plain = support::headers(&[("accept", "*/*"), ("user-agent", "curl/8.0")]);
    let user = format!("user-{}", count - count % 100 - 49);
    let user = support::headers(&[("accept", "*/*"), ("x-user", &user)]);
    let ranked = {
        let mut rows: Vec<&Route> = snapshot.routes.iter().map(|(_, it)| &*it.value).collect();
        rows.retain(|row| row.matches.headers.is_empty());
        rows.retain(|row| matches!(row.matches.path, PathMatch::Prefix { .. }));
        rows.sort_by(|a, b| a.rank.cmp(&b.rank));
        rows.iter()
            .filter_map(|row| match &row.matches.path {
                PathMatch::Prefix { value, .. } => Some(format!("{value}x")),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    let regex = format!("{}abc/123/x", path(count - count % 100 - 50));
    let cases = [
        ("first in rank order", ranked.first().cloned(), &plain),
        ("middle", ranked.get(ranked.len() / 2).cloned(), &plain),
        ("last in rank order", ranked.last().cloned(), &plain),
        ("a regex", Some(regex), &plain),
        (
            "last of the header routes",
            Some("/by-header/x".to_owned()),
            &user,
        ),
        ("nothing", Some("/nothing/here".to_owned()), &plain),
    ];
    for (what, path, headers) in cases {
        let Some(path) = path else { continue };
        let time = select_time(router, "a.test", &path, headers);
        println!("  {what:<28} {time:>8.0} ns   {path}");
    }
}

fn main() {
    for count in [1, 1_000, 10_000, 100_000] {
        let mut snapshot = mixed(count);
        let router = build(&snapshot, None);
        assert!(router.rejected().is_empty());
        let fresh = build_time(&snapshot, None);
        let key = "*/m000000";
        let mut changed = snapshot
            .routes
            .get(key)
            .map(|it| (**it).clone())
            .expect("the first");
        let unchanged = build_time(&snapshot, Some(&router));
        changed.action = support::fail();
        let entry = Entry::new(changed, support::nowhere());
        snapshot.routes.insert(key.into(), entry);
        let one = build_time(&snapshot, Some(&router));
        println!("{count} routes: build {fresh:?}, one changed {one:?}, none {unchanged:?}");
        if count > 1 {
            selects(count, &snapshot, &router);
        } else {
            let none = support::headers(&[("accept", "*/*")]);
            let time = select_time(&router, "a.test", "/svc-0/x", &none);
            println!("  the only one                 {time:>8.0} ns");
        }
    }
    for count in [1, 5_000] {
        let snapshot = hosts(count);
        let router = build(&snapshot, None);
        let fresh = build_time(&snapshot, None);
        let none = HeaderMap::new();
        let host = format!("host-{}.test", count - 1);
        let time = select_time(&router, &host, "/x", &none);
        println!("{count} hosts in one virtual host: build {fresh:?}, select {time:.0} ns");
    }
}
