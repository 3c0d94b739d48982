//! gRPC-Web: gRPC whose trailers are the last message of the body, for clients that see no trailers.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, TE};
use http::{HeaderMap, HeaderName};

use super::text::Encoder;

const GRPC: &[u8] = b"application/grpc";
const WEB: &[u8] = b"application/grpc-web";
const WEB_TEXT: &[u8] = b"application/grpc-web-text";

/// Flag of the message that holds the trailers.
const TRAILERS: u8 = 0x80;

/// How a client speaks gRPC-Web.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WebForm {
    /// Whether its request is base64.
    pub(crate) sends_text: bool,
    /// Whether its response is.
    pub(crate) wants_text: bool,
}

/// Writes a response body in a client's form.
#[derive(Debug)]
pub(crate) struct Writer {
    text: Option<Encoder>,
    /// Trailers that came before the body.
    early: HeaderMap,
}

/// Makes the headers of a gRPC-Web request those of the gRPC request that it stands for. `None`, and
/// nothing is changed, where it is none.
pub(crate) fn ask(headers: &mut HeaderMap) -> Option<WebForm> {
    let sends_text = is_text(media_type(headers.get(CONTENT_TYPE)?.as_bytes()))?;
    let mut accepted = headers
        .get_all(ACCEPT)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|item| is_text(media_type(item)));
    let wants_text = accepted.next().unwrap_or(sends_text);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    // The body's length is another, or would be in front of a body that says its end itself.
    headers.remove(CONTENT_LENGTH);
    Some(WebForm {
        sends_text,
        wants_text,
    })
}

/// Whether a response is gRPC.
pub(crate) fn is_grpc_response(headers: &HeaderMap) -> bool {
    subtype(headers).is_some()
}

/// What follows `application/grpc` in the type of a gRPC message.
fn subtype(headers: &HeaderMap) -> Option<&[u8]> {
    let kind = media_type(headers.get(CONTENT_TYPE)?.as_bytes());
    let rest = kind.strip_prefix(GRPC)?;
    matches!(rest.first(), None | Some(b'+')).then_some(rest)
}

fn media_type(value: &[u8]) -> &[u8] {
    let kind = value.split(|byte| *byte == b';').next();
    kind.unwrap_or_default().trim_ascii()
}

/// Whether a media type of gRPC-Web is a text form; `None` where it is no such type.
fn is_text(kind: &[u8]) -> Option<bool> {
    let is = |base: &[u8]| match kind.split_at_checked(base.len()) {
        Some((start, rest)) => {
            start.eq_ignore_ascii_case(base)
                && (rest.is_empty() || rest.eq_ignore_ascii_case(b"+proto"))
        }
        None => false,
    };
    if is(WEB_TEXT) {
        Some(true)
    } else {
        is(WEB).then_some(false)
    }
}

impl WebForm {
    /// Gives the headers of a gRPC response the client's form. Of one that consists of trailers only
    /// these are taken out, to be sent as a frame.
    pub(crate) fn answer(self, headers: &mut HeaderMap) -> HeaderMap {
        let form = if self.wants_text { WEB_TEXT } else { WEB };
        let subtype = subtype(headers).filter(|it| !it.is_empty());
        let kind = [form, subtype.unwrap_or(b"+proto")].concat();
        if let Ok(kind) = HeaderValue::from_bytes(&kind) {
            headers.insert(CONTENT_TYPE, kind);
        }
        headers.remove(CONTENT_LENGTH);
        const STATUS: [HeaderName; 3] = [
            HeaderName::from_static("grpc-status"),
            HeaderName::from_static("grpc-message"),
            HeaderName::from_static("grpc-status-details-bin"),
        ];
        let mut trailers = HeaderMap::new();
        for name in STATUS {
            if let Some(value) = headers.remove(&name) {
                trailers.insert(name, value);
            }
        }
        trailers
    }

    /// What writes the response's body. `early` are its trailers where no others follow.
    pub(crate) fn writer(self, early: HeaderMap) -> Writer {
        Writer {
            text: self.wants_text.then(Encoder::default),
            early,
        }
    }
}

impl Writer {
    /// A piece of the body in the client's form; perhaps empty.
    pub(crate) fn push(&mut self, data: Bytes) -> Bytes {
        match &mut self.text {
            Some(text) => text.push(&data),
            None => data,
        }
    }

