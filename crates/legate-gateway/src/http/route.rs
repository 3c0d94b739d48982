//! From a request's headers to what is to be done: the stages before anything is sent upstream, in
//! their fixed order (design §5, spec/routing §3.7).

use std::sync::Arc;

use http::header::{CONNECTION, COOKIE, HOST, HeaderName, HeaderValue, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, Method, Version};
use hyper::ext::Protocol;
use legate_config::http::Underscores;
use legate_config::listener::SecurityModel;
use legate_config::route::ProbeKind;
use legate_router::{Chain, ListenerRoutes, RequestView, Row, Verdict, VirtualHostRoutes};

use super::conn::{Conn, Secured};
use super::exchange::Exchange;
use crate::config::{Plan, PortConfig, Target};
use crate::drain::Lifecycle;
use crate::reply::Reply;
use crate::request::client::Forwarded;
use crate::request::{
    self, ClientAddress, HopHeaders, HostError, PathParts, apply_forwarded,
    check_connection_header, effective_host, https_redirect_location, ip_allowed, normalise_path,
};
use crate::tls::{TlsChain, covers, same_policy};

/// Most headers of a request (spec/services §5.6); on HTTP/1.1 hyper counts.
pub(super) const MAX_HEADERS: usize = 100;

/// A request that goes upstream.
pub(crate) struct Forward {
    /// Path and query as they are to be sent; `None` = as they came.
    pub(crate) path: Option<String>,
    /// Path and query before they were rewritten, where they were.
    pub(crate) original: Option<String>,
    /// The Host to send; `None` = the header as it came.
    pub(crate) host: Option<String>,
    /// Scheme of the request as its client sees it.
    pub(crate) scheme: &'static str,
    /// The protocol that the client wants to change to.
    pub(crate) upgrade: Option<String>,
}

/// What follows from a request's headers.
pub(crate) enum Decision {
    /// It goes upstream.
    Forward(Forward),
    /// Somebody is asked first, for this target of a row.
    Check(Arc<Row<Plan>>, usize),
}

/// What is known of a request before a route is looked for.
pub(crate) struct Arrived {
    client: ClientAddress,
    forwarded: Forwarded,
    wanted: Wanted,
    draw: u32,
}

impl Arrived {
    /// Whether the client wants to change to another protocol.
    pub(crate) fn is_upgrade(&self) -> bool {
        matches!(self.wanted, Wanted::Upgrade(_))
    }
}

/// Which protocol a client wants to change to, if any.
enum Wanted {
    Nothing,
    Upgrade(String),
    /// A tunnel, which we never open.
    Tunnel,
}

/// Takes a request in. Headers that a client must not send are gone afterwards, and those that tell
/// the upstream about the client are there.
pub(crate) fn arrive(exchange: &Exchange, head: &mut Parts) -> Result<Arrived, Reply> {
    let conn = &*exchange.conn;
    let config = &*exchange.serving.config;
    let settings = &config.listener.http;
    if head.version < Version::HTTP_11 {
        if !settings.http10 || head.version < Version::HTTP_10 {
            return Err(Reply::low_version());
        }
        add_host(conn, head);
    }
    if settings.underscores != Underscores::Allow {
        underscores(settings.underscores, head)?;
    }
    let hop = HopHeaders::scan(&head.headers);
    if hop.connection {
        check_connection_header(&head.headers)?;
    }
    let wanted = wanted(head, &hop);
    hop.strip(&mut head.headers, matches!(wanted, Wanted::Upgrade(_)));
    if head.version == Version::HTTP_2 {
        join_cookies(&mut head.headers);
        if head.headers.len() > MAX_HEADERS {
            return Err(Reply::too_many_headers());
        }
    }
    let client = request::decide(&head.headers, &conn.peer, settings);
    let tls = conn.tls.is_some();
    let forwarded = apply_forwarded(&mut head.headers, &conn.peer, &client, tls, settings);
    {
        let mut record = exchange.record.borrow_mut();
        record.client = Some(client);
        record.scheme = forwarded.scheme;
    }
    Ok(Arrived {
        client,
        forwarded,
        wanted,
        draw: conn.context.draw(),
    })
}

