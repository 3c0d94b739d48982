use super::*;
use crate::request::tests_support::settings;

#[test]
fn paths_become_normal() {
    let rows = [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b/"),
        ("/a//b", "/a//b"),
        ("/.", "/"),
        ("/..", "/"),
        ("/./", "/"),
        ("/../", "/"),
        ("/a/.", "/a/"),
        ("/a/..", "/"),
        ("/a/../", "/"),
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/a/b/../../c", "/c"),
        ("/../../a", "/a"),
        ("/a/../../../b", "/b"),
        ("/a//../b", "/a/b"),
        ("//..//a", "//a"),
        ("/.a/..b/c.", "/.a/..b/c."),
        ("/.../a", "/.../a"),
        ("/%2e%2E/a", "/a"),
        ("/a/%2e", "/a/"),
        ("/a/.%2e/b", "/b"),
        ("/a/%252e%252e/b", "/a/%252e%252e/b"),
        ("/a\\b", "/a/b"),
        ("/a\\..\\b", "/b"),
        ("/a/..\\b", "/b"),
        ("/%41%7e%2D%5f", "/A~-_"),
        ("/%2f%5C", "/%2f%5C"),
        ("/a%2f..%2fb", "/a%2f..%2fb"),
        ("/%20%c3%a9", "/%20%c3%a9"),
        ("/\u{e9}", "/%C3%A9"),
        ("/a b\"<>^`{}", "/a%20b%22%3C%3E%5E%60%7B%7D"),
        ("/a|[b]", "/a|[b]"),
        ("/\u{1}\u{7f}", "/%01%7F"),
        ("/%", "/%25"),
        ("/%zz%4", "/%25zz%254"),
        ("/%+1", "/%25+1"),
        ("/a/%%32e%%32e/b", "/a/%252e%252e/b"),
        ("/a#b", "/a"),
        ("/a/..#/b", "/"),
        ("/!$&'()*+,;=:@", "/!$&'()*+,;=:@"),
    ];
    for (path, expected) in rows {
        let result = normalise(path, false, false).unwrap();
        assert_eq!(result, expected, "{path}");
        let again = normalise(&result, false, false).unwrap();
        assert_eq!(again, expected, "normalising {path} twice");
    }
}

#[test]
fn slashes_are_merged_and_escaped_ones_refused_on_demand() {
    for (path, expected) in [
        ("//", "/"),
        ("/a//b///c", "/a/b/c"),
        ("//a/..//b", "/b"),
        ("/a\\\\b", "/a/b"),
        ("/a%2f%2fb", "/a%2f%2fb"),
    ] {
        assert_eq!(normalise(path, true, false).unwrap(), expected, "{path}");
    }
    for path in ["/%2f", "/a%5Cb", "/%2F..", "/x%5c"] {
        assert_eq!(normalise(path, false, true), Err(PathError::EscapedSlash));
    }
    assert_eq!(normalise("/%2e/a%25", false, true).unwrap(), "/a%25");
}

#[test]
fn impossible_paths_are_refused() {
    for path in ["", "a", "*", "\\a", "#", "%2f", "a/b", "http:/x"] {
        assert_eq!(
            normalise(path, false, false),
            Err(PathError::NotAbsolute),
            "{path}"
        );
    }
    for path in ["/%00", "/a%00b", "/../%00"] {
        assert_eq!(normalise(path, false, false), Err(PathError::Nul), "{path}");
    }
}

#[test]
fn normal_paths_are_borrowed() {
    for path in [
        "/",
        "/api/v1/users/17",
        "/a.b/c-d_e~f",
        "/a//b",
        "/.well-known/x",
    ] {
        assert!(
            matches!(normalise(path, false, false), Ok(Cow::Borrowed(_))),
            "{path}"
        );
    }
}

#[test]
fn the_query_is_untouched_and_options_may_ask_for_everything() {
    let settings = settings();
    let uri: Uri = "/a/../b?x=/../%41%00\\&y".parse().unwrap();
    let parts = normalise_path(&uri, &Method::GET, &settings).unwrap();
    assert_eq!(parts.path, "/b");
    assert_eq!(parts.query, Some("x=/../%41%00\\&y"));
    let star: Uri = "*".parse().unwrap();
    assert_eq!(
        normalise_path(&star, &Method::OPTIONS, &settings).map(|parts| parts.path),
        Ok(Cow::Borrowed("*"))
    );
    assert_eq!(
        normalise_path(&star, &Method::GET, &settings),
        Err(PathError::NotAbsolute)
    );
    let absolute: Uri = "http://a.test?q".parse().unwrap();
    let parts = normalise_path(&absolute, &Method::GET, &settings).unwrap();
    assert_eq!((&*parts.path, parts.query), ("/", Some("q")));
    let authority: Uri = "a.test:443".parse().unwrap();
    assert_eq!(
        normalise_path(&authority, &Method::CONNECT, &settings),
        Err(PathError::NotAbsolute)
    );
}

proptest::proptest! {
    #[test]
    fn any_path_is_refused_or_normal(path in "/[a-c./%\\\\25eEfF #é]{0,24}") {
        if let Ok(result) = normalise(&path, true, false) {
            assert!(result.is_ascii());
            assert!(result.starts_with('/'));
            assert!(result.split('/').all(|segment| segment != "." && segment != ".."));
            assert!(!result.contains("//"));
            assert!(!result.contains('\\'));
            let again = normalise(&result, true, false);
            assert_eq!(again.as_deref(), Ok(&*result));
        }
    }
}