    /// The end of the body, with trailers where there are any.
    pub(crate) fn finish(&mut self, trailers: Option<&HeaderMap>) -> Bytes {
        let early = Some(&self.early).filter(|early| !early.is_empty());
        let frame = trailers.or(early).map(trailer_frame).unwrap_or_default();
        match &mut self.text {
            Some(text) => text.finish(&frame),
            None => frame,
        }
    }
}

/// The message that holds trailers.
fn trailer_frame(trailers: &HeaderMap) -> Bytes {
    let mut lines = BytesMut::new();
    for (name, value) in trailers {
        lines.put_slice(name.as_str().as_bytes());
        lines.put_u8(b':');
        lines.put_slice(value.as_bytes());
        lines.put_slice(b"\r\n");
    }
    let mut frame = BytesMut::with_capacity(lines.len() + 5);
    frame.put_u8(TRAILERS);
    frame.put_u32(u32::try_from(lines.len()).unwrap_or(u32::MAX));
    frame.put(lines);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), value.parse().unwrap())
        };
        list.iter().map(pair).collect()
    }

    #[test]
    fn forms_are_told_by_type_and_accept() {
        let form = |kind: &str, accept: &str| {
            let mut headers = headers(&[("content-type", kind), ("content-length", "7")]);
            if !accept.is_empty() {
                headers.insert(ACCEPT, accept.parse().unwrap());
            }
            let before = headers.clone();
            let form = ask(&mut headers);
            if form.is_some() {
                assert_eq!(headers["content-type"], "application/grpc");
                assert_eq!(headers["te"], "trailers");
                assert!(!headers.contains_key(CONTENT_LENGTH));
            } else {
                assert_eq!(headers, before);
            }
            form.map(|form| (form.sends_text, form.wants_text))
        };
        for (kind, accept, expected) in [
            ("application/grpc-web", "", Some((false, false))),
            ("application/grpc-web+proto", "*/*", Some((false, false))),
            ("Application/gRPC-Web; x=1", "", Some((false, false))),
            ("application/grpc-web-text", "", Some((true, true))),
            ("application/grpc-web-text+proto", "*/*", Some((true, true))),
            (
                "application/grpc-web-text",
                "application/grpc-web",
                Some((true, false)),
            ),
            (
                "application/grpc-web",
                "text/x, application/grpc-web-text",
                Some((false, true)),
            ),
            ("application/grpc", "", None),
            ("application/grpc+proto", "application/grpc-web", None),
            ("application/grpc-web+json", "", None),
            ("application/grpc-webby", "", None),
            ("text/plain", "", None),
        ] {
            assert_eq!(form(kind, accept), expected, "{kind} {accept}");
        }
    }

    #[test]
    fn answers_have_the_clients_form() {
        let web = |wants_text| WebForm {
            sends_text: false,
            wants_text,
        };
        for (text, from, to) in [
            (false, "application/grpc", "application/grpc-web+proto"),
            (false, "application/grpc+json", "application/grpc-web+json"),
            (true, "application/grpc", "application/grpc-web-text+proto"),
        ] {
            let mut headers = headers(&[
                ("content-type", from),
                ("content-length", "0"),
                ("grpc-status", "5"),
                ("grpc-message", "no%20such"),
                ("x-a", "b"),
            ]);
            let trailers = web(text).answer(&mut headers);
            assert_eq!(headers["content-type"], to);
            assert_eq!(headers.len(), 2);
            assert_eq!(trailers["grpc-status"], "5");
            assert_eq!(trailers["grpc-message"], "no%20such");
        }
    }

    #[test]
    fn trailers_are_lines_behind_a_flag() {
        let trailers = headers(&[("grpc-status", "0"), ("x-a", "b c")]);
        let lines = b"grpc-status:0\r\nx-a:b c\r\n";
        let mut expected = vec![0x80, 0, 0, 0, lines.len() as u8];
        expected.extend_from_slice(lines);
        assert_eq!(trailer_frame(&trailers), expected);
        let mut text = WebForm {
            sends_text: true,
            wants_text: true,
        }
        .writer(HeaderMap::new());
        assert_eq!(
            text.finish(Some(&trailers)),
            "gAAAABhncnBjLXN0YXR1czowDQp4LWE6YiBjDQo="
        );
        assert_eq!(text.finish(None), "");
    }
}
