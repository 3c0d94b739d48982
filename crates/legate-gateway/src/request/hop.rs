//! Hop-by-hop headers (spec/services §5.4), both directions.

use http::HeaderMap;
use http::header::{CONNECTION, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE};

use crate::reply::Reply;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// Tokens in `Connection` from which on a request is refused.
const TOO_MANY_TOKENS: usize = 10;
/// Bytes of `te` beyond which naming it in `Connection` is refused.
const TE_LIMIT: usize = 255;

/// Refuses a request whose `Connection` header would remove what it must not, or is abusive.
pub(crate) fn check_connection_header(headers: &HeaderMap) -> Result<(), Reply> {
    let mut count = 0_usize;
    for token in tokens(headers) {
        count = count.saturating_add(1);
        let forbidden = token.first() == Some(&b':')
            || [
                &b"x-forwarded-for"[..],
                b"x-forwarded-host",
                b"x-forwarded-proto",
            ]
            .iter()
            .any(|name| token.eq_ignore_ascii_case(name));
        let long_te = token.eq_ignore_ascii_case(b"te")
            && headers
                .get_all(TE)
                .iter()
                .map(HeaderValue::len)
                .sum::<usize>()
                > TE_LIMIT;
        if forbidden || long_te || count >= TOO_MANY_TOKENS {
            return Err(Reply::bad_connection_header());
        }
    }
    Ok(())
}

/// Removes what concerns one connection only. With `keep_upgrade`, `upgrade` and a `connection`
/// that names it stay.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap, keep_upgrade: bool) {
    HopHeaders::scan(headers).strip(headers, keep_upgrade);
}

/// Which of the headers are there: one walk over the names instead of a hashed look-up for each.
#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one independent answer per header"
)]
pub(crate) struct HopHeaders {
    /// `connection`
    pub(crate) connection: bool,
    keep_alive: bool,
    proxy_connection: bool,
    transfer_encoding: bool,
    te: bool,
    /// `trailer`
    pub(crate) trailer: bool,
    /// `upgrade`
    pub(crate) upgrade: bool,
}

impl HopHeaders {
    /// Looks which are there.
    pub(crate) fn scan(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for name in headers.keys() {
            match name.as_str() {
                "connection" => found.connection = true,
                "keep-alive" => found.keep_alive = true,
                "proxy-connection" => found.proxy_connection = true,
                "transfer-encoding" => found.transfer_encoding = true,
                "te" => found.te = true,
                "trailer" => found.trailer = true,
                "upgrade" => found.upgrade = true,
                _ => {}
            }
        }
        found
    }

    /// As [`strip_hop_by_hop`], of the headers that were scanned.
    pub(crate) fn strip(&self, headers: &mut HeaderMap, keep_upgrade: bool) {
        if self.connection {
            for name in nominated(headers) {
                headers.remove(name);
            }
            headers.remove(CONNECTION);
        }
        if self.keep_alive {
            headers.remove(KEEP_ALIVE);
        }
        if self.proxy_connection {
            headers.remove(PROXY_CONNECTION);
        }
        if self.transfer_encoding {
            headers.remove(TRANSFER_ENCODING);
        }
        if self.te {
            reduce_te(headers);
        }
        if self.upgrade {
            if keep_upgrade {
                headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            } else {
                headers.remove(UPGRADE);
            }
        }
    }
}

/// Names in `Connection` whose headers go with it. Headers that frame or address the message are
/// never among them, and those of this module are dealt with one by one.
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    let mut names = Vec::new();
    for token in tokens(headers) {
        let handled = [
            &b"close"[..],
            b"keep-alive",
            b"upgrade",
            b"te",
            b"host",
            b"content-length",
        ]
        .iter()
        .any(|known| token.eq_ignore_ascii_case(known));
        if !handled && let Ok(name) = HeaderName::from_bytes(token) {
            names.push(name);
        }
    }
    names
}

fn tokens(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

fn reduce_te(headers: &mut HeaderMap) {
    let trailers = headers.get_all(TE).iter().any(|value| {
        value.as_bytes().split(|byte| *byte == b',').any(|coding| {
            let name = coding.split(|byte| *byte == b';').next().unwrap_or(coding);
            name.trim_ascii().eq_ignore_ascii_case(b"trailers")
        })
    });
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    } else {
        headers.remove(TE);
    }
}

#[cfg(test)]
mod tests;
