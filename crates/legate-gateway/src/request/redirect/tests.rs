use std::borrow::Cow;

use legate_config::policy::{RegexReplace, Replacement};

use super::*;

fn target<'a>(path: &'a str, query: Option<&'a str>) -> PathParts<'a> {
    PathParts {
        path: Cow::Borrowed(path),
        query,
    }
}

#[test]
fn https_redirects_keep_all_but_port_80() {
    for (host, path, query, expected) in [
        ("a.test", "/x", None, "https://a.test/x"),
        ("a.test:80", "/x", Some("q=1"), "https://a.test/x?q=1"),
        ("a.test:8080", "/", Some(""), "https://a.test:8080/?"),
        ("[::1]:80", "/", None, "https://[::1]/"),
        (
            "a.test",
            "/",
            Some("a\r\nb: c"),
            "https://a.test/?a%0D%0Ab:%20c",
        ),
    ] {
        assert_eq!(
            https_redirect_location(host, &target(path, query)),
            expected
        );
    }
}

fn full(text: &str) -> RedirectPath {
    RedirectPath::Full(text.into())
}

fn regex() -> RedirectPath {
    RedirectPath::Regex(RegexReplace {
        pattern: "/a/(.*)".into(),
        substitution: vec![Replacement::Text("/c/".into()), Replacement::Group(1)],
    })
}

fn rest() -> RedirectPath {
    RedirectPath::Regex(RegexReplace {
        pattern: "^/(.*)$".into(),
        substitution: vec![Replacement::Group(1)],
    })
}

fn prefix(matched: usize) -> RedirectPath {
    RedirectPath::Prefix {
        matched,
        with: "/b/".into(),
    }
}

/// Scheme, host and path of the redirect; path and query of the request; location.
type Row = (
    Option<&'static str>,
    Option<&'static str>,
    RedirectPath,
    &'static str,
    Option<&'static str>,
    &'static str,
);

// RW-09 to RW-13 and RW-16 of the specification, then the corners.
#[rustfmt::skip] // One row per line.
fn rows() -> Vec<Row> { vec![
    (None, Some("new.example.com"), RedirectPath::Keep, "/a/x", Some("q=1"), "http://new.example.com/a/x?q=1"),
    (None, Some("n.test:8443"), full("/zz"), "/a/x", Some("q=1"), "http://n.test:8443/zz?q=1"),
    (None, Some("n.test"), full("/zz?k=v"), "/a/x", Some("q=1"), "http://n.test/zz?k=v"),
    (None, Some("n.test"), prefix(3), "/a/x/y", None, "http://n.test/b/x/y"),
    (None, Some("n.test"), regex(), "/a/x", None, "http://n.test/c/x"),
    (Some("https"), Some("n.test"), RedirectPath::Keep, "/a/x", None, "https://n.test/a/x"),
    (None, None, RedirectPath::Keep, "/a", None, "http://o.test:80/a"),
    (Some("https"), None, RedirectPath::Keep, "/a", None, "https://o.test/a"),
    (None, Some("n.test"), prefix(30), "/a", None, "http://n.test/a"),
    (None, Some("n.test"), rest(), "/.evil.test/", None, "http://n.test/.evil.test/"),
    (None, Some("n.test"), regex(), "/z", Some("q"), "http://n.test/z?q"),
    (None, Some("n.test"), full("/ü x"), "/z", None, "http://n.test/%C3%BC%20x"),
] }

#[test]
fn locations_follow_the_redirect() {
    for (scheme, host, path, from, query, expected) in rows() {
        let redirect = Redirect {
            scheme: scheme.map(str::to_owned),
            host: host.map(str::to_owned),
            path,
            status: 301,
        };
        let compiled = CompiledRedirect::build(&redirect).unwrap();
        let location = compiled.location("http", "o.test:80", &target(from, query));
        assert_eq!(location, expected);
    }
}
