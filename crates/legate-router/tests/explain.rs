//! What is chosen, what is refused, and what is said about it.

#[path = "property/support.rs"]
mod support;

use http::HeaderMap;
use legate_config::listener::{ChainMatch, ChainTls, InsecureAction};
use legate_config::route::{NamedMatch, PathMatch, StringMatch};
use legate_config::{Entry, HostPattern, Snapshot};
use legate_router::{Connection, Explanation, Found, Question, Reason, Router, explain};

use support::{LISTENER, add_route, base, matches, prefix, route};

fn ask(snapshot: &Snapshot, connection: Connection<'_>, host: &str, path: &str) -> Explanation {
    let router = Router::build(snapshot, None, &mut |_, _| ());
    assert!(router.rejected().is_empty());
    let headers = HeaderMap::new();
    let question = Question {
        listener: LISTENER,
        connection,
        request: support::get(host, path, &headers),
        secure: false,
        draw: 60,
    };
    explain(&router, &question)
}

fn outcomes(explanation: &Explanation) -> Vec<(&str, String)> {
    (explanation.candidates.iter())
        .map(|it| (it.route.name.as_str(), it.reason.to_string()))
        .collect()
}

#[test]
fn every_row_says_why() {
    let mut snapshot = base();
    support::add_set(
        &mut snapshot,
        "b.test",
        HostPattern::Exact("b.test".to_owned()),
    );
    let sets = ["*", "b.test"];
    let vhost = support::vhost(HostPattern::Any, InsecureAction::Redirect, &sets);
    support::add_vhost(&mut snapshot, "any", vhost);
    let mut add = |name: &str, row| add_route(&mut snapshot, name, row);
    let mut header = matches(prefix("/a/b"));
    header.headers = vec![NamedMatch {
        name: "x-v".to_owned(),
        value: StringMatch::Exact("2".to_owned()),
    }];
    add("header", route("*", "header", header));
    let mut post = matches(prefix("/a/bb"));
    post.method = Some(StringMatch::Exact("POST".to_owned()));
    add("post", route("*", "post", post));
    let mut part = route("*", "part", matches(prefix("/a/")));
    part.action = support::forward(&[30, 30]);
    add("part", part);
    let value = "/.*".to_owned();
    add(
        "regex",
        route("*", "regex", matches(PathMatch::Regex { value })),
    );
    add("other", route("*", "other", matches(prefix("/zzzzzzz"))));
    add("host", route("b.test", "host", matches(prefix("/a/bb"))));
    add("last", route("*", "last", matches(prefix("/"))));
    let explanation = ask(&snapshot, Connection::Plain, "a.test", "/a/bbb");
    let expected = [
        ("default/other", "the path does not match"),
        ("default/host", "the hostname does not match"),
        ("default/post", "the method does not match"),
        ("default/header", "header x-v is absent"),
        ("default/part", "draw 60 lies beyond the weights"),
        ("default/regex", "wins"),
        ("default/last", "would also match, but ranked later"),
    ];
    let expected = expected.map(|(name, reason)| (name, reason.to_owned()));
    assert_eq!(outcomes(&explanation), expected);
    let route = "*/regex".into();
    assert_eq!(explanation.found, Found::RedirectToHttps { route });
}

#[test]
fn rejected_unless_always_routed() {
    let mut snapshot = base();
    let vhost = support::vhost(HostPattern::Any, InsecureAction::Reject, &["*"]);
    support::add_vhost(&mut snapshot, "any", vhost);
    add_route(&mut snapshot, "a", route("*", "a", matches(prefix("/a/"))));
    let challenge = "/.well-known/acme-challenge/";
    let mut acme = route("*", "acme", matches(prefix(challenge)));
    acme.always_routed = true;
    add_route(&mut snapshot, "acme", acme);
    let explanation = ask(&snapshot, Connection::Plain, "a.test", "/a/");
    assert_eq!(explanation.found, Found::NoRoute);
    let reasons: Vec<_> = explanation.candidates.iter().map(|it| &it.reason).collect();
    assert_eq!(reasons, [&Reason::Path, &Reason::Insecure]);
    let explanation = ask(&snapshot, Connection::Plain, "a.test", challenge);
    assert!(matches!(explanation.found, Found::Route { .. }));
}

