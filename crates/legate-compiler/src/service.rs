//! The `service` syntax: `[scheme://]host[.namespace[.svc…]][:port]` (spec/routing §4.11).
//!
//! What the name resolves to is not decided here: see `endpoints`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// A parsed `service`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) scheme: Option<Scheme>,
    pub(crate) host: ServiceHost,
    /// The port as written.
    pub(crate) port: Option<u16>,
    /// A path, query or user name that was written and has no effect.
    pub(crate) dropped: Option<String>,
}

/// Scheme of a `service`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

/// Host of a `service`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ServiceHost {
    /// Dialled as it is.
    Ip(IpAddr),
    /// A name, lower-case.
    Name(String),
}

/// Why a text is no service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ServiceError {
    Empty,
    Scheme(String),
    Port(String),
    Host(String),
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the service names no host"),
            Self::Scheme(scheme) => write!(f, "`{scheme}` is no scheme of a service"),
            Self::Port(port) => write!(f, "`{port}` is no port"),
            Self::Host(host) => write!(f, "`{host}` is no host name"),
        }
    }
}

impl ServiceError {
    /// What to do about it.
    pub(crate) fn help(&self) -> &'static str {
        match self {
            Self::Empty => "write `host`, `host.namespace` or `host.namespace:port`",
            Self::Scheme(_) => "use `http://`, `https://` or none",
            Self::Port(_) => "a port is a number from 1 to 65535; names of ports cannot be used",
            Self::Host(_) => {
                "a host consists of letters, digits, `-`, `_` and `.`; an IPv6 address stands in brackets"
            }
        }
    }
}

impl Service {
    /// Parses a text.
    pub(crate) fn parse(text: &str) -> Result<Self, ServiceError> {
        let text = text.trim();
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => {
                (Some(Scheme::Http), rest)
            }
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => {
                (Some(Scheme::Https), rest)
            }
            Some((scheme, _)) => return Err(ServiceError::Scheme(scheme.to_owned())),
            None => (None, text),
        };
        let (authority, mut dropped) = match rest.find(['/', '?', '#']) {
            Some(at) => {
                let (authority, path) = rest.split_at(at);
                (authority, Some(path.to_owned()))
            }
            None => (rest, None),
        };
        let authority = match authority.rsplit_once('@') {
            Some((user, authority)) => {
                dropped.get_or_insert_with(|| format!("{user}@"));
                authority
            }
            None => authority,
        };
        let (host, port) = split_port(authority)?;
        Ok(Self {
            scheme,
            host,
            port,
            dropped: dropped.filter(|path| path != "/"),
        })
    }

    /// Host and port as written, for a redirect's location.
    pub(crate) fn authority(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.to_string(),
        }
    }
}

impl fmt::Display for ServiceHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Ip(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

fn split_port(authority: &str) -> Result<(ServiceHost, Option<u16>), ServiceError> {
    if let Some(rest) = authority.strip_prefix('[') {
        let bad = || ServiceError::Host(authority.to_owned());
        let (address, after) = rest.split_once(']').ok_or_else(bad)?;
        let address: Ipv6Addr = address.parse().map_err(|_| bad())?;
        let port = match after.strip_prefix(':') {
            Some(port) => parse_port(port)?,
            None if after.is_empty() => None,
            None => return Err(bad()),
        };
        return Ok((ServiceHost::Ip(address.into()), port));
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, parse_port(port)?),
        None => (authority, None),
    };
    if host.is_empty() {
        return Err(ServiceError::Empty);
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok((ServiceHost::Ip(address), port));
    }
    if !is_host_name(host) {
        return Err(ServiceError::Host(host.to_owned()));
    }
    Ok((ServiceHost::Name(host.to_ascii_lowercase()), port))
}

/// An empty port is as good as none.
fn parse_port(text: &str) -> Result<Option<u16>, ServiceError> {
    if text.is_empty() {
        return Ok(None);
    }
    let number = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(port) if number && port != 0 => Ok(Some(port)),
        _ => Err(ServiceError::Port(text.to_owned())),
    }
}

fn is_host_name(host: &str) -> bool {
    let labels = host.strip_suffix('.').unwrap_or(host);
    host.len() <= 253
        && labels.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        })
}

/// The name with the Mapping's namespace added where it needs one to resolve: a bare name, in
/// another namespace than the controller's.
pub(crate) fn qualify<'a>(
    name: &str,
    namespace: &'a str,
    controller: &str,
    use_controller: bool,
) -> Qualified<'a> {
    let bare = !name.contains('.') && name != "localhost";
    Qualified {
        namespace: (bare && namespace != controller && !use_controller).then_some(namespace),
    }
}

/// What [`qualify`] decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Qualified<'a> {
    /// The namespace to add, if any.
    pub(crate) namespace: Option<&'a str>,
}

impl Qualified<'_> {
    /// The name to resolve.
    pub(crate) fn apply(self, name: &str) -> String {
        match self.namespace {
            Some(namespace) => format!("{name}.{namespace}"),
            None => name.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ServiceHost {
        ServiceHost::Name(text.to_owned())
    }

    #[test]
    fn plain_names_and_ports() {
        let service = Service::parse("quote").unwrap();
        assert_eq!(
            (service.scheme, service.host, service.port),
            (None, name("quote"), None)
        );
        let service = Service::parse("HTTPS://Quote.Other:8080/path").unwrap();
        assert_eq!(service.scheme, Some(Scheme::Https));
        assert_eq!(service.host, name("quote.other"));
        assert_eq!(service.port, Some(8080));
        assert_eq!(service.dropped.as_deref(), Some("/path"));
        assert_eq!(service.authority(), "quote.other:8080");
        assert_eq!(
            Service::parse("http://u:p@up.test").unwrap().host,
            name("up.test")
        );
        assert_eq!(Service::parse("up.test:/").unwrap().dropped, None);
    }

    #[test]
    fn sv_07_08_09_schemes_ports_and_addresses() {
        assert_eq!(
            Service::parse("ftp://quote"),
            Err(ServiceError::Scheme("ftp".into()))
        );
        for port in ["http", "65536", "0", "+80", "-1", "8 0"] {
            assert_eq!(
                Service::parse(&format!("quote:{port}")),
                Err(ServiceError::Port(port.to_owned()))
            );
        }
        let service = Service::parse("[2001:db8::1]:81").unwrap();
        assert_eq!(service.authority(), "[2001:db8::1]:81");
        assert!(Service::parse("2001:db8::1").is_err());
        assert!(Service::parse("[::1]x").is_err());
        assert_eq!(
            Service::parse("10.0.0.1").unwrap().host,
            ServiceHost::Ip("10.0.0.1".parse().unwrap())
        );
    }

    #[test]
    fn what_is_no_host() {
        for text in [
            "", "  ", ":80", "http://", "a b", "a..b", ".a", "é", "a$b", "*",
        ] {
            assert!(Service::parse(text).is_err(), "{text:?}");
        }
        assert!(Service::parse("quote.apps.").is_ok(), "fully qualified");
    }

    #[test]
    fn sv_01_02_03_06_qualification() {
        let q = |name: &str, ns: &str, flag| qualify(name, ns, "default", flag).apply(name);
        assert_eq!(q("quote", "default", false), "quote");
        assert_eq!(q("quote", "apps", false), "quote.apps");
        assert_eq!(q("quote", "apps", true), "quote");
        assert_eq!(q("localhost", "apps", false), "localhost");
        assert_eq!(q("quote.x", "apps", false), "quote.x");
    }
}
