//! Why a request failed on its way to an upstream: one closed set of reasons, each mapped in one
//! place to the status, body, response flag and details of its local reply (spec/services §3.19).
//!
//! Replies to requests that were never meant for an upstream (no route, denied, redirected) and the
//! limits that the pipeline watches (route timeout, idle) live in `reply`.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::sync::Arc;

use http::StatusCode;

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ErrorKind {
    /// No endpoint, or the name has no address.
    NoHealthyUpstream,
    /// A circuit breaker is open.
    Overflow,
    /// TCP connect failed.
    ConnectFailed,
    /// TCP connect and TLS handshake took longer than allowed.
    ConnectTimeout,
    /// The TLS handshake with the upstream failed.
    TlsFailed,
    /// One attempt took longer than its policy allows.
    PerTryTimeout,
    /// The upstream closed the connection before response headers (afterwards: before the end).
    ConnectionTerminated,
    /// The upstream reset the stream.
    RemoteReset,
    /// The upstream reset the stream and vouched that it was not processed.
    RefusedStream,
    /// The upstream did not speak HTTP as it should.
    Protocol,
    /// The client went away.
    Downstream,
    /// The client's request body is malformed.
    MalformedBody,
    /// The request cannot be expressed to this upstream.
    Unsendable,
}

impl fmt::Display for ErrorKind {
    /// For whoever reads why a side service was not asked, or did not answer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoHealthyUpstream => "it has no endpoint that can be used",
            Self::Overflow => "its circuit breaker is open",
            Self::ConnectFailed => "connecting to it fails",
            Self::ConnectTimeout => "connecting to it takes too long",
            Self::TlsFailed => "the TLS handshake with it fails",
            Self::PerTryTimeout => "an attempt took too long",
            Self::ConnectionTerminated => "it closed the connection",
            Self::RemoteReset => "it reset the stream",
            Self::RefusedStream => "it refused the stream",
            Self::Protocol => "it does not speak HTTP as it should",
            Self::Downstream => "the client went away",
            Self::MalformedBody => "the body is malformed",
            Self::Unsendable => "the question cannot be sent to it",
        })
    }
}

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    /// The client's.
    Downstream,
    /// The upstream's.
    Upstream,
    /// Ours, or the configuration's.
    Internal,
}

/// A failed request.
#[derive(Debug, Clone)]
pub(crate) struct ProxyError {
    kind: ErrorKind,
    /// Transport failure reason as Envoy words it, where there is one.
    reason: Option<Arc<str>>,
    /// Whether other attempts came before.
    retried: bool,
}

// === impl ErrorKind ===

impl ErrorKind {
    /// Whose fault it is.
    fn side(self) -> Side {
        match self {
            Self::NoHealthyUpstream | Self::Overflow => Side::Internal,
            Self::Downstream | Self::MalformedBody | Self::Unsendable => Side::Downstream,
            Self::ConnectFailed
            | Self::ConnectTimeout
            | Self::TlsFailed
            | Self::PerTryTimeout
            | Self::ConnectionTerminated
            | Self::RemoteReset
            | Self::RefusedStream
            | Self::Protocol => Side::Upstream,
        }
    }

    /// Status of the local reply; a client that is gone will not see it.
    fn status(self) -> StatusCode {
        match self {
            Self::NoHealthyUpstream
            | Self::Overflow
            | Self::ConnectFailed
            | Self::ConnectTimeout
            | Self::TlsFailed
            | Self::ConnectionTerminated
            | Self::RemoteReset
            | Self::RefusedStream => StatusCode::SERVICE_UNAVAILABLE,
            Self::PerTryTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Protocol => StatusCode::BAD_GATEWAY,
            Self::Downstream | Self::MalformedBody | Self::Unsendable => StatusCode::BAD_REQUEST,
        }
    }

    /// Envoy's response flag.
    fn flag(self) -> &'static str {
        match self {
            Self::NoHealthyUpstream => "UH",
            Self::Overflow => "UO",
            Self::ConnectFailed | Self::ConnectTimeout | Self::TlsFailed => "UF",
            Self::PerTryTimeout => "UT",
            Self::ConnectionTerminated => "UC",
            Self::RemoteReset | Self::RefusedStream => "UR",
            Self::Protocol => "UPE",
            Self::Downstream => "DC",
            Self::MalformedBody | Self::Unsendable => "DPE",
        }
    }

    /// Envoy's name of the reset, for the failures that are one.
    fn reset_reason(self) -> Option<&'static str> {
        Some(match self {
            Self::Overflow => "overflow",
            Self::ConnectFailed | Self::TlsFailed => "remote connection failure",
            Self::ConnectTimeout => "connection timeout",
            Self::ConnectionTerminated => "connection termination",
            Self::RemoteReset => "remote reset",
            Self::RefusedStream => "remote refused stream reset",
            Self::Protocol => "protocol error",
            Self::NoHealthyUpstream
            | Self::PerTryTimeout
            | Self::Downstream
            | Self::MalformedBody
            | Self::Unsendable => return None,
        })
    }
}

// === impl ProxyError ===

impl ProxyError {
    /// A failure without a transport reason.
    pub(crate) fn new(kind: ErrorKind) -> Self {
        Self {
            kind,
            reason: None,
            retried: false,
        }
    }

    /// A failure with the transport's reason in Envoy's words.
    pub(crate) fn with_reason(kind: ErrorKind, reason: impl Into<Arc<str>>) -> Self {
        Self {
            kind,
            reason: Some(reason.into()),
            retried: false,
        }
    }

    /// The same failure, after so many retries.
    pub(crate) fn after(mut self, retries: u32) -> Self {
        self.retried = retries > 0;
        self
    }

