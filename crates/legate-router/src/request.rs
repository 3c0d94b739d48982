//! What routing knows of a request.

use http::HeaderMap;
use http::header::HeaderName;

/// A request as the router sees it. Borrows everything.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'a> {
    /// The method, as sent.
    pub method: &'a str,
    /// The Host, lower-case, with its port unless that was stripped.
    pub host: &'a str,
    /// The normalised path, without query.
    pub path: &'a str,
    /// The query, without its `?`.
    pub query: Option<&'a str>,
    /// The headers.
    pub headers: &'a HeaderMap,
}

/// The value of a header: several of one name count as one, joined with `,`.
pub(crate) enum HeaderText<'a> {
    One(&'a [u8]),
    Several(http::header::GetAll<'a, http::HeaderValue>),
}

impl<'a> RequestView<'a> {
    /// The raw value of the first query parameter of a name; `?flag` has the value "".
    pub(crate) fn query_value(&self, name: &[u8]) -> Option<&'a [u8]> {
        let mut rest = self.query?.as_bytes();
        loop {
            let (pair, more) = match memchr::memchr(b'&', rest) {
                Some(at) => (rest.get(..at)?, rest.get(at + 1..)),
                None => (rest, None),
            };
            let (found, value): (_, &'a [u8]) = match memchr::memchr(b'=', pair) {
                Some(at) => (pair.get(..at)?, pair.get(at + 1..)?),
                None => (pair, b""),
            };
            // `?` and `a&&b` hold no parameter between the separators.
            if found == name && !pair.is_empty() {
                return Some(value);
            }
            rest = more?;
        }
    }

    /// The value of a header, if it is present.
    pub(crate) fn header(&self, name: &HeaderName) -> Option<HeaderText<'a>> {
        let all = self.headers.get_all(name);
        let mut values = all.iter();
        let first = values.next()?;
        Some(if values.next().is_none() {
            HeaderText::One(first.as_bytes())
        } else {
            HeaderText::Several(all)
        })
    }
}

/// The parts of a joined value, its commas included.
pub(crate) fn joined<'a>(
    all: &http::header::GetAll<'a, http::HeaderValue>,
) -> impl Iterator<Item = &'a [u8]> {
    all.iter().enumerate().flat_map(|(index, value)| {
        let comma: &[u8] = if index == 0 { b"" } else { b"," };
        [comma, value.as_bytes()]
    })
}

/// Whether the parts together are the text.
pub(crate) fn parts_equal<'a>(parts: impl Iterator<Item = &'a [u8]>, text: &[u8]) -> bool {
    let mut rest = text;
    for part in parts {
        match rest.strip_prefix(part) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value<'a>(query: &'a str, name: &str, headers: &'a HeaderMap) -> Option<&'a str> {
        let request = RequestView {
            method: "GET",
            host: "a.test",
            path: "/",
            query: Some(query),
            headers,
        };
        request
            .query_value(name.as_bytes())
            .map(|value| std::str::from_utf8(value).expect("from a str"))
    }

    #[test]
    fn first_query_value_counts_and_is_raw() {
        let none = HeaderMap::new();
        assert_eq!(value("a=1&a=2", "a", &none), Some("1"));
        assert_eq!(value("xa=1", "a", &none), None);
        assert_eq!(value("b&a", "a", &none), Some(""));
        assert_eq!(value("a=%41=b", "a", &none), Some("%41=b"));
        assert_eq!(value("", "", &none), None);
        assert_eq!(value("a&&b", "", &none), None);
        assert_eq!(value("=x", "", &none), Some("x"));
    }

    #[test]
    fn repeated_headers_are_joined() {
        let mut headers = HeaderMap::new();
        headers.append("x-a", http::HeaderValue::from_static("1"));
        headers.append("x-a", http::HeaderValue::from_static("2"));
        let all = headers.get_all("x-a");
        assert!(parts_equal(joined(&all), b"1,2"));
        assert!(!parts_equal(joined(&all), b"1,2,"));
        assert!(!parts_equal(joined(&all), b"1,"));
    }
}
