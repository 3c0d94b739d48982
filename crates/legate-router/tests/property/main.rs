//! The index against the plain meaning: a walk over all rows in rank order.

mod naive;
mod support;

use std::sync::Arc;

use http::HeaderMap;
use legate_config::listener::{ChainMatch, InsecureAction};
use legate_config::route::{
    Action, NamedMatch, PathMatch, ProbeKind, Rank, Redirect, RedirectPath, Route, RouteMatch,
    StringMatch,
};
use legate_config::{Entry, HostPattern, RouteKey, Snapshot};
use legate_router::{Connection, Found, Question, Reason, RequestView, Router, Verdict, explain};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use support::LISTENER;

const SETS: [&str; 6] = ["s0", "s1", "s2", "s3", "s4", "s5"];
const VHOSTS: [&str; 6] = ["v0", "v1", "v2", "v3", "v4", "v5"];

fn host_pattern() -> impl Strategy<Value = HostPattern> {
    let text = select(vec![
        "a", "b", ".b", "a.", "a.b", "a.b:8", "b.a.b", ".a.b", "ab", "",
    ]);
    prop_oneof![
        3 => Just(HostPattern::Any),
        2 => text.clone().prop_map(|text| HostPattern::Exact(text.to_owned())),
        2 => text.clone().prop_map(|text| HostPattern::Suffix(text.to_owned())),
        1 => text.prop_map(|text| HostPattern::Prefix(text.to_owned())),
    ]
}

fn set_host() -> impl Strategy<Value = HostPattern> {
    let regex = select(vec!["[ab]\\..*", "a|a\\.b", ".*", "(a|b)(:8)?"]);
    prop_oneof![
        6 => host_pattern(),
        1 => regex.prop_map(|text| HostPattern::Regex(text.to_owned())),
    ]
}

fn path_text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => select(vec!["/", "/a", "/a/", "/ab", "/a/b", "/A", ""]).prop_map(str::to_owned),
        1 => "/[abA/]{0,4}",
    ]
}

fn regex() -> impl Strategy<Value = String> {
    let piece = select(vec![
        "/",
        "a",
        "b",
        "ab",
        ".",
        "[ab]",
        ".*",
        "a?",
        "(a|b/)",
        "[^/]+",
        "(?i:a)",
        "a{2}",
        "(/a)+",
        "b*?",
        "(a|ab)",
        "^",
        "$",
        "(?-u:\\b)",
        "\\b",
    ]);
    let pieces = proptest::collection::vec(piece, 0..4);
    (any::<bool>(), pieces).prop_map(|(slash, pieces)| {
        let start = if slash { "/" } else { "" };
        format!("{start}{}", pieces.concat())
    })
}

fn path_match() -> impl Strategy<Value = PathMatch> {
    let rarely = prop::bool::weighted(0.2);
    prop_oneof![
        4 => (path_text(), rarely)
            .prop_map(|(value, ignore_case)| PathMatch::Prefix { value, ignore_case }),
        2 => (path_text(), rarely)
            .prop_map(|(value, ignore_case)| PathMatch::Exact { value, ignore_case }),
        2 => regex().prop_map(|value| PathMatch::Regex { value }),
    ]
}

fn condition() -> impl Strategy<Value = StringMatch> {
    prop_oneof![
        6 => select(vec!["1", "2", "3", "4", "1,2", ""]).prop_map(|it| StringMatch::Exact(it.into())),
        2 => select(vec!["[12]", ".*", "1.*", ".+,.*"]).prop_map(|it| StringMatch::Regex(it.into())),
        1 => Just(StringMatch::Present(true)),
    ]
}

fn named(names: &'static [&'static str]) -> impl Strategy<Value = Vec<NamedMatch>> {
    let one = (select(names), condition()).prop_map(|(name, value)| NamedMatch {
        name: name.to_owned(),
        value,
    });
    prop_oneof![
        1 => Just(Vec::new()),
        1 => proptest::collection::vec(one, 0..3),
    ]
}

