//! A request that may be sent more than once.

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Uri, Version};

use super::body::RequestBody;
use super::replay::Replay;

/// The request to be sent, or what of it could be sent again. It has one place for the whole of a
/// call, so that the futures of the steps need not each hold one.
pub(crate) struct Slot(Content);

enum Content {
    /// It was sent, and cannot be again.
    Empty,
    /// It was not sent yet, or came back.
    Request(Request<RequestBody>),
    /// It was sent; it has no body.
    Copy(Copied),
}

/// What makes a request without a body. One in a million is needed, so it is what costs least to
/// make: the headers are copied byte by byte into one text, a line each, instead of being shared one
/// by one.
struct Copied {
    method: Method,
    uri: Uri,
    version: Version,
    headers: Vec<u8>,
    count: usize,
}

/// What makes a request again and again, with its body.
pub(super) struct Spare {
    head: Copied,
    body: Replay,
}

/// Ends of lines in a copy: of most values, and of those that must not get into HTTP/2's tables.
const LINE: u8 = b'\n';
const SENSITIVE: u8 = b'\r';

impl Slot {
    /// Nothing to send.
    pub(crate) fn empty() -> Self {
        Self(Content::Empty)
    }

    /// A request that was not sent yet, or came back.
    pub(super) fn of(request: Request<RequestBody>) -> Self {
        Self(Content::Request(request))
    }

    /// Drops what could be sent.
    pub(crate) fn clear(&mut self) {
        self.0 = Content::Empty;
    }

    /// Whether nothing can be sent.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self.0, Content::Empty)
    }

    /// Takes what can be sent.
    pub(super) fn take(&mut self) -> Option<Request<RequestBody>> {
        match std::mem::replace(&mut self.0, Content::Empty) {
            Content::Empty => None,
            Content::Request(request) => Some(request),
            Content::Copy(copied) => Some(copied.request(RequestBody::Empty)),
        }
    }

    /// Takes the request and gives what makes it as often as need be.
    /// Of its body so much is kept.
    pub(super) fn spare(&mut self, most_kept: Option<usize>) -> Option<Spare> {
        let request = self.take()?;
        Some(Spare {
            head: Copied::of(&request),
            body: Replay::new(request.into_body(), most_kept),
        })
    }

    /// Keeps what makes the same request again, without its body.
    pub(super) fn keep(&mut self, request: &Request<RequestBody>) {
        self.0 = Content::Copy(Copied::of(request));
    }
}

impl Spare {
    /// Puts the request into a slot, from its start.
    pub(super) fn fill(&self, slot: &mut Slot) {
        slot.0 = Content::Request(self.head.request(self.body.body()));
    }

    /// Whether it can be made once more.
    pub(super) fn is_whole(&self) -> bool {
        self.body.is_whole()
    }

    /// Waits until all of it came from the client.
    pub(super) async fn complete(&self) {
        self.body.complete().await;
    }
}

impl Copied {
    fn of(request: &Request<RequestBody>) -> Self {
        let headers = request.headers();
        let length =
            |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 2;
        let mut text = Vec::with_capacity(headers.iter().map(length).sum());
        for (name, value) in headers {
            text.extend_from_slice(name.as_str().as_bytes());
            text.push(b':');
            text.extend_from_slice(value.as_bytes());
            text.push(if value.is_sensitive() {
                SENSITIVE
            } else {
                LINE
            });
        }
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: text,
            count: headers.len(),
        }
    }

    fn request(&self, body: RequestBody) -> Request<RequestBody> {
        let mut headers = HeaderMap::with_capacity(self.count);
        // A name holds no colon, and a value no control character.
        for line in self
            .headers
            .split_inclusive(|byte| matches!(*byte, LINE | SENSITIVE))
        {
            let Some((end, line)) = line.split_last() else {
                continue;
            };
            let mut parts = line.splitn(2, |byte| *byte == b':');
            let name = parts.next().and_then(|it| HeaderName::from_bytes(it).ok());
            let value = parts.next().and_then(|it| HeaderValue::from_bytes(it).ok());
            if let (Some(name), Some(mut value)) = (name, value) {
                value.set_sensitive(*end == SENSITIVE);
                headers.append(name, value);
            }
        }
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = self.version;
        *request.headers_mut() = headers;
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_makes_the_same_request() {
        let mut request = Request::new(RequestBody::Empty);
        *request.method_mut() = Method::HEAD;
        *request.uri_mut() = Uri::from_static("/x?y");
        for (name, value) in [("a", "1"), ("b", ""), ("a", "3"), ("host", "x:1")] {
            request
                .headers_mut()
                .append(name, HeaderValue::from_static(value));
        }
        let mut secret = HeaderValue::from_static("s:3");
        secret.set_sensitive(true);
        request.headers_mut().append("c", secret);
        let mut slot = Slot::empty();
        slot.keep(&request);
        assert!(!slot.is_empty());
        let copy = slot.take().unwrap();
        assert!(slot.is_empty() && slot.take().is_none());
        assert_eq!(copy.method(), request.method());
        assert_eq!(copy.uri(), request.uri());
        assert_eq!(copy.version(), request.version());
        assert_eq!(copy.headers(), request.headers());
        assert!(
            copy.headers()
                .iter()
                .all(|(name, value)| value.is_sensitive() == (name == "c"))
        );
    }
}
