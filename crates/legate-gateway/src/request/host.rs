//! Which host a request is for (spec/routing §3.6, spec/services §5.4).

use std::borrow::Cow;

use http::header::HOST;
use http::{HeaderMap, Uri};

/// Why a request has no usable host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HostError {
    /// There is none, or an empty one.
    Missing,
    /// There are several, or it holds what no host holds (user information, blanks, …).
    Invalid,
}

/// The host of a request: lower-case, port included. The authority of an absolute-form URI (or
/// HTTP/2's `:authority`) wins over the `Host` header. With `strip_ports`, a port that is one of
/// them (the listener's, declared or bound) is removed.
pub(crate) fn effective_host<'a>(
    uri: &'a Uri,
    headers: &'a HeaderMap,
    strip_ports: Option<&[u16]>,
) -> Result<Cow<'a, str>, HostError> {
    let raw = raw_host(uri, headers)?;
    let mut upper = false;
    for byte in raw.bytes() {
        match CLASS.get(usize::from(byte)) {
            Some(&PLAIN) => {}
            Some(&UPPER) => upper = true,
            _ => return Err(HostError::Invalid),
        }
    }
    let host = match strip_ports {
        Some(ports) => without_port(raw, ports),
        None => raw,
    };
    if host.is_empty() {
        return Err(HostError::Missing);
    }
    Ok(if upper {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    })
}

fn raw_host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Result<&'a str, HostError> {
    if let Some(authority) = uri.authority() {
        return Ok(authority.as_str());
    }
    let mut values = headers.get_all(HOST).iter();
    let first = values.next().ok_or(HostError::Missing)?;
    if values.next().is_some() {
        return Err(HostError::Invalid);
    }
    let text = std::str::from_utf8(first.as_bytes()).map_err(|_| HostError::Invalid)?;
    if text.is_empty() {
        return Err(HostError::Missing);
    }
    Ok(text)
}

/// Registered names, IP literals and a port; `%` and the sub-delimiters because RFC 3986 has them.
/// No `@`: user information is refused.
const fn class(byte: u8) -> u8 {
    match byte {
        b'A'..=b'Z' => UPPER,
        b'a'..=b'z' | b'0'..=b'9' => PLAIN,
        b'-' | b'.' | b'_' | b'~' | b':' | b'[' | b']' | b'%' => PLAIN,
        b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' => PLAIN,
        _ => FOREIGN,
    }
}

const FOREIGN: u8 = 0;
const PLAIN: u8 = 1;
const UPPER: u8 = 2;

#[allow(
    clippy::indexing_slicing,
    reason = "evaluated when compiling, where out of bounds is an error"
)]
static CLASS: [u8; 256] = {
    let mut table = [FOREIGN; 256];
    let mut byte = 0_u8;
    loop {
        table[byte as usize] = class(byte);
        if byte == u8::MAX {
            break;
        }
        byte += 1;
    }
    table
};

fn without_port<'a>(host: &'a str, ports: &[u16]) -> &'a str {
    let Some((name, port)) = host.rsplit_once(':') else {
        return host;
    };
    // The colon of a bare IPv6 literal is no port separator.
    let bare_v6 = name.contains(':') && !name.ends_with(']');
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if !bare_v6 && digits && port.parse().is_ok_and(|port| ports.contains(&port)) {
        name
    } else {
        host
    }
}

#[cfg(test)]
mod tests {
    use super::HostError::{Invalid, Missing};
    use super::*;
    use crate::request::tests_support::headers;

    /// URI, Host headers, ports to strip, host.
    type Row = (
        &'static str,
        &'static [&'static str],
        Option<&'static [u16]>,
        Result<&'static str, HostError>,
    );

    #[rustfmt::skip] // One row per line.
    const ROWS: &[Row] = &[
    ("/", &["a.test"], None, Ok("a.test")),
    ("/", &["A.Test:8080"], None, Ok("a.test:8080")),
    ("http://b.test:81/x", &["a.test"], None, Ok("b.test:81")),
    ("http://B.test/x", &[], None, Ok("b.test")),
    ("/", &[], None, Err(Missing)),
    ("/", &[""], None, Err(Missing)),
    ("/", &["a.test", "b.test"], None, Err(Invalid)),
    ("/", &["user@a.test"], None, Err(Invalid)),
    ("http://user@a.test/", &[], None, Err(Invalid)),
    ("/", &["a.test/x"], None, Err(Invalid)),
    ("/", &["a b"], None, Err(Invalid)),
    ("/", &["\u{e4}.test"], None, Err(Invalid)),
    ("/", &["a.test:8080"], Some(&[8080]), Ok("a.test")),
    ("/", &["a.test:18080"], Some(&[8080, 18080]), Ok("a.test")),
    ("/", &["a.test:81"], Some(&[8080]), Ok("a.test:81")),
    ("/", &["a.test:08080"], Some(&[8080]), Ok("a.test")),
    ("/", &["a.test:"], Some(&[8080]), Ok("a.test:")),
    ("/", &["a.test:+8080"], Some(&[8080]), Ok("a.test:+8080")),
    ("/", &["[::1]:8080"], Some(&[8080]), Ok("[::1]")),
    ("/", &["::8080"], Some(&[8080]), Ok("::8080")),
    ("/", &[":8080"], Some(&[8080]), Err(Missing)),
    ("/", &["a.test:99999"], Some(&[8080]), Ok("a.test:99999")),
    ];

    #[test]
    fn the_host_comes_from_the_authority_or_the_header() {
        for (uri, hosts, strip, expected) in ROWS {
            let uri: Uri = uri.parse().unwrap();
            let pairs: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            let map = headers(&pairs);
            let host = effective_host(&uri, &map, *strip);
            assert_eq!(
                host.as_deref().map_err(|error| *error),
                *expected,
                "{uri} {hosts:?}"
            );
        }
    }
}