fn method() -> impl Strategy<Value = Option<StringMatch>> {
    prop_oneof![
        3 => Just(None),
        2 => select(vec!["GET", "POST", "get"]).prop_map(|it| Some(StringMatch::Exact(it.into()))),
        1 => select(vec!["GET|POST", "P.*"]).prop_map(|it| Some(StringMatch::Regex(it.into()))),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    let redirect = Redirect {
        scheme: None,
        host: Some("x".to_owned()),
        path: RedirectPath::Keep,
        status: 301,
    };
    let weights = proptest::collection::vec(select(vec![0_u32, 10, 30, 100]), 0..4);
    prop_oneof![
        4 => Just(support::forward(&[100])),
        3 => weights.prop_map(|weights| support::forward(&weights)),
        1 => Just(Action::Redirect(redirect)),
        1 => Just(Action::Probe(ProbeKind::Alive)),
        1 => Just(support::fail()),
    ]
}

fn rank() -> impl Strategy<Value = Rank> {
    let specificity = proptest::collection::vec(0_u32..3, 0..4);
    let tie = proptest::collection::vec(0_u8..3, 0..3);
    (-1_i64..2, specificity, tie).prop_map(|(tier, specificity, tie)| Rank {
        tier,
        specificity,
        tie,
    })
}

fn route() -> impl Strategy<Value = Route> {
    let matches = (
        path_match(),
        method(),
        named(&["x-a", "x-b"]),
        named(&["q", "r"]),
    )
        .prop_map(|(path, method, headers, query)| RouteMatch {
            path,
            method,
            headers,
            query,
        });
    (
        select(&SETS[..]),
        rank(),
        matches,
        prop::bool::weighted(0.2),
        action(),
    )
        .prop_map(|(set, rank, matches, always_routed, action)| Route {
            set: set.into(),
            name: String::new(),
            rank,
            matches,
            always_routed,
            action,
        })
}

/// Many rows on one path, which differ by method, header and query: what the fans split.
fn crowded_route() -> impl Strategy<Value = Route> {
    (route(), select(vec!["/", "/a"])).prop_map(|(mut route, path)| {
        route.matches.path = support::prefix(path);
        route.set = "s0".into();
        route
    })
}

fn routes() -> impl Strategy<Value = Vec<Route>> {
    prop_oneof![
        proptest::collection::vec(route(), 0..40),
        proptest::collection::vec(crowded_route(), 30..90),
        proptest::collection::vec(prop_oneof![route(), crowded_route()], 0..80),
    ]
}

fn snapshot() -> impl Strategy<Value = Snapshot> {
    let hosts = proptest::collection::vec(set_host(), SETS.len());
    let insecure = select(vec![
        InsecureAction::Redirect,
        InsecureAction::Route,
        InsecureAction::Reject,
    ]);
    let vhost = (
        host_pattern(),
        insecure,
        subsequence(SETS.to_vec(), 0..=SETS.len()),
    );
    let vhosts = proptest::collection::vec(vhost, VHOSTS.len());
    let matches = prop_oneof![
        2 => Just(ChainMatch::Plain),
        1 => Just(ChainMatch::DefaultTls),
        5 => host_pattern().prop_filter_map("no any", |pattern| {
            (pattern != HostPattern::Any).then_some(ChainMatch::Sni(pattern))
        }),
    ];
    let chain = (matches, subsequence(VHOSTS.to_vec(), 0..=VHOSTS.len()));
    let chains = proptest::collection::vec(chain, 0..8);
    (routes(), hosts, vhosts, chains).prop_map(|(routes, hosts, vhosts, chains)| {
        let mut snapshot = support::base();
        for (key, host) in SETS.iter().zip(hosts) {
            support::add_set(&mut snapshot, key, host);
        }
        for (key, (host, insecure, sets)) in VHOSTS.iter().zip(vhosts) {
            support::add_vhost(&mut snapshot, key, support::vhost(host, insecure, &sets));
        }
        for (index, (matches, vhosts)) in chains.into_iter().enumerate() {
            let chain = support::chain(matches, &vhosts);
            support::add_chain(&mut snapshot, &format!("c{index}"), chain);
        }
        for (index, mut route) in routes.into_iter().enumerate() {
            // Total, as the compiler's ranks are.
            route.rank.tie.extend(index.to_be_bytes());
            support::add_route(&mut snapshot, &format!("{index:03}"), route);
        }
        snapshot
    })
}

#[derive(Debug, Clone)]
struct Request {
    method: &'static str,
    host: String,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
    secure: bool,
    draw: u32,
}

impl Request {
    fn view(&self) -> RequestView<'_> {
        RequestView {
            method: self.method,
            host: &self.host,
            path: &self.path,
            query: self.query.as_deref(),
            headers: &self.headers,
        }
    }
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => select(vec!["a.b", "a", "b", "a.b:8", "b.a.b", "x"]).prop_map(str::to_owned),
        1 => "[ab.]{0,6}(:8)?",
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let path = prop_oneof![path_text(), "/[abA/é]{0,6}"];
    let query = prop_oneof![
        Just(None),
        "[qr=&12,]{0,8}".prop_map(Some),
        select(vec!["q=1", "q=2&r=1", "q", "q=3&q=1", "r=4"]).prop_map(|it| Some(it.to_owned())),
    ];
    let header = (
        select(vec!["x-a", "x-b"]),
        select(vec!["1", "2", "3", "1,2", ""]),
    );
    let headers = proptest::collection::vec(header, 0..4).prop_map(|it| support::headers(&it));
    let method = select(vec!["GET", "POST", "PUT"]);
    (
        method,
        host(),
        path,
        query,
        headers,
        any::<bool>(),
        0_u32..100,
    )
        .prop_map(
            |(method, host, path, query, headers, secure, draw)| Request {
                method,
                host,
                path,
                query,
                headers,
                secure,
                draw,
            },
        )
}

