//! Choosing a route allocates nothing.

#[path = "property/support.rs"]
mod support;

use legate_config::HostPattern;
use legate_config::listener::{ChainMatch, InsecureAction};
use legate_config::route::{NamedMatch, PathMatch, StringMatch};
use legate_router::{RequestView, Router};

use support::{LISTENER, base, matches, prefix, route};

fn named(name: &str, value: &str) -> Vec<NamedMatch> {
    vec![NamedMatch {
        name: name.to_owned(),
        value: StringMatch::Exact(value.to_owned()),
    }]
}

fn router() -> Router<()> {
    let mut snapshot = base();
    support::add_vhost(
        &mut snapshot,
        "any",
        support::vhost(
            HostPattern::Any,
            InsecureAction::Redirect,
            &["*", "*.test", "a.*", "~"],
        ),
    );
    let sni = ChainMatch::Sni(HostPattern::Suffix(".test".to_owned()));
    support::add_chain(&mut snapshot, "tls", support::chain(sni, &["any"]));
    support::add_set(
        &mut snapshot,
        "*.test",
        HostPattern::Suffix(".test".to_owned()),
    );
    support::add_set(&mut snapshot, "a.*", HostPattern::Prefix("a.".to_owned()));
    support::add_set(
        &mut snapshot,
        "~",
        HostPattern::Regex("[a-z]+\\.test".to_owned()),
    );
    for set in ["*", "*.test", "a.*", "~"] {
        for index in 0..40 {
            let mut add = |name: &str, matches| {
                let name = format!("{name}{index}");
                support::add_route(&mut snapshot, &name, route(set, &name, matches));
            };
            add("p", matches(prefix(&format!("/svc{index}/"))));
            let value = format!("/re{index}/[0-9]+/.*");
            add("r", matches(PathMatch::Regex { value }));
            let mut crowded = matches(prefix("/crowded/"));
            crowded.headers = named("x-user", &format!("u{index},v"));
            add("h", crowded);
            let mut folded = matches(PathMatch::Exact {
                value: format!("/CASE{index}"),
                ignore_case: true,
            });
            folded.query = named("q", &index.to_string());
            add("q", folded);
        }
    }
    Router::build(&snapshot, None, &mut |_, _| ())
}

#[test]
fn selecting_allocates_nothing() {
    let router = router();
    let headers = support::headers(&[("x-user", "u33"), ("x-user", "v"), ("accept", "*/*")]);
    let requests = [
        ("/svc39/x", None, true),
        ("/re7/12/x", None, true),
        ("/crowded/", None, true),
        ("/case12", Some("a=1&q=12"), true),
        ("/case12", Some("a=1&q=13"), false),
        ("/nothing", None, false),
    ];
    let mut found = 0;
    // Counts the allocations of this thread; the crate brings the global allocator.
    let counted = allocation_counter::measure(|| {
        for (path, query, secure) in requests {
            for host in ["a.test", "b.dev"] {
                let request = RequestView {
                    method: "GET",
                    host,
                    path,
                    query,
                    headers: &headers,
                };
                let listener = router.listener(LISTENER).expect("there is one");
                let chain = listener.choose_chain(Some("a.test")).expect("there is one");
                let routes = listener.virtual_host(chain, host).expect("any");
                found += usize::from(routes.select(&request, secure, 42).is_some());
                assert!(listener.owner_chain(host).is_some() == (host == "a.test"));
            }
        }
    });
    assert_eq!(counted.count_total, 0);
    assert_eq!(found, 8);
}
