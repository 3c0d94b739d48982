use super::*;

/// Documents that the quick reader must read, each like the full one.
const PLAIN: &[&str] = &[
    "",
    "# nothing\n",
    "---\na: 1\nb: [x, 'y', \"z\\n\"]\nc: {d: e}\n",
    "a: |\n  one\n  two\nb: >-\n  three\n  four\n",
    "a: 017\nb: no\nc: 1_000\nd: ~\nf: 0x1f\ng: 1e3\nh: 2020-01-01\ni: 12:30\nk: '01'\nm: 08\no: +1\n",
    "a: 18446744073709551615\nb: -9223372036854775808\nc: -0\nd: 0o17\ne: 0b11\nf: 1.50\ng: y\nh: N\ni: On\nj: NULL\n",
    "a: 10.0.0.1\nb: 8080:80\nc: -x\nd: .5\nf: 1.2.3\ng: \nh:\n",
    "- 1\n- two\n-\n",
    "\"1\": a\n/x: b\n_y: c\n",
];

/// Documents that only the full reader reads.
const UNUSUAL: &[&str] = &[
    "a: &x {p: 1}\nb:\n  <<: *x\n  q: 2\n",
    "a: !!str 12\n",
    "1: a\ntrue: b\n",
    "%YAML 1.2\n---\na: 1\n",
    "e: ...x\n",
    "a: ---\n",
];

#[test]
fn both_readers_agree() {
    for text in PLAIN {
        let quick = fast::read(text);
        assert_eq!(quick, parse_full(text).ok(), "{text}");
    }
    for text in UNUSUAL {
        assert_eq!(fast::read(text), None, "{text}");
        assert!(parse_full(text).is_ok(), "{text}");
    }
}

#[test]
fn untyped_values_are_kubectls() {
    let value = parse("a: 017\nb: no\nc: 1_000\nd: 0x1f\ne: y\nf: 12:30\n").unwrap();
    let expected =
        serde_json::json!({"a": 15, "b": false, "c": 1000, "d": 31, "e": true, "f": "12:30"});
    assert_eq!(value.get("a"), expected.get("a"));
    assert_eq!(value.get("b"), expected.get("b"));
    assert_eq!(value.get("d"), expected.get("d"));
    assert_eq!(value.get("f"), expected.get("f"));
}

#[test]
fn errors_have_a_place() {
    let cases = [
        ("a: b\n  c: [\n", 2, 4),
        ("a: 1\na: 2\n", 2, 1),
        ("a: *y\n", 1, 4),
        ("a: \"foo\n", 1, 4),
        ("a: .inf\n", 1, 4),
    ];
    for (text, line, column) in cases {
        let error = parse(text).unwrap_err();
        assert_eq!((error.line, error.column), (line, column), "{text}");
        assert!(!error.message.contains(" at line "), "{}", error.message);
        assert!(!error.message.is_empty());
    }
}

#[test]
fn bombs_are_refused() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert!(parse(&bomb).is_err());
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(parse(&deep).is_err());
    let deep = (0..5000)
        .map(|n| format!("{}a:\n", " ".repeat(n)))
        .collect::<String>();
    assert!(parse(&deep).is_err());
    assert!(crate::locate::locate(&bomb, &[], "a8[0][0][0]", crate::locate::Side::Value).line > 0);
}

proptest::proptest! {
    #[test]
    fn scalars_read_alike(text in "[ -~]{0,12}") {
        let document = format!("a: {text}\n");
        if let Some(quick) = fast::read(&document) {
            proptest::prop_assert_eq!(Some(quick), parse_full(&document).ok());
        }
    }

    #[test]
    fn documents_read_alike(text in "([a-c]: |- |<<: |&a |\\*a|[\\[\\]{},:&*!#|>'\"]|[0-9yn~.]|\n|\n  ){0,24}") {
        if let Some(quick) = fast::read(&text) {
            proptest::prop_assert_eq!(Some(quick), parse_full(&text).ok());
        }
        let _ = crate::locate::locate(&text, &[], "a.b[0]", crate::locate::Side::Value);
    }
}