/// A later version: some rows gone, some from elsewhere, some changed.
fn later(first: &Snapshot, other: &Snapshot) -> Snapshot {
    let mut next = first.clone();
    for (index, (key, entry)) in first.routes.iter().enumerate() {
        if index % 5 == 0 {
            next.routes.remove(key.as_str());
        } else if index % 7 == 0 {
            let mut route = (*entry.value).clone();
            route.rank.tier += 1;
            next.routes
                .insert(key.clone(), Entry::new(route, support::nowhere()));
        }
    }
    for (key, entry) in other.routes.iter().step_by(3) {
        next.routes.insert(key.clone(), entry.clone());
    }
    next
}

fn check(snapshot: &Snapshot, router: &Router<RouteKey>, requests: &[Request], sni: &str) {
    let listener = router.listener(LISTENER).expect("there is one");
    let key = |chain: Option<&legate_router::Chain>| chain.map(|chain| chain.key().clone());
    assert_eq!(
        key(listener.choose_chain(Some(sni))),
        naive::chain(snapshot, Some(sni))
    );
    assert_eq!(
        key(listener.choose_chain(None)),
        naive::chain(snapshot, None)
    );
    assert_eq!(key(listener.plain_chain()), naive::plain_chain(snapshot));
    for request in requests {
        for chain in listener.chains() {
            let found = listener.virtual_host(chain, &request.host);
            let wanted = naive::virtual_host(snapshot, chain.chain(), &request.host);
            assert_eq!(
                found.map(|it| it.key()),
                wanted.as_ref(),
                "{}",
                request.host
            );
        }
        let mut seen = Vec::new();
        for chain in listener.chains() {
            let Some(routes) = listener.virtual_host(chain, &request.host) else {
                continue;
            };
            if seen.contains(&routes.key()) {
                continue;
            }
            seen.push(routes.key());
            let wanted = naive::select(snapshot, routes.vhost(), request);
            let view = request.view();
            let found = routes.select(&view, request.secure, request.draw);
            let found = found.map(|found| {
                assert_eq!(found.row.key, found.row.payload);
                (found.row.key.clone(), found.verdict)
            });
            assert_eq!(found, wanted, "{request:?}");
        }
    }
}

