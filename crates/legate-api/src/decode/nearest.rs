//! The known name that a misspelt one was probably meant to be.

/// Longer names are not compared: nobody misspells them, and comparing costs their square.
const MAX_LENGTH: usize = 64;

/// The nearest of the known names, if it is near enough to be a likely slip.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = simplified(name);
    if name.is_empty() || name.len() > MAX_LENGTH {
        return None;
    }
    let most = (name.len() / 3).max(1);
    known
        .filter_map(|candidate| {
            let simple = simplified(candidate);
            // No distance is less than the difference of the lengths.
            let near = name.len().abs_diff(simple.len()) <= most;
            near.then(|| (distance(&name, &simple), candidate))
        })
        .filter(|(distance, _)| *distance <= most)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Case and separators do not count: `timeoutMs` is near to `timeout_ms`.
fn simplified(name: &str) -> Vec<u8> {
    name.bytes()
        .filter(|byte| !matches!(byte, b'_' | b'-' | b' '))
        .map(|byte| byte.to_ascii_lowercase())
        .collect()
}

/// Insertions, deletions, replacements and swaps of neighbours that make one of the other.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    let mut previous_left = None;
    for (i, left) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(last.len());
        row.push(i + 1);
        let mut previous_right = None;
        for (j, right) in b.iter().enumerate() {
            let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX);
            let replaced = at(&last, j).saturating_add(usize::from(left != right));
            let deleted = at(&last, j + 1).saturating_add(1);
            let inserted = at(&row, j).saturating_add(1);
            let mut best = replaced.min(deleted).min(inserted);
            if previous_left == Some(right) && previous_right == Some(left) && j > 0 {
                best = best.min(at(&before_last, j - 1).saturating_add(1));
            }
            row.push(best);
            previous_right = Some(right);
        }
        before_last = std::mem::replace(&mut last, row);
        previous_left = Some(left);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_likely_slips_only() {
        let known = [
            "prefix",
            "prefix_regex",
            "timeout_ms",
            "hostname",
            "host",
            "tls",
        ];
        for (name, expected) in [
            ("prefx", Some("prefix")),
            ("perfix", Some("prefix")),
            ("timeoutMs", Some("timeout_ms")),
            ("timeout", Some("timeout_ms")),
            ("time", None),
            ("hostName", Some("hostname")),
            ("hosts", Some("host")),
            ("zzz", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, known.into_iter()), expected, "{name}");
        }
        let long = "x".repeat(100_000);
        assert_eq!(nearest(&long, known.into_iter()), None);
    }
}
