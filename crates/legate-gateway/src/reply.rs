//! Every response that we make ourselves (spec/services §3.19).
//!
//! One constructor per situation; nobody else invents a status, body, flag or details text. Which
//! failure of an upstream leads here is [`crate::error`]'s business.

mod flags;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use http::{HeaderMap, Response, StatusCode};

pub(crate) use flags::{Flag, Flags};

/// A local reply before it is a response.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    /// Status, before any gRPC translation.
    pub(crate) status: StatusCode,
    /// Body; empty means no `content-type` either.
    pub(crate) body: Cow<'static, str>,
    /// Flags for the access log.
    pub(crate) flags: Flags,
    /// Details for the access log.
    pub(crate) details: Cow<'static, str>,
    /// Whether an HTTP/1.1 connection closes afterwards.
    pub(crate) close: bool,
    /// `location` of a redirect.
    pub(crate) location: Option<HeaderValue>,
    /// Type of the body.
    content_type: &'static str,
    /// Whether a circuit breaker is why, which clients are told.
    pub(crate) overloaded: bool,
    /// The gRPC status, where it does not follow from `status`.
    grpc_status: Option<u16>,
}

impl Reply {
    /// A reply with these parts that keeps the connection.
    pub(crate) fn new(
        status: StatusCode,
        body: impl Into<Cow<'static, str>>,
        flags: impl Into<Flags>,
        details: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            body: body.into(),
            flags: flags.into(),
            details: details.into(),
            close: false,
            location: None,
            content_type: "text/plain",
            overloaded: false,
            grpc_status: None,
        }
    }

    fn plain(status: StatusCode, details: &'static str) -> Self {
        Self::new(status, "", Flags::NONE, details)
    }

    fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// No virtual host or route.
    pub(crate) fn route_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "", Flag::NoRoute, "route_not_found")
    }

    /// The connection's certificate or TLS policy does not cover the host (HTTP/2 only; HTTP/1.1
    /// gets [`Self::route_not_found`]).
    pub(crate) fn misdirected() -> Self {
        Self::new(
            StatusCode::MISDIRECTED_REQUEST,
            "",
            Flag::NoRoute,
            "misdirected_request",
        )
    }

    /// The route's cluster does not exist.
    pub(crate) fn cluster_not_found() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "",
            Flag::NoCluster,
            "cluster_not_found",
        )
    }

    /// The defined answer of something that could not be honoured; `reason` is its diagnostic code.
    pub(crate) fn withheld(status: u16, reason: &str) -> Self {
        let status = StatusCode::from_u16(status)
            .ok()
            .filter(|status| status.as_u16() >= 200)
            .unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        Self::new(status, "", Flags::NONE, reason.to_owned())
    }

    /// The whole response took longer than the route allows, and nothing was sent yet.
    pub(crate) fn route_timeout() -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "upstream request timeout",
            Flag::UpstreamTimeout,
            "upstream_response_timeout",
        )
    }

    /// The client's own deadline passed (`grpc-timeout`).
    pub(crate) fn deadline() -> Self {
        let mut reply = Self::route_timeout();
        reply.grpc_status = Some(DEADLINE_EXCEEDED);
        reply
    }

    /// No byte for too long: 408 while the request was still coming in, else 504.
    pub(crate) fn stream_idle(request_complete: bool) -> Self {
        let status = if request_complete {
            StatusCode::GATEWAY_TIMEOUT
        } else {
            StatusCode::REQUEST_TIMEOUT
        };
        let reply = Self::new(
            status,
            "stream timeout",
            Flag::StreamIdle,
            "stream_idle_timeout",
        );
        // The rest of an unfinished request body must not be read as the next request.
        if request_complete {
            reply
        } else {
            reply.closing()
        }
    }

    /// The request is malformed in a way that the codec let pass.
    pub(crate) fn bad_request(details: impl Into<Cow<'static, str>>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "Bad Request",
            Flag::ProtocolError,
            details,
        )
        .closing()
    }

    /// More headers than we take, where the codec does not count (HTTP/2).
    pub(crate) fn too_many_headers() -> Self {
        Self::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "Request Header Fields Too Large",
            Flag::ProtocolError,
            "http2.too_many_headers",
        )
        .closing()
    }

    /// A header with `_` in its name, where these are refused.
    pub(crate) fn unexpected_underscore(http2: bool) -> Self {
        let details = if http2 {
            "http2.unexpected_underscore"
        } else {
            "http1.unexpected_underscore"
        };
        Self::new(StatusCode::BAD_REQUEST, "", Flag::ProtocolError, details).closing()
    }

    /// No `Host` header.
    pub(crate) fn missing_host() -> Self {
        Self::plain(StatusCode::BAD_REQUEST, "missing_host_header")
    }

    /// The path cannot be normalised, or an escaped slash is rejected.
    pub(crate) fn bad_path() -> Self {
        Self::plain(StatusCode::BAD_REQUEST, "path_normalization_failed")
    }

    /// The `Connection` header names what it must not (spec/services §5.4).
    pub(crate) fn bad_connection_header() -> Self {
        Self::plain(StatusCode::BAD_REQUEST, "connection_header_sanitization")
    }

    /// HTTP/1.0 or older.
    pub(crate) fn low_version() -> Self {
        Self::new(
            StatusCode::UPGRADE_REQUIRED,
            "",
            Flag::ProtocolError,
            "low_version",
        )
        .closing()
    }

    /// An upgrade that the route does not allow.
    pub(crate) fn upgrade_refused() -> Self {
        Self::plain(StatusCode::FORBIDDEN, "upgrade_failed")
    }

    /// The IP lists deny the client.
    pub(crate) fn ip_denied() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "RBAC: access denied",
            Flags::NONE,
            "rbac_access_denied_matched_policy[none]",
        )
    }

    /// The check of external authorisation failed, and requests do not pass then.
    pub(crate) fn auth_error(status: StatusCode) -> Self {
        Self::new(status, "", Flag::Unauthorized, "ext_authz_error")
    }

    /// The check's answer cannot be used.
    pub(crate) fn auth_invalid() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "",
            Flag::Unauthorized,
            "ext_authz_invalid",
        )
    }

    /// The check denies; its own body follows.
    pub(crate) fn auth_denied(status: StatusCode, body: String) -> Self {
        Self::new(status, body, Flag::Unauthorized, "ext_authz_denied")
    }

    /// There is a check, but it is misconfigured (spec/services §1.6).
    pub(crate) fn auth_misconfigured(message: &str, request_id: &str) -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        let body = serde_json::json!({
            "message": message,
            "request_id": request_id,
            "status_code": status.as_u16(),
        });
        let mut reply = Self::new(
            status,
            body.to_string(),
            Flag::Unauthorized,
            "ext_authz_misconfigured",
        );
        reply.content_type = "application/json";
        reply
    }

    /// The body is longer than what is taken.
    pub(crate) fn payload_too_large() -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "Payload Too Large",
            Flags::NONE,
            "request_payload_too_large",
        )
        .closing()
    }

    /// The response is longer than what may be kept of it.
    pub(crate) fn response_too_large() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Internal Server Error",
            Flags::NONE,
            "response_payload_too_large",
        )
    }

    /// The request is over a limit; the body itself follows.
    pub(crate) fn over_limit(body: &[u8], resource_exhausted: bool) -> Self {
        let text = String::from_utf8_lossy(body.get(..MAX_MESSAGE).unwrap_or(body));
        let mut reply = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            text.into_owned(),
            Flag::RateLimited,
            "request_rate_limited",
        );
        reply.grpc_status = resource_exhausted.then_some(RESOURCE_EXHAUSTED);
        reply
    }

    /// Nobody can say whether the request is over a limit, and requests do not pass then.
    pub(crate) fn rate_limit_error() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "",
            Flag::RateLimitServiceError,
            "rate_limiter_error",
        )
    }

    /// A redirect to `location`.
    pub(crate) fn redirect(status: u16, location: HeaderValue) -> Self {
        let status = StatusCode::from_u16(status)
            .ok()
            .filter(StatusCode::is_redirection)
            .unwrap_or(StatusCode::MOVED_PERMANENTLY);
        let mut reply = Self::plain(status, "direct_response");
        reply.location = Some(location);
        reply
    }

    /// A preflight of CORS whose origin is allowed.
    pub(crate) fn preflight() -> Self {
        Self::plain(StatusCode::OK, "cors_response")
    }

    /// A probe's answer, from the process's own state.
    pub(crate) fn probe(status: StatusCode, body: impl Into<Cow<'static, str>>) -> Self {
        Self::new(status, body, Flags::NONE, "direct_response")
    }

    /// The response, without `server` (which is the listener's) and `date` (which hyper adds).
    /// Failures of gRPC requests become trailers-only responses (spec/services §3.13).
    pub(crate) fn into_response(self, grpc: bool) -> Response<Bytes> {
        let translate = grpc && self.location.is_none() && !self.status.is_success();
        if translate {
            return self.into_grpc();
        }
        let body = match self.body {
            Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
            Cow::Owned(text) => Bytes::from(text),
        };
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if let Some(location) = self.location {
            headers.insert(LOCATION, location);
        }
        // RFC 9110 §8.6: none on 204.
        if self.status != StatusCode::NO_CONTENT {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
            if !body.is_empty() {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
                *response.body_mut() = body;
            }
        }
        response
    }

    fn into_grpc(self) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        let code = self.grpc_status.unwrap_or_else(|| grpc_code(self.status));
        headers.insert(GRPC_STATUS, HeaderValue::from(code));
        if !self.body.is_empty()
            && let Ok(message) = HeaderValue::try_from(percent_encode_message(&self.body))
        {
            headers.insert(GRPC_MESSAGE, message);
        }
        response
    }
}

/// Response header of a trailers-only response.
pub(crate) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const DEADLINE_EXCEEDED: u16 = 4;
const RESOURCE_EXHAUSTED: u16 = 8;
/// Most bytes of somebody else's text in `grpc-message`.
const MAX_MESSAGE: usize = 4096;
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Whether a request is gRPC: content type exactly `application/grpc`, or followed by `+`.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return false;
    };
    value
        .as_bytes()
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+')))
}

/// How long a gRPC client wants to wait; `None` where it does not say, or not as it should.
pub(crate) fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(GRPC_TIMEOUT)?.as_bytes();
    let (unit, digits) = text.split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(number.saturating_mul(3600)),
        b'M' => Duration::from_secs(number.saturating_mul(60)),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

fn grpc_code(status: StatusCode) -> u16 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// Percent-encodes as gRPC wants it: everything but printable ASCII, and `%` itself.
fn percent_encode_message(text: &str) -> String {
    const SET: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b'%');
    percent_encoding::utf8_percent_encode(text, SET).to_string()
}
