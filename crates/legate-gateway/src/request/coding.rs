//! Content codings (spec/services §3.10): what a client accepts, and which responses are compressed.

use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, HeaderValue, VARY,
};
use http::{HeaderMap, HeaderName, StatusCode};
use legate_config::http::Compression;

/// A way to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Gzip,
    Brotli,
    Zstd,
}

impl Coding {
    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }
}

/// What the client likes best of what we can do: gzip, and the others only where they are liked
/// better. `None`: it accepts none of them, or nothing at all better.
pub(crate) fn accepted(headers: &HeaderMap) -> Option<Coding> {
    let mut gzip = None;
    let mut brotli = None;
    let mut zstd = None;
    let mut identity = None;
    let mut any = None;
    for value in headers.get_all(ACCEPT_ENCODING) {
        for item in value.as_bytes().split(|byte| *byte == b',') {
            let mut parts = item.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let name = parts.next().unwrap_or_default();
            let slot = match name {
                b"*" => &mut any,
                _ if name.eq_ignore_ascii_case(b"gzip") => &mut gzip,
                _ if name.eq_ignore_ascii_case(b"x-gzip") => &mut gzip,
                _ if name.eq_ignore_ascii_case(b"br") => &mut brotli,
                _ if name.eq_ignore_ascii_case(b"zstd") => &mut zstd,
                _ if name.eq_ignore_ascii_case(b"identity") => &mut identity,
                _ => continue,
            };
            slot.get_or_insert(parts.find_map(quality).unwrap_or(1000));
        }
    }
    let any = any.unwrap_or(0);
    let zstd = if cfg!(feature = "zstd") {
        zstd.unwrap_or(any)
    } else {
        0
    };
    let mut best = (None, 0);
    for (coding, quality) in [
        (Coding::Gzip, gzip.unwrap_or(any)),
        (Coding::Brotli, brotli.unwrap_or(any)),
        (Coding::Zstd, zstd),
    ] {
        if quality > best.1 {
            best = (Some(coding), quality);
        }
    }
    best.0.filter(|_| identity.unwrap_or(0) <= best.1)
}

/// A `q` parameter in thousandths; what cannot be read is 0, so that nothing is sent by mistake.
fn quality(parameter: &[u8]) -> Option<u16> {
    let text = match parameter {
        [b'q' | b'Q', rest @ ..] => rest
            .trim_ascii_start()
            .strip_prefix(b"=")?
            .trim_ascii_start(),
        _ => return None,
    };
    let read = || {
        let (whole, rest) = match text {
            [whole @ (b'0' | b'1'), rest @ ..] => (u16::from(whole - b'0') * 1000, rest),
            _ => return None,
        };
        let digits = match rest {
            [] => return Some(whole),
            [b'.', digits @ ..] if digits.len() <= 3 => digits,
            _ => return None,
        };
        let mut fraction = 0;
        for at in 0..3 {
            let digit = match digits.get(at) {
                None => 0,
                Some(digit @ b'0'..=b'9') => u16::from(digit - b'0'),
                Some(_) => return None,
            };
            fraction = fraction * 10 + digit;
        }
        Some((whole + fraction).min(1000))
    };
    Some(read().unwrap_or(0))
}

/// Whether a response is compressed, and then its headers say so. `empty`: no body follows.
///
/// What could be compressed varies with the client, whether it is or not.
pub(crate) fn will_compress(
    settings: &Compression,
    coding: Option<Coding>,
    status: StatusCode,
    headers: &mut HeaderMap,
    empty: bool,
) -> Option<Coding> {
    if !is_compressible(settings, status, headers) {
        return None;
    }
    vary(headers);
    let coding = coding.filter(|_| !empty)?;
    if let Some(etag) = headers.get(ETAG) {
        if settings.not_with_etag {
            return None;
        }
        // It promises the very bytes.
        if !etag.as_bytes().starts_with(b"W/") {
            headers.remove(ETAG);
        }
    }
    headers.remove(CONTENT_LENGTH);
    let name = HeaderValue::from_static(coding.name());
    headers.insert(CONTENT_ENCODING, name);
    Some(coding)
}

fn is_compressible(settings: &Compression, status: StatusCode, headers: &HeaderMap) -> bool {
    // A part of the bytes makes no sense in other bytes.
    let partial = status == StatusCode::PARTIAL_CONTENT || headers.contains_key(CONTENT_RANGE);
    let bodiless = matches!(
        status,
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
    );
    !partial
        && !bodiless
        && !status.is_informational()
        && !headers.contains_key(CONTENT_ENCODING)
        && headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| is_listed(settings, kind))
        && headers
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<u64>().ok())
            .is_none_or(|length| length >= settings.min_length)
        && !has_token(headers, &CACHE_CONTROL, b"no-transform")
}

fn is_listed(settings: &Compression, kind: &HeaderValue) -> bool {
    let kind = kind.as_bytes();
    let kind = kind
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or(kind)
        .trim_ascii();
    // Its messages are compressed one by one, if at all.
    let grpc = kind
        .get(..16)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"application/grpc"));
    !grpc
        && settings
            .content_types
            .iter()
            .any(|listed| listed.as_bytes().eq_ignore_ascii_case(kind))
}

/// Adds `Accept-Encoding` to `vary`, if it is not there.
fn vary(headers: &mut HeaderMap) {
    if !has_token(headers, &VARY, b"accept-encoding") && !has_token(headers, &VARY, b"*") {
        headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &[u8]) -> bool {
    headers.get_all(name).iter().any(|value| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|item| item.trim_ascii().eq_ignore_ascii_case(token))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(text: &str) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_str(text).unwrap());
        accepted(&headers).map(Coding::name)
    }

    #[test]
    fn what_clients_accept() {
        for (text, expected) in [
            ("gzip", Some("gzip")),
            ("GZIP;q=0.5", Some("gzip")),
            ("x-gzip", Some("gzip")),
            ("gzip, deflate, br, zstd", Some("gzip")),
            ("br", Some("br")),
            ("gzip;q=0.8, br;q=0.9", Some("br")),
            ("gzip;q=0.9, br;q=0.9", Some("gzip")),
            ("gzip;q=0", None),
            ("gzip ; q = 0.000", None),
            ("*", Some("gzip")),
            ("gzip;q=0, *", Some("br")),
            ("*;q=0", None),
            ("identity, gzip;q=0.5", None),
            ("identity;q=0.5, gzip;q=0.5", Some("gzip")),
            ("gzip;q=often", None),
            ("gzip;q=1.5", Some("gzip")),
            ("deflate", None),
            ("", None),
        ] {
            assert_eq!(choice(text), expected, "{text}");
        }
        assert_eq!(accepted(&HeaderMap::new()), None);
    }

    #[cfg(feature = "zstd")]
    #[test]
    fn zstd_where_it_is_liked_best() {
        assert_eq!(choice("gzip;q=0.8, br;q=0.8, zstd"), Some("zstd"));
        assert_eq!(choice("br, zstd"), Some("br"));
    }
}
