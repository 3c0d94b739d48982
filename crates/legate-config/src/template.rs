//! The `%OPERATOR%` language of header values and access logs (spec/services §4.4).
//!
//! Parsed once by the compiler; the gateway walks the parts. Serialises as the text it was.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Text as it is.
    Text(String),
    /// A value of the request at hand.
    Operator(Operator, Option<usize>),
}

/// Declares the argument-less operators once: variant, name, meaning.
macro_rules! simple_operators {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// An operator: which value of the request, response or connection stands there.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Operator {
            /// `START_TIME[(strftime)]`: when the request began, UTC; `None` = RFC 3339 with
            /// milliseconds.
            StartTime(Option<String>),
            /// `REQ(name[?alternative])`: a request header; `:method`, `:path`, `:authority`,
            /// `:scheme` included. Names are lower-case.
            Request(String, Option<String>),
            /// `RESP(name[?alternative])`: a response header.
            Response(String, Option<String>),
            /// `TRAILER(name[?alternative])`: a response trailer.
            Trailer(String, Option<String>),
            /// `DYNAMIC_METADATA(namespace[:key…])`: what an external check said for access logs.
            DynamicMetadata(String),
            $($(#[$doc])* $variant,)*
        }

        impl Operator {
            fn simple(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

simple_operators! {
    /// HTTP version, e.g. `HTTP/1.1`.
    Protocol = "PROTOCOL",
    /// Status sent to the client; 0 when it was gone.
    ResponseCode = "RESPONSE_CODE",
    /// Why that status.
    ResponseCodeDetails = "RESPONSE_CODE_DETAILS",
    /// Flags such as `UF`, comma-separated.
    ResponseFlags = "RESPONSE_FLAGS",
    /// Body bytes received from the client.
    BytesReceived = "BYTES_RECEIVED",
    /// Body bytes sent to the client.
    BytesSent = "BYTES_SENT",
    /// Milliseconds from the request's first byte to the response's last.
    Duration = "DURATION",
    /// Milliseconds from the request's first byte to its last.
    RequestDuration = "REQUEST_DURATION",
    /// Milliseconds from the request's first byte to the upstream response's first.
    ResponseDuration = "RESPONSE_DURATION",
    /// Milliseconds from the upstream response's first byte to the last sent to the client.
    ResponseTxDuration = "RESPONSE_TX_DURATION",
    /// Address and port of the upstream.
    UpstreamHost = "UPSTREAM_HOST",
    /// Address and port of the upstream.
    UpstreamRemoteAddress = "UPSTREAM_REMOTE_ADDRESS",
    /// Address of the upstream.
    UpstreamRemoteAddressWithoutPort = "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    /// Name of the cluster.
    UpstreamCluster = "UPSTREAM_CLUSTER",
    /// Our address and port towards the upstream.
    UpstreamLocalAddress = "UPSTREAM_LOCAL_ADDRESS",
    /// How often the upstream was tried.
    UpstreamRequestAttemptCount = "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    /// Why the upstream connection failed.
    UpstreamTransportFailureReason = "UPSTREAM_TRANSPORT_FAILURE_REASON",
    /// Trusted client address and port.
    DownstreamRemoteAddress = "DOWNSTREAM_REMOTE_ADDRESS",
    /// Trusted client address.
    DownstreamRemoteAddressWithoutPort = "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    /// Trusted client port.
    DownstreamRemotePort = "DOWNSTREAM_REMOTE_PORT",
    /// Peer address and port of the connection.
    DownstreamDirectRemoteAddress = "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    /// Peer address of the connection.
    DownstreamDirectRemoteAddressWithoutPort = "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
    /// Our address and port of the client's connection.
    DownstreamLocalAddress = "DOWNSTREAM_LOCAL_ADDRESS",
    /// Our address of the client's connection.
    DownstreamLocalAddressWithoutPort = "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    /// Our port of the client's connection.
    DownstreamLocalPort = "DOWNSTREAM_LOCAL_PORT",
    /// Number of the connection.
    ConnectionId = "CONNECTION_ID",
    /// SNI of the connection.
    RequestedServerName = "REQUESTED_SERVER_NAME",
    /// Name of the route.
    RouteName = "ROUTE_NAME",
    /// Name of this machine.
    Hostname = "HOSTNAME",
    /// TLS version of the client's connection, e.g. `TLSv1.3`.
    DownstreamTlsVersion = "DOWNSTREAM_TLS_VERSION",
    /// Cipher suite of the client's connection.
    DownstreamTlsCipher = "DOWNSTREAM_TLS_CIPHER",
    /// Subject of the client's certificate.
    DownstreamPeerSubject = "DOWNSTREAM_PEER_SUBJECT",
    /// Issuer of the client's certificate.
    DownstreamPeerIssuer = "DOWNSTREAM_PEER_ISSUER",
    /// SHA-256 of the client's certificate, in hexadecimal.
    DownstreamPeerFingerprint256 = "DOWNSTREAM_PEER_FINGERPRINT_256",
    /// gRPC status of the response.
    GrpcStatus = "GRPC_STATUS",
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateError {
    /// A lone `%`; a literal one is `%%`. The byte offset.
    LonePercent(usize),
    /// An operator that we do not know.
    UnknownOperator(String),
    /// An argument that the operator does not take, or that is missing.
    BadArgument(String),
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LonePercent(at) => {
                write!(
                    f,
                    "lone `%` at byte {at}; a literal percent sign is written `%%`"
                )
            }
            Self::UnknownOperator(name) => write!(f, "unknown operator `%{name}%`"),
            Self::BadArgument(text) => write!(f, "bad argument in `%{text}%`"),
        }
    }
}

impl std::error::Error for TemplateError {}

impl Template {
    /// Parses a text.
    ///
    /// # Errors
    /// A lone `%`, an unknown operator, or an argument that does not fit.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            let (before, from) = rest.split_at(at);
            literal.push_str(before);
            let inner = &from[1..];
            if let Some(after) = inner.strip_prefix('%') {
                literal.push('%');
                rest = after;
                continue;
            }
            let (operator, max, after) = operator(inner, text.len() - from.len())?;
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(Part::Operator(operator, max));
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self {
            text: text.to_owned(),
            parts,
        })
    }

    /// A template that is just this text.
    #[must_use]
    pub fn literal(text: &str) -> Self {
        let parts = if text.is_empty() {
            Vec::new()
        } else {
            vec![Part::Text(text.to_owned())]
        };
        Self {
            text: text.replace('%', "%%"),
            parts,
        }
    }

    /// The parts in order.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The text it was parsed from.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text, if no operator occurs in it.
    #[must_use]
    pub fn as_literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }
}

