//! How environment variables are read. Reading them is the caller's: tests need no environment.

/// Whether a value means yes: the empty string, `0`, `false`, `no` and `off` mean no, anything
/// else means yes (spec/operations §1.6).
#[must_use]
pub fn is_true(value: &str) -> bool {
    let value = value.trim();
    !["", "0", "false", "no", "off"]
        .iter()
        .any(|no| value.eq_ignore_ascii_case(no))
}

/// As [`is_true`]; a variable that is not set means no.
#[must_use]
pub fn is_set(value: Option<&str>) -> bool {
    value.is_some_and(is_true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_values() {
        for no in ["", " ", "0", "false", "FALSE", "no", "No", "off"] {
            assert!(!is_true(no), "{no:?}");
        }
        for yes in ["1", "true", "yes", "on", "2", "enabled", "n"] {
            assert!(is_true(yes), "{yes:?}");
        }
        assert!(!is_set(None));
    }
}
