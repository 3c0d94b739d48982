//! From the command line to the question that the router answers.

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use legate_compiler::Snapshot;
use legate_config::listener::{Listener, SecurityModel};
use legate_router::{Connection, Question, RequestView};

use crate::args::ExplainArgs;

/// A request as it would arrive, normalised.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) listener: String,
    pub(super) tls: bool,
    pub(super) sni: String,
    pub(super) method: String,
    pub(super) host: String,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) headers: HeaderMap,
    pub(super) secure: bool,
    pub(super) draw: u32,
}

impl Asked {
    /// Reads URL and headers; the Listener decides what they mean.
    pub(super) fn parse(args: &ExplainArgs, snapshot: &Snapshot) -> Result<Self, String> {
        let uri: Uri = args
            .url
            .parse()
            .map_err(|error| format!("--url: {error}"))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("--url: must start with http:// or https://".to_owned()),
        };
        let authority = uri.authority().ok_or("--url: names no host")?;
        let headers = headers(&args.headers)?;
        let port = uri.port_u16().unwrap_or(if tls { 8443 } else { 8080 });
        let (key, listener) = snapshot
            .listeners
            .iter()
            .find(|(_, entry)| entry.value.port == port)
            .map(|(key, entry)| (key.to_string(), &*entry.value))
            .ok_or_else(|| no_listener(port, snapshot))?;
        let name = authority.host().to_ascii_lowercase();
        let host = headers
            .get(http::header::HOST)
            .and_then(|host| host.to_str().ok())
            .map_or_else(
                || host_header(&name, uri.port_u16(), tls),
                str::to_ascii_lowercase,
            );
        let (path, query) = legate_gateway::normalised_path(&uri, &listener.http)
            .map_err(|why| format!("--url: the gateway answers 400: {why}"))?;
        Ok(Self {
            listener: key,
            tls,
            sni: name,
            method: args.method.clone(),
            host: stripped(host, listener),
            path,
            query,
            secure: secure(listener, tls, &headers),
            headers,
            draw: args.draw.unwrap_or(0),
        })
    }

    /// As the router takes it.
    pub(super) fn question(&self) -> Question<'_> {
        Question {
            listener: &self.listener,
            connection: if self.tls {
                Connection::Tls {
                    sni: Some(&self.sni),
                }
            } else {
                Connection::Plain
            },
            request: RequestView {
                method: &self.method,
                host: &self.host,
                path: &self.path,
                query: self.query.as_deref(),
                headers: &self.headers,
            },
            secure: self.secure,
            draw: self.draw,
        }
    }
}

impl Asked {
    /// The same request, as if its handshake had succeeded.
    pub(super) fn once_decrypted(&self) -> Question<'_> {
        Question {
            connection: Connection::Plain,
            ..self.question()
        }
    }
}

fn headers(lines: &[String]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| format!("-H: `{line}` is no `name: value`"))?;
        let name = HeaderName::try_from(name.trim()).map_err(|error| format!("-H: {error}"))?;
        let value = HeaderValue::try_from(value.trim()).map_err(|error| format!("-H: {error}"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn no_listener(port: u16, snapshot: &Snapshot) -> String {
    let open: Vec<String> = snapshot
        .listeners
        .iter()
        .map(|(_, entry)| entry.value.port.to_string())
        .collect();
    if open.is_empty() {
        format!("no Listener opens port {port}, nor any other")
    } else {
        format!(
            "no Listener opens port {port}; open ports: {}",
            open.join(", ")
        )
    }
}

/// What a client puts into the Host header for such a URL.
fn host_header(name: &str, port: Option<u16>, tls: bool) -> String {
    match port {
        Some(port) if port != if tls { 443 } else { 80 } => format!("{name}:{port}"),
        _ => name.to_owned(),
    }
}

fn stripped(host: String, listener: &Listener) -> String {
    if !listener.http.strip_matching_host_port {
        return host;
    }
    match host.strip_suffix(&format!(":{}", listener.port)) {
        Some(bare) => bare.to_owned(),
        None => host,
    }
}

/// Whether the request counts as secure (spec/routing §§3.8, 3.10).
fn secure(listener: &Listener, tls: bool, headers: &HeaderMap) -> bool {
    match listener.security {
        SecurityModel::Secure => true,
        SecurityModel::Insecure => false,
        SecurityModel::ForwardedProto => {
            let trusted = !listener.http.use_remote_address || listener.http.trusted_hops > 0;
            match headers.get("x-forwarded-proto") {
                Some(value) if trusted => value == "https",
                _ => tls,
            }
        }
    }
}
