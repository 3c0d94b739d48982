//! What side services want changed of a request or its response: headers and query parameters
//! (spec/services §1.7).

use std::borrow::Cow;

use http::header::{COOKIE, HeaderName, HeaderValue};
use http::{HeaderMap, header};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::grpc::types::{HeaderValueOption, QueryParameter};

/// Headers that frame a message or belong to its connection, and the host: nobody else sets or
/// removes them.
const FRAMING: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What cannot stand in a name or value of a query. Escapes that are there already stay.
const QUERY: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'&')
    .add(b'<')
    .add(b'>')
    .add(b'`');
const QUERY_NAME: &AsciiSet = &QUERY.add(b'=');

/// A change of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeaderEdit {
    /// Which one.
    pub(crate) name: HeaderName,
    /// The value.
    pub(crate) value: HeaderValue,
    how: How,
}

/// What becomes of values that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// They go.
    Overwrite,
    /// The new one joins them.
    Append,
    /// They stay, and there is no new one.
    IfAbsent,
    /// They go; where there are none, there is no new one.
    IfPresent,
}

/// Whether nobody but us may set or remove a header.
pub(crate) fn is_framing(name: &HeaderName) -> bool {
    FRAMING.contains(name)
}

impl HeaderEdit {
    /// Reads a change; `None` when it cannot be made.
    pub(crate) fn read(option: &HeaderValueOption) -> Option<Self> {
        let header = option.header.as_ref()?;
        let name = HeaderName::from_bytes(header.key.as_bytes()).ok()?;
        let value = HeaderValue::from_bytes(header.bytes()).ok()?;
        // The older switch goes first, and neither means to overwrite.
        let how = match (option.append, option.append_action) {
            (Some(true), _) => How::Append,
            (Some(false), _) | (None, 0 | 2) => How::Overwrite,
            (None, 1) => How::IfAbsent,
            (None, 3) => How::IfPresent,
            (None, _) => return None,
        };
        (!is_framing(&name)).then_some(Self { name, value, how })
    }

    /// Changes a request's headers. Values are joined in one line.
    pub(crate) fn apply_to_request(&self, headers: &mut HeaderMap) {
        let old = headers.get_all(&self.name);
        let separator: &[u8] = if self.name == COOKIE { b"; " } else { b"," };
        let joined = match self.how {
            How::Append => {
                let mut joined = Vec::new();
                for value in old.iter().chain([&self.value]) {
                    if !joined.is_empty() {
                        joined.extend_from_slice(separator);
                    }
                    joined.extend_from_slice(value.as_bytes());
                }
                HeaderValue::from_bytes(&joined).ok()
            }
            _ => self
                .replaces(headers.contains_key(&self.name))
                .then(|| self.value.clone()),
        };
        if let Some(value) = joined {
            headers.insert(self.name.clone(), value);
        }
    }

    /// Changes a response's headers. Values are lines of their own, as cookies must be.
    pub(crate) fn apply_to_response(&self, headers: &mut HeaderMap) {
        if self.how == How::Append {
            headers.append(self.name.clone(), self.value.clone());
        } else if self.replaces(headers.contains_key(&self.name)) {
            headers.insert(self.name.clone(), self.value.clone());
        }
    }

    fn replaces(&self, present: bool) -> bool {
        match self.how {
            How::Overwrite | How::Append => true,
            How::IfAbsent => !present,
            How::IfPresent => present,
        }
    }
}

/// A query with some parameters removed and others set. A name is the same however it is escaped.
pub(crate) fn query_with(
    query: Option<&str>,
    set: &[QueryParameter],
    remove: &[String],
) -> Option<String> {
    let is = |pair: &str, name: &str| {
        let found = pair.split_once('=').map_or(pair, |(name, _)| name);
        found == name || decoded(found) == decoded(name)
    };
    let mut pairs: Vec<Cow<'_, str>> = query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .filter(|pair| !pair.is_empty())
        .map(Cow::Borrowed)
        .collect();
    for parameter in set {
        pairs.retain(|pair| !is(pair, &parameter.key));
        let name = utf8_percent_encode(&parameter.key, QUERY_NAME);
        let value = utf8_percent_encode(&parameter.value, QUERY);
        pairs.push(format!("{name}={value}").into());
    }
    for name in remove {
        pairs.retain(|pair| !is(pair, name));
    }
    (!pairs.is_empty()).then(|| pairs.join("&"))
}

fn decoded(name: &str) -> Vec<u8> {
    let plain = name.replace('+', " ");
    percent_decode_str(&plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::types;

    fn option(key: &str, value: &str, append: Option<bool>, action: i32) -> HeaderValueOption {
        HeaderValueOption {
            header: Some(types::HeaderValue {
                key: key.to_owned(),
                value: value.to_owned(),
                raw_value: bytes::Bytes::new(),
            }),
            append,
            append_action: action,
        }
    }

    fn applied(option: &HeaderValueOption, request: bool) -> Vec<String> {
        let mut headers = HeaderMap::new();
        headers.append("x-old", HeaderValue::from_static("a"));
        headers.append("x-old", HeaderValue::from_static("b"));
        let edit = HeaderEdit::read(option).unwrap();
        if request {
            edit.apply_to_request(&mut headers);
        } else {
            edit.apply_to_response(&mut headers);
        }
        let values = headers.get_all(&edit.name).iter();
        values
            .map(|value| value.to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn the_older_switch_goes_first_and_overwriting_is_the_default() {
        for (append, action, old, new) in [
            (None, 0, "c", "c"),
            (None, 2, "c", "c"),
            (Some(false), 1, "c", "c"),
            (Some(true), 2, "a,b,c", "c"),
            (None, 1, "a b", "c"),
            (None, 3, "c", ""),
        ] {
            let found = applied(&option("X-Old", "c", append, action), true);
            assert_eq!(found.join(" "), old, "{append:?} {action}");
            let found = applied(&option("x-new", "c", append, action), true);
            assert_eq!(found.join(" "), new, "{append:?} {action}");
        }
        let found = applied(&option("x-old", "c", Some(true), 0), false);
        assert_eq!(found, ["a", "b", "c"]);
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for (key, value, action) in [
            ("", "v", 0),
            ("a b", "v", 0),
            (":path", "/", 0),
            ("x", "a\r\nb: c", 0),
            ("x", "\0", 0),
            ("host", "h", 0),
            ("Content-Length", "1", 0),
            ("x", "v", 9),
        ] {
            let option = option(key, value, None, action);
            assert_eq!(HeaderEdit::read(&option), None, "{key} {value}");
        }
    }

    #[test]
    fn queries() {
        let set = |key: &str, value: &str| QueryParameter {
            key: key.to_owned(),
            value: value.to_owned(),
        };
        let set = [set("b", "x y&z"), set("c=", "%41")];
        let remove = ["gone".to_owned()];
        for (query, expected) in [
            (None, Some("b=x%20y%26z&c%3D=%41")),
            (
                Some("a=1&b=2&B=3&g%6Fne=4&gone&&b"),
                Some("a=1&B=3&b=x%20y%26z&c%3D=%41"),
            ),
        ] {
            assert_eq!(query_with(query, &set, &remove).as_deref(), expected);
        }
        assert_eq!(query_with(Some("gone=1"), &[], &remove), None);
    }
}
