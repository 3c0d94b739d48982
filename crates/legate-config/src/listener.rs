//! Listeners, filter chains and virtual hosts.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::http::HttpSettings;
use crate::key::{CaKey, CertificateKey, CrlKey, ListenerKey, RouteSetKey, VirtualHostKey};

/// A bound socket and how its connections are read (spec/routing §3.2).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Names for humans: `namespace/name` of the object that declared it.
    pub name: String,
    /// Address to bind; `None` = the process's `--bind`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The declared TCP port; `--port-map` and `--port-offset` decide the bound one.
    pub port: u16,
    /// Whether connections that start with a TLS ClientHello are handed to the TLS chains. A
    /// listener with both kinds of chain tells them apart by the first bytes.
    pub tls: bool,
    /// When a request counts as secure.
    pub security: SecurityModel,
    /// HTTP behaviour.
    #[serde(default, skip_serializing_if = "HttpSettings::is_default")]
    pub http: HttpSettings,
    /// Name under which downstream metrics appear.
    pub stats_prefix: String,
}

/// When a request counts as secure (spec/routing §3.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SecurityModel {
    /// When `x-forwarded-proto`, after trust was decided, is exactly `https`.
    ForwardedProto,
    /// Always.
    Secure,
    /// Never, not even over TLS.
    Insecure,
}

/// How a listener serves one class of connections: those of one SNI, or cleartext ones.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FilterChain {
    /// The listener this belongs to.
    pub listener: ListenerKey,
    /// Which connections it takes.
    pub matches: ChainMatch,
    /// TLS settings; `None` on the cleartext chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ChainTls>,
    /// The virtual hosts that requests on such a connection may select.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub virtual_hosts: Vec<VirtualHostKey>,
}

/// Which connections a chain takes. Choice: exact SNI, longest suffix, longest other glob, default.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChainMatch {
    /// Connections that do not start with a ClientHello.
    Plain,
    /// ClientHellos whose server name matches (never [`HostPattern::Any`]; no port in it).
    Sni(HostPattern),
    /// ClientHellos that no other chain takes, without a server name included.
    DefaultTls,
}

/// What a TLS chain does with a handshake.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChainTls {
    /// Terminate it.
    Terminate(DownstreamTls),
    /// Refuse it with alert `unrecognized_name`: the settings of its host are broken, and no other
    /// chain may answer in its place (spec/routing §3.12 row 2). The text says why.
    Refuse(String),
    /// Go on as before, with the settings and the material that the gateway has: the Secret of its
    /// host is gone, which must not end what serves. A gateway that has none refuses. The text says
    /// why.
    Hold(String),
}

/// Settings of TLS termination. Equal values are one TLS policy.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DownstreamTls {
    /// The server certificate.
    pub certificate: CertificateKey,
    /// Lowest protocol version offered.
    pub min_version: TlsVersion,
    /// Highest protocol version offered.
    pub max_version: TlsVersion,
    /// Cipher suites allowed for TLS 1.2, by OpenSSL name, all of them known to us; empty = all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cipher_suites: Vec<String>,
    /// Key-exchange groups (`X25519`, `P-256`, `P-384`, `P-521`, `X25519MLKEM768`); empty = all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ecdh_curves: Vec<String>,
    /// ALPN protocols offered, best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alpn: Vec<String>,
    /// Whether and how client certificates are checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_auth: Option<ClientAuth>,
}

/// How client certificates are checked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClientAuth {
    /// Whether a client without certificate is refused.
    pub required: bool,
    /// Who may have signed them.
    pub ca: CaKey,
    /// Revoked ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crl: Option<CrlKey>,
}

/// A TLS version that we can speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub enum TlsVersion {
    /// TLS 1.2
    #[serde(rename = "v1.2")]
    V12,
    /// TLS 1.3
    #[serde(rename = "v1.3")]
    V13,
}

/// A set of host names that share routes and an insecure action.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct VirtualHost {
    /// The listener this belongs to.
    pub listener: ListenerKey,
    /// Names for humans: `namespace/name` of the object that declared it.
    pub name: String,
    /// Compared with the request's Host, port included, lower-cased. Choice: exact, longest suffix,
    /// longest prefix, any (spec/routing §3.6).
    pub host: HostPattern,
    /// What happens to insecure requests that match a route.
    pub insecure: InsecureAction,
    /// The route sets whose routes apply here, by their own host condition and rank.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub route_sets: Vec<RouteSetKey>,
}

/// What happens to an insecure request that matches a route (spec/routing §3.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InsecureAction {
    /// 301 to `https://` + Host + path and query; a `:80` in the Host is dropped.
    Redirect,
    /// Handled like a secure one.
    Route,
    /// The route does not exist for it.
    Reject,
}

