//! Cross-origin resource sharing, of a Mapping or of the Module (spec/services §3.9).

use legate_api::Cors;
use legate_config::Code;
use legate_config::policy::CorsPolicy;

use super::matching::is_header_name;
use crate::codes;

/// What is wrong with a part of the settings; that part is left out.
pub(crate) struct Problem {
    pub(crate) code: Code,
    pub(crate) message: String,
}

/// Reads the settings; `bad` is told about parts that are left out, with their place below `cors`.
///
/// Every list may be written as one text with commas, and so may an entry of a list.
pub(crate) fn cors_policy(cors: &Cors, mut bad: impl FnMut(&str, Problem)) -> CorsPolicy {
    let mut list = |field: &str, written: &Option<Vec<String>>, check: fn(&str) -> bool, what| {
        let mut found: Vec<String> = Vec::new();
        for (index, entry) in written.iter().flatten().enumerate() {
            for item in entry
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
            {
                if !check(item) {
                    bad(
                        &format!("{field}[{index}]"),
                        wrong(format!("`{item}` is {what}")),
                    );
                } else if !found.iter().any(|other| other == item) {
                    found.push(item.to_owned());
                }
            }
        }
        found
    };
    let origins = list(
        "origins",
        &cors.origins,
        is_origin,
        "no origin: that is `*`, `null` or `scheme://host`, with a port or without, and no path",
    );
    let token = |name: &str| is_header_name(&name.to_ascii_lowercase());
    let methods = list("methods", &cors.methods, token, "no method");
    let headers = list("headers", &cors.headers, token, "no header name");
    let exposed = list(
        "exposed_headers",
        &cors.exposed_headers,
        token,
        "no header name",
    );
    let joined = |list: Vec<String>| (!list.is_empty()).then(|| list.join(", "));
    let max_age = cors.max_age.as_deref().map(str::trim).and_then(|text| {
        let age = text.parse().ok();
        if age.is_none() {
            bad(
                "max_age",
                wrong(format!("`{text}` is no whole number of seconds")),
            );
        }
        age
    });
    let policy = CorsPolicy {
        origins,
        methods: joined(methods),
        headers: joined(headers),
        exposed_headers: joined(exposed),
        credentials: cors.credentials.unwrap_or(false),
        max_age,
    };
    // Without any setting it says: not here, whatever the Module's default is.
    if policy.origins.is_empty() && policy != CorsPolicy::default() {
        let message = "no origin is allowed, so the other settings have no effect".to_owned();
        bad(
            "origins",
            Problem {
                code: codes::W_IGNORED,
                message,
            },
        );
    }
    policy
}

fn wrong(message: String) -> Problem {
    Problem {
        code: codes::E_POLICY_CORS,
        message,
    }
}

/// Whether a browser may send this as an origin.
fn is_origin(text: &str) -> bool {
    if matches!(text, "*" | "null") {
        return true;
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let scheme_fits = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    scheme_fits
        && !rest.is_empty()
        && rest.bytes().all(|byte| {
            byte.is_ascii_graphic() && !matches!(byte, b'/' | b'?' | b'#' | b'@' | b'*')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_an_origin() {
        for text in [
            "*",
            "null",
            "https://a.test",
            "http://[::1]:8080",
            "chrome-extension://x",
        ] {
            assert!(is_origin(text), "{text}");
        }
        for text in [
            "a.test",
            "https://",
            "https://a.test/",
            "https://*.a.test",
            "://a",
            "https://a b",
        ] {
            assert!(!is_origin(text), "{text}");
        }
    }
}