    /// A failed TCP connect.
    pub(crate) fn connect(error: &io::Error) -> Self {
        let text = error.to_string();
        // Envoy gives the bare system text; Rust appends the number.
        let text = text.split(" (os error").next().unwrap_or_default();
        Self::with_reason(
            ErrorKind::ConnectFailed,
            format!("delayed connect error: {text}"),
        )
    }

    /// A failed TLS handshake with the upstream.
    pub(crate) fn tls(error: &io::Error) -> Self {
        Self::with_reason(
            ErrorKind::TlsFailed,
            format!("TLS_error:|{error}:TLS_error_end"),
        )
    }

    /// What failed.
    pub(crate) fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whose fault it is.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for passive health, which is not served yet")
    )]
    pub(crate) fn side(&self) -> Side {
        self.kind.side()
    }

    /// Transport failure reason, for `%UPSTREAM_TRANSPORT_FAILURE_REASON%`.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Status of the local reply.
    pub(crate) fn status(&self) -> StatusCode {
        self.kind.status()
    }

    /// Response flag for logs.
    pub(crate) fn flag(&self) -> &'static str {
        self.kind.flag()
    }

    /// Body of the local reply.
    pub(crate) fn body(&self) -> Cow<'static, str> {
        if let Some(reset) = self.kind.reset_reason() {
            let what = if self.retried {
                "retried and the latest reset reason"
            } else {
                "reset reason"
            };
            let text = format!(
                "upstream connect error or disconnect/reset before headers. {what}: {reset}"
            );
            return Cow::Owned(match &self.reason {
                Some(reason) => format!("{text}, transport failure reason: {reason}"),
                None => text,
            });
        }
        Cow::Borrowed(match self.kind {
            ErrorKind::NoHealthyUpstream => "no healthy upstream",
            ErrorKind::PerTryTimeout => "upstream request timeout",
            _ => "",
        })
    }

    /// `%RESPONSE_CODE_DETAILS%`: no blanks, as Envoy writes it.
    pub(crate) fn details(&self) -> Cow<'static, str> {
        if let Some(reset) = self.kind.reset_reason() {
            let mut text = format!("upstream_reset_before_response_started{{{reset}");
            if let Some(reason) = &self.reason {
                text.push('|');
                text.push_str(reason);
            }
            text.push('}');
            return Cow::Owned(text.replace(' ', "_"));
        }
        Cow::Borrowed(match self.kind {
            ErrorKind::NoHealthyUpstream => "no_healthy_upstream",
            ErrorKind::PerTryTimeout => "upstream_per_try_timeout",
            ErrorKind::Downstream => "downstream_remote_disconnect",
            ErrorKind::MalformedBody => "http1.codec_error",
            _ => "invalid_request",
        })
    }

    /// The same for a failure after response headers.
    pub(crate) fn details_after_headers(&self) -> String {
        let reset = self.kind.reset_reason().unwrap_or("local reset");
        format!("upstream_reset_after_response_started{{{reset}}}").replace(' ', "_")
    }

    /// Whether another attempt could succeed as far as the failure goes; whether one is allowed is
    /// for the retry rules to say.
    pub(crate) fn retryable(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::ConnectFailed
                | ErrorKind::ConnectTimeout
                | ErrorKind::TlsFailed
                | ErrorKind::PerTryTimeout
                | ErrorKind::ConnectionTerminated
                | ErrorKind::RemoteReset
                | ErrorKind::RefusedStream
                | ErrorKind::Protocol
        )
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = self.body();
        if body.is_empty() {
            f.write_str(&self.details())
        } else {
            f.write_str(&body)
        }
    }
}

impl std::error::Error for ProxyError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_connection_reads_as_envoy_writes_it() {
        let error = ProxyError::connect(&io::Error::from_raw_os_error(libc::ECONNREFUSED));
        assert_eq!(error.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(error.flag(), "UF");
        assert_eq!(
            error.body(),
            "upstream connect error or disconnect/reset before headers. reset reason: remote \
             connection failure, transport failure reason: delayed connect error: Connection refused"
        );
        assert_eq!(
            error.details(),
            "upstream_reset_before_response_started{remote_connection_failure|\
             delayed_connect_error:_Connection_refused}"
        );
    }

    #[test]
    fn replies_follow_the_table() {
        let rows = [
            (
                ErrorKind::NoHealthyUpstream,
                503,
                "UH",
                "no healthy upstream",
                "no_healthy_upstream",
            ),
            (
                ErrorKind::Protocol,
                502,
                "UPE",
                "upstream connect error or disconnect/reset before headers. reset reason: \
                 protocol error",
                "upstream_reset_before_response_started{protocol_error}",
            ),
            (
                ErrorKind::ConnectionTerminated,
                503,
                "UC",
                "upstream connect error or disconnect/reset before headers. reset reason: \
                 connection termination",
                "upstream_reset_before_response_started{connection_termination}",
            ),
        ];
        for (kind, status, flag, body, details) in rows {
            let error = ProxyError::new(kind);
            assert_eq!(error.status().as_u16(), status, "{kind:?}");
            assert_eq!(error.flag(), flag, "{kind:?}");
            assert_eq!(error.body(), body, "{kind:?}");
            assert_eq!(error.details(), details, "{kind:?}");
        }
    }

    #[test]
    fn sides_and_retries() {
        for (kind, side, retryable) in [
            (ErrorKind::NoHealthyUpstream, Side::Internal, false),
            (ErrorKind::ConnectTimeout, Side::Upstream, true),
            (ErrorKind::RefusedStream, Side::Upstream, true),
            (ErrorKind::Downstream, Side::Downstream, false),
        ] {
            let error = ProxyError::new(kind);
            assert_eq!(
                (error.side(), error.retryable()),
                (side, retryable),
                "{kind:?}"
            );
        }
    }
}