/// A set of host names. Text is lower-case ASCII (A-labels).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// Every host.
    Any,
    /// Exactly this host (with `:port` if the text has one).
    Exact(String),
    /// `*rest`: ends with the text and is longer; crosses dots.
    Suffix(String),
    /// `rest*`: starts with the text and is longer.
    Prefix(String),
    /// The regular expression (Rust syntax, translated and validated) matches the whole host.
    Regex(String),
}

impl HostPattern {
    /// Whether a lower-cased host (port included) matches. A regex pattern answers `false` here:
    /// the router compiles it.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(text) => text == host,
            Self::Suffix(rest) => host.len() > rest.len() && host.ends_with(rest.as_str()),
            Self::Prefix(rest) => host.len() > rest.len() && host.starts_with(rest.as_str()),
            Self::Regex(_) => false,
        }
    }
}

/// As the user would write it: `*`, `a.test`, `*.test`, `app.*`, `~regex`.
impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(text) => f.write_str(text),
            Self::Suffix(text) => write!(f, "*{text}"),
            Self::Prefix(text) => write!(f, "{text}*"),
            Self::Regex(text) => write!(f, "~{text}"),
        }
    }
}

impl HostPattern {
    /// The pattern that a text most likely is; [`HostPattern`] prints as it, but an exact `~a` does too.
    fn read(text: &str) -> Self {
        let star = |rest: &str| rest.contains('*');
        if let Some(regex) = text.strip_prefix('~') {
            return Self::Regex(regex.to_owned());
        }
        match (text.strip_prefix('*'), text.strip_suffix('*')) {
            (Some(""), Some("")) => Self::Any,
            (Some(rest), None) if !star(rest) => Self::Suffix(rest.to_owned()),
            (None, Some(rest)) if !star(rest) && !rest.starts_with('.') => {
                Self::Prefix(rest.to_owned())
            }
            _ => Self::Exact(text.to_owned()),
        }
    }
}

/// The forms of a pattern that its text does not tell, and of any other.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum NamedPattern {
    Exact(String),
    Suffix(String),
    Prefix(String),
    Regex(String),
}

impl From<NamedPattern> for HostPattern {
    fn from(named: NamedPattern) -> Self {
        match named {
            NamedPattern::Exact(text) => Self::Exact(text),
            NamedPattern::Suffix(text) => Self::Suffix(text),
            NamedPattern::Prefix(text) => Self::Prefix(text),
            NamedPattern::Regex(text) => Self::Regex(text),
        }
    }
}

/// As its text; `{"exact": "~a"}` and the like where the text would be read as another pattern, so
/// that different patterns have different hashes.
impl Serialize for HostPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.to_string();
        if Self::read(&text) == *self {
            return serializer.serialize_str(&text);
        }
        let named = match self {
            Self::Any => return serializer.serialize_str(&text),
            Self::Exact(text) => NamedPattern::Exact(text.clone()),
            Self::Suffix(text) => NamedPattern::Suffix(text.clone()),
            Self::Prefix(text) => NamedPattern::Prefix(text.clone()),
            Self::Regex(text) => NamedPattern::Regex(text.clone()),
        };
        named.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for HostPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Text(String),
            Named(NamedPattern),
        }
        Ok(match Form::deserialize(deserializer)? {
            Form::Text(text) => Self::read(&text),
            Form::Named(named) => named.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_patterns_are_read_back() {
        let texts = [
            "", "a.test", ".a", "a*b", "*a*", "**", "*", "~a", "~", "*a", "a*", ".a*", "*~",
        ];
        let mut seen = std::collections::BTreeSet::new();
        let exact: fn(String) -> HostPattern = HostPattern::Exact;
        for form in [
            exact,
            HostPattern::Suffix,
            HostPattern::Prefix,
            HostPattern::Regex,
        ] {
            for text in texts {
                let pattern = form(text.to_owned());
                let json = serde_json::to_string(&pattern).unwrap();
                assert_eq!(
                    serde_json::from_str::<HostPattern>(&json).unwrap(),
                    pattern,
                    "{json}"
                );
                assert!(seen.insert(json.clone()), "{json} stands for two patterns");
            }
        }
        // What users write stays as it is.
        for (pattern, json) in [
            (HostPattern::Any, r#""*""#),
            (HostPattern::Exact("a.test".into()), r#""a.test""#),
            (HostPattern::Exact("a*b".into()), r#""a*b""#),
            (HostPattern::Suffix(".test".into()), r#""*.test""#),
            (HostPattern::Prefix("app.".into()), r#""app.*""#),
            (HostPattern::Regex("a|b".into()), r#""~a|b""#),
            (HostPattern::Exact("~a".into()), r#"{"exact":"~a"}"#),
        ] {
            assert_eq!(serde_json::to_string(&pattern).unwrap(), json);
            assert_eq!(serde_json::from_str::<HostPattern>(json).unwrap(), pattern);
        }
    }
}
