//! The index against the plain meaning: a walk over all rows in rank order.

mod naive;
mod support;
mod tables;

use std::sync::Arc;

use http::HeaderMap;
use legate_config::route::Route;
use legate_config::{Entry, RouteKey, Snapshot};
use legate_router::{Connection, Found, Question, Reason, Router, Verdict, explain};
use proptest::prelude::*;

use support::LISTENER;
use tables::{Request, host, request, snapshot};

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