/// Deals with headers whose names some servers take for others'.
fn underscores(action: Underscores, head: &mut Parts) -> Result<(), Reply> {
    let has = |name: &&HeaderName| name.as_str().contains('_');
    let found: Vec<HeaderName> = head.headers.keys().filter(has).cloned().collect();
    if action == Underscores::Reject && !found.is_empty() {
        let http2 = head.version == Version::HTTP_2;
        return Err(Reply::unexpected_underscore(http2));
    }
    for name in found {
        head.headers.remove(name);
    }
    Ok(())
}

/// A request of HTTP/1.0 need not name a host: it is for the address that it came to.
fn add_host(conn: &Conn, head: &mut Parts) {
    if head.uri.authority().is_none()
        && !head.headers.contains_key(HOST)
        && let Some(local) = conn.local
        && let Ok(host) = HeaderValue::try_from(local.to_string())
    {
        head.headers.insert(HOST, host);
    }
}

/// Decides where a request goes. A request that was `checked` is not checked again: its headers are
/// others now, and so may be its route.
pub(crate) fn decide(
    exchange: &Exchange,
    head: &Parts,
    arrived: &mut Arrived,
    checked: bool,
) -> Result<Decision, Reply> {
    let conn = &*exchange.conn;
    let config = &*exchange.serving.config;
    let settings = &config.listener.http;
    let forwarded = arrived.forwarded;
    let headers = &head.headers;
    let host =
        effective_host(&head.uri, headers, config.strip_ports.as_deref()).map_err(bad_host)?;
    let path = normalise_path(&head.uri, &head.method, settings).map_err(|_| Reply::bad_path())?;
    if let Some(policy) = &settings.ip_policy
        && !ip_allowed(policy, &arrived.client)
    {
        return Err(Reply::ip_denied());
    }
    if matches!(arrived.wanted, Wanted::Tunnel) {
        return Err(Reply::route_not_found());
    }

    let view = RequestView {
        // RFC 8441 carries what HTTP/1.1 sends as a GET.
        method: if arrived.is_upgrade() && head.method == Method::CONNECT {
            "GET"
        } else {
            head.method.as_str()
        },
        host: &host,
        path: &path.path,
        query: path.query,
        headers,
    };
    let secure = match config.listener.security {
        SecurityModel::Secure => true,
        SecurityModel::Insecure => false,
        SecurityModel::ForwardedProto => forwarded.proto_is_https,
    };
    let selected = virtual_host(conn, config, &host, head.version)?
        .select(&view, secure, arrived.draw)
        .ok_or_else(Reply::route_not_found)?;
    let row = selected.row;
    let target = match selected.verdict {
        Verdict::Act { target } => Some(target),
        Verdict::RedirectToHttps => None,
    };
    if !checked
        && let Some(target) = target
        && is_guarded(row, target)
    {
        return Ok(Decision::Check(Arc::clone(row), target));
    }
    // Set when the row is final. A redirect has no target.
    let index = target.unwrap_or(usize::MAX);
    let _ = exchange.chosen.set((Arc::clone(row), index));
    let Some(target) = target else {
        return Err(Reply::redirect(301, https_redirect_location(&host, &path)));
    };
    answer_here(conn, row, target, forwarded.scheme, &host, &path)?;

    let same_host = is_as_sent(head, config, &host);
    let (path, original) = new_path(config, row, target, &path);
    let upgrade = match std::mem::replace(&mut arrived.wanted, Wanted::Nothing) {
        Wanted::Upgrade(token) => Some(token),
        Wanted::Nothing | Wanted::Tunnel => None,
    };
    Ok(Decision::Forward(Forward {
        path,
        original,
        host: (!same_host).then(|| host.into_owned()),
        scheme: forwarded.scheme,
        upgrade,
    }))
}

