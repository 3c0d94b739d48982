//! Which hosts a certificate covers.

/// Whether one of a certificate's names covers a host. A port in the host does not matter; a
/// wildcard stands for exactly one label (RFC 6125).
pub(crate) fn covers<S: AsRef<str>>(names: &[S], host: &str) -> bool {
    let host = without_port(host);
    names.iter().any(|name| matches(name.as_ref(), host))
}

fn matches(name: &str, host: &str) -> bool {
    if let Some(parent) = name.strip_prefix("*.") {
        let Some((label, rest)) = host.split_once('.') else {
            return false;
        };
        return !label.is_empty() && rest.eq_ignore_ascii_case(parent);
    }
    name.eq_ignore_ascii_case(host)
}

fn without_port(host: &str) -> &str {
    if let Some(literal) = host.strip_prefix('[') {
        return literal.split_once(']').map_or(host, |(address, _)| address);
    }
    match host.split_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_for_one_label() {
        let rows: &[(&[&str], &str, bool)] = &[
            (&["a.test"], "a.test", true),
            (&["a.test"], "A.TEST", true),
            (&["a.test"], "a.test:8443", true),
            (&["a.test"], "b.test", false),
            (&["a.test"], "x.a.test", false),
            (&["*.test"], "b.test", true),
            (&["*.test"], "x.y.test", false),
            (&["*.test"], "test", false),
            (&["*.test"], ".test", false),
            (&["b.test", "*.a.test"], "x.a.test:1", true),
            (&["192.0.2.1"], "192.0.2.1:443", true),
            (&["2001:db8::1"], "[2001:db8::1]:443", true),
            (&["2001:db8::1"], "[2001:db8::1]", true),
            (&["*"], "a", false),
            (&[], "a.test", false),
            (&["a.test"], "", false),
        ];
        for (names, host, expected) in rows {
            assert_eq!(covers(names, host), *expected, "{names:?} {host}");
        }
    }
}
