//! Which instance this is, and the names of the objects that it owns (operator.md §1).

use std::fmt::Write as _;

/// Longest slug that an id may be by itself.
const MAX_PLAIN: usize = 40;
/// How much of a sanitised id is kept before the hash.
const MAX_SANITISED: usize = 31;

/// One replica of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The instance's id.
    pub ambassador_id: String,
    /// The controller's own namespace.
    pub namespace: String,
    /// This replica's name: the pod's, else the host's.
    pub pod_name: String,
}

impl Identity {
    /// The instance's id as part of a Kubernetes name: the id itself if it is an RFC 1123 label of
    /// at most 40 characters, else a sanitised form and 8 hex digits of its SHA-256.
    #[must_use]
    pub fn slug(&self) -> String {
        slug(&self.ambassador_id)
    }

    /// The Lease.
    #[must_use]
    pub fn lease_name(&self) -> String {
        format!("legate-{}", self.slug())
    }

    /// The Secret with the CA and the `hash-key`.
    #[must_use]
    pub fn discovery_secret_name(&self) -> String {
        format!("legate-{}-discovery", self.slug())
    }

    /// The ConfigMap with the CA's certificate.
    #[must_use]
    pub fn ca_config_map_name(&self) -> String {
        format!("legate-{}-ca", self.slug())
    }

    /// The Secret with last good versions.
    #[must_use]
    pub fn last_good_name(&self) -> String {
        format!("legate-{}-last-good", self.slug())
    }
}

fn slug(id: &str) -> String {
    if is_label(id) {
        return id.to_owned();
    }
    let mut text: String = id
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(MAX_SANITISED)
        .collect();
    while text.ends_with('-') {
        text.pop();
    }
    let text = text.trim_start_matches('-');
    let mut slug = if text.is_empty() { "id" } else { text }.to_owned();
    slug.push('-');
    for byte in sha256_prefix(id) {
        let _ = write!(slug, "{byte:02x}");
    }
    slug
}

/// Lower-case letters, digits and inner dashes.
fn is_label(id: &str) -> bool {
    let bytes = id.as_bytes();
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (1..=MAX_PLAIN).contains(&bytes.len())
        && bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && bytes.iter().all(|b| alphanumeric(b) || *b == b'-')
}

fn sha256_prefix(text: &str) -> [u8; 4] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    let mut prefix = [0; 4];
    for (to, from) in prefix.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    prefix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs() {
        assert_eq!(slug("default"), "default");
        assert_eq!(slug("ambassador-private"), "ambassador-private");
        let (upper, lower) = (slug("Edge"), slug("edge"));
        assert_ne!(upper, lower);
        assert!(upper.starts_with("edge-"), "{upper}");
        assert_eq!(upper.len(), "edge-".len() + 8);
        for odd in ["", "-", "a_b", "x".repeat(41).as_str(), "ö", "a.b"] {
            let slug = slug(odd);
            assert!(is_label(&slug), "{odd:?}: {slug}");
        }
        // SHA-256("abc_") begins with other digits than SHA-256("abc-_").
        assert_ne!(slug("abc_"), slug("abc-_"));
    }
}
