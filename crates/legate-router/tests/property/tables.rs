//! Random tables and requests, of few letters so that collisions abound.

#![allow(unreachable_pub, reason = "a module of one test binary")]

use http::HeaderMap;
use legate_config::listener::{ChainMatch, InsecureAction};
use legate_config::route::{
    Action, NamedMatch, PathMatch, ProbeKind, Rank, Redirect, RedirectPath, Route, RouteMatch,
    StringMatch,
};
use legate_config::{HostPattern, Snapshot};
use legate_router::RequestView;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::support;

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

pub fn snapshot() -> impl Strategy<Value = Snapshot> {
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
pub struct Request {
    pub method: &'static str,
    pub host: String,
    pub path: String,
    pub query: Option<String>,
    pub headers: HeaderMap,
    pub secure: bool,
    pub draw: u32,
}

impl Request {
    pub fn view(&self) -> RequestView<'_> {
        RequestView {
            method: self.method,
            host: &self.host,
            path: &self.path,
            query: self.query.as_deref(),
            headers: &self.headers,
        }
    }
}

pub fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => select(vec!["a.b", "a", "b", "a.b:8", "b.a.b", "x"]).prop_map(str::to_owned),
        1 => "[ab.]{0,6}(:8)?",
    ]
}

pub fn request() -> impl Strategy<Value = Request> {
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
