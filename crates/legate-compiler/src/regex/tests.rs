use regex_automata::meta::Regex;

use super::*;

/// Whether the pattern, as RE2 writes it, matches the whole text.
fn full(pattern: &str, text: &str) -> bool {
    let rust = check(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    Regex::new(&format!(r"\A(?:{rust})\z"))
        .unwrap_or_else(|error| panic!("{pattern} became {rust}: {error}"))
        .is_match(text)
}

#[test]
fn perl_classes_are_ascii() {
    assert!(full(r"\d+", "12"));
    assert!(!full(r"\d+", "١٢"), "Arabic digits");
    assert!(!full(r"\w", "é"));
    assert!(full(r"\W", "é"));
    assert!(full(r"[\w-]+", "a-b"));
    assert!(full(r"[^\W]+", "ab"));
    assert!(!full(r"\s", "\u{b}"), "no vertical tab in RE2");
    assert!(full(r"a\b.*", "a b"));
}

#[test]
fn literal_braces_and_brackets() {
    for (pattern, text) in [
        ("a{,2}", "a{,2}"),
        ("a{", "a{"),
        ("{x}", "{x}"),
        ("x}y]", "x}y]"),
        ("[[]", "["),
        ("[]a]+", "]a"),
        ("[a&&b]+", "a&b"),
        ("[[a]]", "[]"),
        ("[a~~b]+", "~ab"),
        ("[a-]+", "a-"),
    ] {
        assert!(full(pattern, text), "{pattern} on {text}");
    }
    assert!(full("a{2}", "aa"));
    assert!(full("a{1,}", "aaa"));
    assert!(!full("[^a]", "a"));
}

#[test]
fn escapes() {
    assert!(full(r"\Qa.b\E.", "a.bx"));
    assert!(!full(r"\Qa.b\E", "axb"));
    assert!(full(r"\Q[x", "[x"));
    assert!(full(r"\101\0", "A\0"));
    assert!(full(r"\x41\x{42}", "AB"));
    assert!(full(r"\<\>\_\/\-\#\ ", "<>_/-# "));
    assert!(full(r"[\]\-]+", "]-"));
    assert!(full(r"\pN\p{Greek}\p{^Greek}\PN", "1αax"));
    assert!(full("[[:word:]]+", "a_1"));
    assert!(full(r"(?i)abc", "ABC"));
    assert!(full(r"(?P<n>a)(?<m>b)(?P<1x>c)", "abc"));
}

#[test]
fn what_re2_refuses_is_refused_with_its_place() {
    for (pattern, position) in [
        ("/x/(", Some(4)),
        ("a**", Some(3)),
        ("a+?*", Some(4)),
        ("ab{1001}", Some(3)),
        ("a(?=b)", Some(2)),
        ("a(?<!b)", Some(2)),
        (r"(a)\1", Some(4)),
        (r"é\C", Some(2)),
        (r"\q", Some(1)),
        (r"a\Z", Some(2)),
        ("[b-a]", Some(2)),
        ("a[b", Some(2)),
        ("(?x)a", Some(1)),
        ("(?P<n>a)(?P<n>b)", Some(9)),
        ("*a", Some(1)),
        ("a)", Some(2)),
        ("[[:nope:]]", Some(2)),
        (r"\p{Nonsense}", Some(1)),
        ("a\\", Some(2)),
    ] {
        let error = check(pattern).expect_err(pattern);
        assert_eq!(error.position, position, "{pattern}: {error}");
    }
}

#[test]
fn large_patterns_are_refused_quickly() {
    for bomb in [
        r"\pL{1000}".to_owned(),
        "((a{100}){100}){100}".to_owned(),
        "(".repeat(2000) + &")".repeat(2000),
        "a".repeat(MAX_PATTERN + 1),
    ] {
        assert!(check(&bomb).is_err());
    }
    assert!(
        check(&"(abc|def)?".repeat(60)).is_ok(),
        "Envoy's 200 is not the limit"
    );
}

#[test]
fn substitutions_name_groups_of_the_pattern() {
    let replace = check_replace(r"^/u/([0-9]+)$", r"/user/\1\\\0").unwrap();
    assert_eq!(
        replace.substitution,
        [
            Replacement::Text("/user/".into()),
            Replacement::Group(1),
            Replacement::Text("\\".into()),
            Replacement::Group(0),
        ]
    );
    let blame =
        |pattern, substitution| check_replace(pattern, substitution).expect_err("refused").1;
    assert_eq!(blame("a", r"\1"), Blame::Substitution);
    assert_eq!(blame("a", r"\x"), Blame::Substitution);
    assert_eq!(blame("a", "\\"), Blame::Substitution);
    assert_eq!(blame("", ""), Blame::Pattern);
    assert_eq!(blame("(", ""), Blame::Pattern);
}

proptest::proptest! {
    #[test]
    fn any_text_ends_in_a_pattern_or_an_error(text in "[a-c(){}\\[\\]\\\\*+?|^$.:<>P0-9,&~-]{0,24}") {
        if let Ok(rust) = check(&text) {
            let anchored = format!(r"\A(?:{rust})\z");
            proptest::prop_assert!(Regex::new(&anchored).is_ok(), "{} became {}", text, rust);
        }
    }
}