/// Whether somebody is asked before a request goes to a target.
fn is_guarded(row: &Row<Plan>, target: usize) -> bool {
    match &row.payload {
        Plan::Forward(targets, _) => match targets.get(target) {
            Some(Target::Cluster { policy, .. }) => policy.auth.is_some(),
            Some(Target::Fail(_)) | None => false,
        },
        Plan::Probe(_, guard) => guard.is_some(),
        Plan::Redirect(_) | Plan::Fail(_) => false,
    }
}

/// The host and the path, query included, that a check is told.
pub(crate) fn asked_about(exchange: &Exchange, head: &Parts) -> Option<(String, String)> {
    let config = &*exchange.serving.config;
    let host = effective_host(&head.uri, &head.headers, config.strip_ports.as_deref()).ok()?;
    let path = normalise_path(&head.uri, &head.method, &config.listener.http).ok()?;
    let whole = match path.query {
        Some(query) => format!("{}?{query}", path.path),
        None => path.path.into_owned(),
    };
    Some((host.into_owned(), whole))
}

/// Whether the Host header says what the host is.
fn is_as_sent(head: &Parts, config: &PortConfig, host: &str) -> bool {
    // Taken from there, and nothing from it: there is nothing to compare.
    let taken = head.uri.authority().is_none() && config.strip_ports.is_none();
    let equals = |sent: &HeaderValue| sent.as_bytes().eq_ignore_ascii_case(host.as_bytes());
    taken || head.headers.get(HOST).is_some_and(equals)
}

fn bad_host(error: HostError) -> Reply {
    match error {
        HostError::Missing => Reply::missing_host(),
        HostError::Invalid => Reply::bad_request("invalid_host"),
    }
}

/// The virtual host that may serve a host on this connection (spec/routing §3.6).
fn virtual_host<'a>(
    conn: &Conn,
    config: &'a PortConfig,
    host: &str,
    version: Version,
) -> Result<&'a VirtualHostRoutes<Plan>, Reply> {
    let routes: &ListenerRoutes<Plan> = config
        .router
        .listener(config.key.as_str())
        .ok_or_else(Reply::route_not_found)?;
    let Some(secured) = &conn.tls else {
        return routes
            .plain_chain()
            .and_then(|chain| routes.virtual_host(chain, host))
            .ok_or_else(Reply::route_not_found);
    };
    let own = routes.choose_chain(secured.info.sni.as_deref());
    if let Some((chain, found)) = own.and_then(|chain| in_chain(routes, chain, host)) {
        // What the chain demands changed since the handshake: this connection is served to the end
        // of its requests, and the next one is held to the new demands.
        if secured.generation != config.generation && !unchanged(config, chain, secured) {
            conn.end_soon();
        }
        return Ok(found);
    }
    let (chain, found) = routes
        .owner_chain(host)
        .and_then(|chain| in_chain(routes, chain, host))
        .ok_or_else(Reply::route_not_found)?;
    // Served when the handshake that was made would have done for that host too.
    if unchanged(config, chain, secured) && covers(&secured.termination.names, host) {
        Ok(found)
    } else if version == Version::HTTP_2 {
        Err(Reply::misdirected())
    } else {
        Err(Reply::route_not_found())
    }
}

fn in_chain<'a>(
    routes: &'a ListenerRoutes<Plan>,
    chain: &'a Chain,
    host: &str,
) -> Option<(&'a Chain, &'a VirtualHostRoutes<Plan>)> {
    Some((chain, routes.virtual_host(chain, host)?))
}

/// Whether a chain demands of clients what the connection's handshake demanded.
fn unchanged(config: &PortConfig, chain: &Chain, secured: &Secured) -> bool {
    match config.tls.chain(chain.key()) {
        Some(TlsChain::Terminate(other)) => same_policy(other, &secured.termination),
        Some(TlsChain::Refuse(_)) | None => false,
    }
}