fn check_explanation(router: &Router<RouteKey>, request: &Request, sni: &str) {
    let explanation = explain(
        router,
        &Question {
            listener: LISTENER,
            connection: Connection::Tls { sni: Some(sni) },
            request: request.view(),
            secure: request.secure,
            draw: request.draw,
        },
    );
    let listener = router.listener(LISTENER).expect("there is one");
    let chain = listener.choose_chain(Some(sni));
    let found = chain
        .and_then(|chain| listener.virtual_host(chain, &request.host))
        .and_then(|routes| routes.select(&request.view(), request.secure, request.draw));
    let wins: Vec<_> = explanation
        .candidates
        .iter()
        .filter(|candidate| candidate.reason == Reason::Wins)
        .map(|candidate| &candidate.key)
        .collect();
    let (told, redirects) = match &explanation.found {
        Found::Route { route, .. } => (Some(route), false),
        Found::RedirectToHttps { route } => (Some(route), true),
        _ => (None, false),
    };
    assert_eq!(told, found.as_ref().map(|found| &found.row.key));
    let verdict = found.map(|found| found.verdict);
    assert_eq!(redirects, verdict == Some(Verdict::RedirectToHttps));
    assert_eq!(wins, told.into_iter().collect::<Vec<_>>());
    let ranks: Vec<_> = explanation
        .candidates
        .iter()
        .map(|it| &it.route.rank)
        .collect();
    assert!(ranks.is_sorted());
    let later = explanation
        .candidates
        .iter()
        .position(|it| it.reason == Reason::Later);
    let first = explanation
        .candidates
        .iter()
        .position(|it| it.reason == Reason::Wins);
    assert!(
        later.is_none() || first < later,
        "the first that matches wins"
    );
}

proptest! {
    #[test]
    fn the_index_is_the_linear_walk(
        first in snapshot(),
        other in snapshot(),
        requests in proptest::collection::vec(request(), 12),
        sni in host(),
    ) {
        let attach = &mut |key: &RouteKey, _: &Route| key.clone();
        let router = Router::build(&first, None, attach);
        prop_assert_eq!(router.rejected(), &[]);
        check(&first, &router, &requests, &sni);
        for request in &requests {
            check_explanation(&router, request, &sni);
        }
        let next = later(&first, &other);
        let mut fresh = 0;
        let successor = Router::build(&next, Some(&router), &mut |key, _| {
            fresh += 1;
            key.clone()
        });
        check(&next, &successor, &requests, &sni);
        let same = |key: &RouteKey, entry: &Entry<Route>| {
            first.routes.iter().any(|(k, e)| k == key && e.hash == entry.hash)
        };
        let changed = next.routes.iter().filter(|(key, entry)| !same(key, entry)).count();
        prop_assert_eq!(fresh, changed, "unchanged rows keep their payload");
    }
}

#[test]
fn unchanged_tables_are_shared() {
    let mut snapshot = support::base();
    let matches = support::matches(support::prefix("/a"));
    support::add_route(&mut snapshot, "a", support::route("*", "a", matches));
    let first = Router::build(&snapshot, None, &mut |_, _| Arc::new(()));
    let second = Router::build(&snapshot, Some(&first), &mut |_, _| {
        panic!("nothing changed")
    });
    let none = HeaderMap::new();
    let payload = |router: &Router<Arc<()>>| {
        let listener = router.listener(LISTENER).expect("there is one");
        let chain = listener.plain_chain().expect("there is one");
        let routes = listener.virtual_host(chain, "x").expect("any");
        let found = routes.select(&support::get("x", "/a", &none), true, 0);
        Arc::clone(&found.expect("matches").row.payload)
    };
    assert!(Arc::ptr_eq(&payload(&first), &payload(&second)));
}
