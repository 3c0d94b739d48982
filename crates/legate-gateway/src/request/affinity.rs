//! What of a request decides about its endpoint (spec/services §3.8).

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::{COOKIE, HOST, HeaderName, HeaderValue};
use legate_config::policy::{HashCookie, HashSource};
use smallvec::SmallVec;
use xxhash_rust::xxh64::{Xxh64, xxh64};

use super::client::ClientAddress;

/// All replicas hash alike.
const SEED: u64 = 0;

/// What of a request is hashed.
#[derive(Debug, Clone)]
pub(crate) enum CompiledHash {
    /// A cookie.
    Cookie(CompiledCookie),
    /// All values of a header.
    Header(HeaderName),
    /// The trusted client address.
    SourceIp,
}

/// A cookie that keeps a client at its endpoint.
#[derive(Debug, Clone)]
pub(crate) struct CompiledCookie {
    name: Box<[u8]>,
    /// What follows the value of a cookie that we make; `None` = we make none.
    attributes: Option<Box<str>>,
}

// === impl CompiledHash ===

impl CompiledHash {
    /// Prepares a source.
    ///
    /// # Errors
    /// A header that is none.
    pub(crate) fn build(source: &HashSource) -> Result<Self, String> {
        Ok(match source {
            HashSource::Cookie(cookie) => Self::Cookie(CompiledCookie::build(cookie)),
            // HTTP/2's name for what we keep as `host`.
            HashSource::Header(name) if name == ":authority" => Self::Header(HOST),
            HashSource::Header(name) => Self::Header(
                HeaderName::from_bytes(name.as_bytes())
                    .map_err(|_| format!("`{name}` is no header name"))?,
            ),
            HashSource::SourceIp => Self::SourceIp,
        })
    }

    /// The hash of a request, and the cookie that its response is to set.
    pub(crate) fn read(
        &self,
        headers: &HeaderMap,
        client: &ClientAddress,
        local: Option<SocketAddr>,
    ) -> (Option<u64>, Option<HeaderValue>) {
        match self {
            Self::Cookie(cookie) => match cookie.find(headers) {
                Some(value) => (Some(xxh64(value, SEED)), None),
                None => cookie.make(client, local),
            },
            Self::Header(name) => (hash_values(headers, name), None),
            Self::SourceIp => {
                let key = match client.trusted {
                    IpAddr::V4(ip) => xxh64(&ip.octets(), SEED),
                    IpAddr::V6(ip) => xxh64(&ip.octets(), SEED),
                };
                (Some(key), None)
            }
        }
    }
}

/// The hash of all values of a header, in whatever order they came.
fn hash_values(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let mut values: SmallVec<[&[u8]; 4]> = SmallVec::new();
    values.extend(headers.get_all(name).iter().map(HeaderValue::as_bytes));
    values.sort_unstable();
    let (first, others) = values.split_first()?;
    let mut hash = Xxh64::new(SEED);
    hash.update(first);
    for value in others {
        // No value holds one.
        hash.update(b"\n");
        hash.update(value);
    }
    Some(hash.digest())
}

// === impl CompiledCookie ===

impl CompiledCookie {
    fn build(cookie: &HashCookie) -> Self {
        let attributes = cookie.ttl_secs.map(|secs| {
            let age = match secs {
                0 => String::new(),
                secs => format!("; Max-Age={secs}"),
            };
            let path = match &cookie.path {
                Some(path) => format!("; Path={path}"),
                None => String::new(),
            };
            format!("{age}{path}; HttpOnly").into()
        });
        Self {
            name: cookie.name.as_bytes().into(),
            attributes,
        }
    }