/// Replies to what needs no upstream.
fn answer_here(
    conn: &Conn,
    row: &Row<Plan>,
    target: usize,
    scheme: &str,
    host: &str,
    path: &PathParts<'_>,
) -> Result<(), Reply> {
    let fail = match &row.payload {
        Plan::Forward(targets, _) => match targets.get(target) {
            Some(Target::Cluster { .. }) => return Ok(()),
            Some(Target::Fail(fail)) => fail,
            None => return Err(Reply::cluster_not_found()),
        },
        Plan::Redirect(redirect) => {
            let location = redirect.location(scheme, host, path);
            return Err(Reply::redirect(redirect.status, location));
        }
        Plan::Probe(ProbeKind::Alive, _) => {
            return Err(Reply::probe(http::StatusCode::OK, Lifecycle::alive_text()));
        }
        Plan::Probe(ProbeKind::Ready, _) => {
            let lifecycle = &conn.context.process.lifecycle;
            let status = if lifecycle.is_ready() {
                http::StatusCode::OK
            } else {
                http::StatusCode::SERVICE_UNAVAILABLE
            };
            return Err(Reply::probe(status, lifecycle.ready_text()));
        }
        Plan::Fail(fail) => fail,
    };
    Err(Reply::withheld(fail.status, &fail.reason))
}

/// The path and query to send where they differ from what came, and what they were before a
/// rewrite, if somebody wants to know.
fn new_path(
    config: &PortConfig,
    row: &Row<Plan>,
    target: usize,
    path: &PathParts<'_>,
) -> (Option<String>, Option<String>) {
    let whole = || match path.query {
        Some(query) => format!("{}?{query}", path.path),
        None => path.path.clone().into_owned(),
    };
    let rewritten = match &row.payload {
        Plan::Forward(targets, _) => match targets.get(target) {
            Some(Target::Cluster { policy, .. }) => policy.rewrite_path(&path.path, path.query),
            _ => None,
        },
        _ => None,
    };
    match rewritten {
        Some(new) => {
            let wanted = !config.listener.http.suppress_envoy_headers;
            (Some(new), wanted.then(whole))
        }
        None if matches!(path.path, std::borrow::Cow::Owned(_)) => (Some(whole()), None),
        None => (None, None),
    }
}

/// What the client asks to change to.
fn wanted(head: &Parts, hop: &HopHeaders) -> Wanted {
    if head.method == Method::CONNECT {
        return match head.extensions.get::<Protocol>() {
            Some(protocol) => Wanted::Upgrade(protocol.as_str().to_owned()),
            None => Wanted::Tunnel,
        };
    }
    if head.version != Version::HTTP_11 || !hop.upgrade {
        return Wanted::Nothing;
    }
    let Some(token) = head
        .headers
        .get(UPGRADE)
        .and_then(|value| value.to_str().ok())
    else {
        return Wanted::Nothing;
    };
    let asked = head.headers.get_all(CONNECTION).iter().any(|value| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    });
    let token = token.trim();
    // HTTP/2 is not spoken on this connection any more; the client goes on in HTTP/1.1.
    if asked && !token.is_empty() && !token.eq_ignore_ascii_case("h2c") {
        Wanted::Upgrade(token.to_owned())
    } else {
        Wanted::Nothing
    }
}

/// HTTP/2 may send a cookie in pieces; HTTP/1.1 must not.
fn join_cookies(headers: &mut HeaderMap) {
    let mut values = headers.get_all(COOKIE).iter();
    if values.next().is_none() || values.next().is_none() {
        return;
    }
    let mut joined = Vec::with_capacity(256);
    for value in headers.get_all(COOKIE) {
        if !joined.is_empty() {
            joined.extend_from_slice(b"; ");
        }
        joined.extend_from_slice(value.as_bytes());
    }
    if let Ok(joined) = HeaderValue::from_maybe_shared(bytes::Bytes::from(joined)) {
        headers.insert(COOKIE, joined);
    }
}