/// Parses what follows an opening `%`: `NAME[(argument)][:maxlen]%rest`.
fn operator(inner: &str, at: usize) -> Result<(Operator, Option<usize>, &str), TemplateError> {
    let name_end = inner
        .find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))
        .unwrap_or(inner.len());
    let (name, mut rest) = inner.split_at(name_end);
    if name.is_empty() {
        return Err(TemplateError::LonePercent(at));
    }
    let mut argument = None;
    if let Some(open) = rest.strip_prefix('(') {
        // START_TIME's argument has percent signs of its own; it ends at `)`, like all others.
        let (text, after) = open.split_once(')').ok_or(TemplateError::LonePercent(at))?;
        argument = Some(text);
        rest = after;
    }
    let mut max = None;
    if let Some(after) = rest.strip_prefix(':') {
        let end = after
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(after.len());
        let (digits, tail) = after.split_at(end);
        max = Some(
            digits
                .parse()
                .map_err(|_| TemplateError::BadArgument(name.to_owned()))?,
        );
        rest = tail;
    }
    let rest = rest
        .strip_prefix('%')
        .ok_or(TemplateError::LonePercent(at))?;
    Ok((build(name, argument)?, max, rest))
}

fn build(name: &str, argument: Option<&str>) -> Result<Operator, TemplateError> {
    let bad = || TemplateError::BadArgument(name.to_owned());
    let header = || -> Result<(String, Option<String>), TemplateError> {
        let argument = argument.filter(|text| !text.is_empty()).ok_or_else(bad)?;
        let lower = argument.to_ascii_lowercase();
        Ok(match lower.split_once('?') {
            Some((first, second)) => (first.to_owned(), Some(second.to_owned())),
            None => (lower, None),
        })
    };
    Ok(match name {
        "START_TIME" => {
            Operator::StartTime(argument.filter(|text| !text.is_empty()).map(str::to_owned))
        }
        "REQ" => header().map(|(name, alternative)| Operator::Request(name, alternative))?,
        "RESP" => header().map(|(name, alternative)| Operator::Response(name, alternative))?,
        "TRAILER" => header().map(|(name, alternative)| Operator::Trailer(name, alternative))?,
        "DYNAMIC_METADATA" => Operator::DynamicMetadata(argument.ok_or_else(bad)?.to_owned()),
        "GRPC_STATUS" => Operator::GrpcStatus,
        _ if argument.is_some() => {
            return Err(match Operator::simple(name) {
                Some(_) => bad(),
                None => TemplateError::UnknownOperator(name.to_owned()),
            });
        }
        _ => {
            Operator::simple(name).ok_or_else(|| TemplateError::UnknownOperator(name.to_owned()))?
        }
    })
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_operators_alternate() {
        let template = Template::parse("a%REQ(X-A?:path):12%b%%c%PROTOCOL%").unwrap();
        assert_eq!(
            template.parts(),
            [
                Part::Text("a".into()),
                Part::Operator(
                    Operator::Request("x-a".into(), Some(":path".into())),
                    Some(12)
                ),
                Part::Text("b%c".into()),
                Part::Operator(Operator::Protocol, None),
            ]
        );
        assert_eq!(template.to_string(), "a%REQ(X-A?:path):12%b%%c%PROTOCOL%");
    }

    #[test]
    fn a_start_time_format_may_hold_percent_signs() {
        let template = Template::parse("%START_TIME(%Y/%m)%").unwrap();
        assert_eq!(
            template.parts(),
            [Part::Operator(
                Operator::StartTime(Some("%Y/%m".into())),
                None
            )]
        );
    }

    #[test]
    fn a_lone_percent_is_an_error() {
        for text in ["100%", "%", "% %", "%REQ(x", "%REQ(x)", "%a%"] {
            assert!(
                matches!(Template::parse(text), Err(TemplateError::LonePercent(_))),
                "{text}"
            );
        }
        assert_eq!(
            Template::parse("%NOSUCH%"),
            Err(TemplateError::UnknownOperator("NOSUCH".into()))
        );
        assert_eq!(
            Template::parse("%REQ%"),
            Err(TemplateError::BadArgument("REQ".into()))
        );
        assert_eq!(
            Template::parse("%PROTOCOL(x)%"),
            Err(TemplateError::BadArgument("PROTOCOL".into()))
        );
    }
}