    /// The cookie's value as the client sent it, without quotes around it; none that is empty.
    fn find<'h>(&self, headers: &'h HeaderMap) -> Option<&'h [u8]> {
        let lines = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
        let pairs = lines.flat_map(|line| line.split(|byte| *byte == b';'));
        let mut values = pairs.filter_map(|pair| {
            let pair = pair.trim_ascii();
            let at = pair.iter().position(|byte| *byte == b'=')?;
            let (name, value) = pair.split_at_checked(at)?;
            let value = value.strip_prefix(b"=")?;
            (name.trim_ascii_end() == &*self.name).then_some(value.trim_ascii_start())
        });
        let value = values.next()?;
        let bare = value
            .strip_prefix(b"\"")
            .and_then(|value| value.strip_suffix(b"\""))
            .unwrap_or(value);
        (!bare.is_empty()).then_some(bare)
    }

    /// A value of our own, if we may make one. It is the connection's, so that requests which race on
    /// it get one.
    fn make(
        &self,
        client: &ClientAddress,
        local: Option<SocketAddr>,
    ) -> (Option<u64>, Option<HeaderValue>) {
        let Some(attributes) = &self.attributes else {
            return (None, None);
        };
        let local = local.map(|it| it.to_string()).unwrap_or_default();
        let seed = format!("{}{local}{}", client.peer, client.trusted);
        let value = format!("{:016x}", xxh64(seed.as_bytes(), SEED));
        let name = String::from_utf8_lossy(&self.name);
        let cookie = HeaderValue::try_from(format!("{name}=\"{value}\"{attributes}"));
        (Some(xxh64(value.as_bytes(), SEED)), cookie.ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(port: u16) -> ClientAddress {
        ClientAddress {
            peer: SocketAddr::from(([10, 0, 0, 1], port)),
            trusted: IpAddr::from([203, 0, 113, 9]),
        }
    }

    fn cookie(ttl_secs: Option<u64>, path: Option<&str>) -> CompiledHash {
        CompiledHash::build(&HashSource::Cookie(HashCookie {
            name: "sid".to_owned(),
            path: path.map(str::to_owned),
            ttl_secs,
        }))
        .unwrap()
    }

    fn headers(list: &[(HeaderName, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(HeaderName, &'static str)| {
            (name.clone(), HeaderValue::from_static(value))
        };
        let mut map = HeaderMap::new();
        for (name, value) in list.iter().map(pair) {
            map.append(name, value);
        }
        map
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let source = cookie(Some(600), None);
        let key = |text: &'static str| {
            let (key, cookie) = source.read(&headers(&[(COOKIE, text)]), &client(1), None);
            assert_eq!(cookie, None, "{text}");
            key
        };
        let expected = Some(xxh64(b"bob", 0));
        for text in [
            "sid=bob",
            "sid=\"bob\"",
            "a=1; sid=bob; b=2",
            "xsid=no;sid=bob",
            "  sid = bob ",
            "sid=bob; sid=other",
        ] {
            assert_eq!(key(text), expected, "{text}");
        }
        let two = headers(&[(COOKIE, "a=1"), (COOKIE, "sid=bob")]);
        assert_eq!(source.read(&two, &client(1), None).0, expected);
    }

    #[test]
    fn a_missing_cookie_is_made_where_it_may_live() {
        let local = Some(SocketAddr::from(([10, 0, 0, 2], 8080)));
        let made = |source: &CompiledHash, client: &ClientAddress, sent: &'static str| {
            let (key, cookie) = source.read(&headers(&[(COOKIE, sent)]), client, local);
            (key, cookie.map(|it| it.to_str().unwrap().to_owned()))
        };
        let seed = "10.0.0.1:110.0.0.2:8080203.0.113.9";
        let value = format!("{:016x}", xxh64(seed.as_bytes(), 0));
        for (source, expected) in [
            (
                cookie(Some(600), Some("/app")),
                format!("sid=\"{value}\"; Max-Age=600; Path=/app; HttpOnly"),
            ),
            (cookie(Some(0), None), format!("sid=\"{value}\"; HttpOnly")),
        ] {
            for sent in ["", "a=b", "sid=", "sid=\"\"", "sid"] {
                let (key, cookie) = made(&source, &client(1), sent);
                assert_eq!(cookie.as_ref(), Some(&expected), "{sent}");
                // The client's next request has the same key.
                assert_eq!(key, Some(xxh64(value.as_bytes(), 0)));
            }
        }
        let source = cookie(Some(600), None);
        assert_ne!(
            made(&source, &client(1), "").0,
            made(&source, &client(2), "").0
        );
        assert_eq!(made(&cookie(None, None), &client(1), ""), (None, None));
    }

    #[test]
    fn headers_and_addresses_are_keys() {
        let name = HeaderName::from_static("x-user");
        let source = CompiledHash::build(&HashSource::Header("x-user".to_owned())).unwrap();
        let key = |map: &HeaderMap| source.read(map, &client(1), None);
        let (one, other) = ((name.clone(), "bob"), (name, "eve"));
        assert_eq!(key(&headers(&[])), (None, None));
        let bob = key(&headers(std::slice::from_ref(&one)));
        assert_eq!(bob, (Some(xxh64(b"bob", 0)), None));
        let both = key(&headers(&[one.clone(), other.clone()]));
        assert_eq!(both, key(&headers(&[other, one])));
        assert_ne!(both, bob);

        let authority = HashSource::Header(":authority".to_owned());
        let authority = CompiledHash::build(&authority).unwrap();
        let host = headers(&[(HOST, "a.test")]);
        assert!(authority.read(&host, &client(1), None).0.is_some());

        let source = CompiledHash::build(&HashSource::SourceIp).unwrap();
        let found = source.read(&HeaderMap::new(), &client(1), None);
        assert_eq!(found, (Some(xxh64(&[203, 0, 113, 9], 0)), None));
        assert_eq!(found, source.read(&HeaderMap::new(), &client(2), None));
    }
}