#[test]
fn chains_and_virtual_hosts_are_told() {
    let mut snapshot = base();
    let exact = |text: &str| HostPattern::Exact(text.to_owned());
    let action = InsecureAction::Route;
    support::add_vhost(
        &mut snapshot,
        "a",
        support::vhost(exact("a.test"), action, &["*"]),
    );
    support::add_vhost(
        &mut snapshot,
        "b",
        support::vhost(exact("b.test"), action, &["*"]),
    );
    let suffix = ChainMatch::Sni(HostPattern::Suffix(".test".to_owned()));
    support::add_chain(&mut snapshot, "suffix", support::chain(suffix, &["any"]));
    let sni = |name: &str| ChainMatch::Sni(exact(name));
    support::add_chain(&mut snapshot, "a", support::chain(sni("a.test"), &["a"]));
    support::add_chain(&mut snapshot, "b", support::chain(sni("b.test"), &["b"]));
    let mut broken = support::chain(sni("c.test"), &[]);
    broken.tls = Some(ChainTls::Refuse("no secret".to_owned()));
    support::add_chain(&mut snapshot, "c", broken);
    add_route(&mut snapshot, "r", route("*", "r", matches(prefix("/"))));

    let tls = |name| Connection::Tls { sni: Some(name) };
    let explanation = ask(&snapshot, tls("a.test"), "a.test", "/");
    assert_eq!(explanation.chain.map(|it| it.key).as_deref(), Some("a"));
    assert_eq!(explanation.other_chains.len(), 1, "the suffix matches too");
    assert_eq!(
        explanation.virtual_host.map(|it| it.key).as_deref(),
        Some("a")
    );

    let explanation = ask(&snapshot, tls("a.test"), "b.test:443", "/");
    assert_eq!(explanation.found, Found::NoVirtualHost);
    assert_eq!(explanation.owner_chain, None, "b.test:443 is not b.test");
    let explanation = ask(&snapshot, tls("a.test"), "b.test", "/");
    assert_eq!(explanation.found, Found::NoVirtualHost);
    assert_eq!(explanation.owner_chain, Some("b".into()));

    let why = "no secret".to_owned();
    let explanation = ask(&snapshot, tls("c.test"), "c.test", "/");
    assert_eq!(explanation.found, Found::Refused { why });
    let explanation = ask(&snapshot, Connection::Tls { sni: None }, "a.test", "/");
    assert_eq!(explanation.found, Found::NoChain);
}

#[test]
fn what_cannot_be_served_is_reported_and_the_rest_serves() {
    let mut snapshot = base();
    let regex = |value: &str| PathMatch::Regex {
        value: value.to_owned(),
    };
    add_route(
        &mut snapshot,
        "bad",
        route("*", "bad", matches(regex("/("))),
    );
    add_route(
        &mut snapshot,
        "good",
        route("*", "good", matches(regex("/a+"))),
    );
    add_route(
        &mut snapshot,
        "lost",
        route("absent", "lost", matches(prefix("/"))),
    );
    let mut header = matches(prefix("/"));
    header.headers = vec![NamedMatch {
        name: "not a name".to_owned(),
        value: StringMatch::Present(true),
    }];
    add_route(&mut snapshot, "header", route("*", "header", header));
    support::add_set(&mut snapshot, "~", HostPattern::Regex("[".to_owned()));
    add_route(
        &mut snapshot,
        "host",
        route("~", "host", matches(prefix("/"))),
    );
    let vhost = support::vhost(HostPattern::Any, InsecureAction::Route, &["*", "~", "gone"]);
    snapshot
        .virtual_hosts
        .insert("any".into(), Entry::new(vhost, support::nowhere()));

    let first = Router::build(&snapshot, None, &mut |_, _| ());
    let second = Router::build(&snapshot, Some(&first), &mut |_, _| ());
    for router in [&first, &second] {
        let mut rejected: Vec<&str> = router
            .rejected()
            .iter()
            .map(|(key, _)| key.as_str())
            .collect();
        rejected.sort_unstable();
        assert_eq!(rejected, ["*/bad", "*/header", "absent/lost", "~/host"]);
        let listener = router.listener(LISTENER).expect("there is one");
        let chain = listener.plain_chain().expect("there is one");
        let routes = listener.virtual_host(chain, "x").expect("any");
        let none = HeaderMap::new();
        let found = routes.select(&support::get("x", "/aa", &none), true, 0);
        assert_eq!(
            found.map(|it| it.row.key.to_string()).as_deref(),
            Some("*/good")
        );
        assert!(
            routes
                .select(&support::get("x", "/b", &none), true, 0)
                .is_none()
        );
    }
}
