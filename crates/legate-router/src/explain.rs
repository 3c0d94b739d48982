//! Says in words which route a request takes, and why not another.
//!
//! It asks the same tables and the same conditions as the request path. It allocates, and is meant
//! for people, not for requests.

mod report;

use legate_config::HostPattern;
use legate_config::listener::{ChainMatch, ChainTls};
use legate_config::route::Action;

use crate::order::by_rank;
use crate::request::{HeaderText, RequestView, joined};
use crate::router::{Chain, ListenerRoutes, Router};
use crate::row::{Failed, Row, Terms};
use crate::vhost::{Layer, Verdict, VirtualHostRoutes};

pub use report::{Candidate, Choice, Explanation, Found, LayerView, Reason, Rival};

/// At most this many rows of each kind that cannot win are shown.
const SHOWN: usize = 50;

/// A request to explain.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Key of the listener.
    pub listener: &'a str,
    /// How the client connects.
    pub connection: Connection<'a>,
    /// The request; its Host lower-case, its path normalised.
    pub request: RequestView<'a>,
    /// Whether it counts as secure.
    pub secure: bool,
    /// Its random number, in `[0, 100)`.
    pub draw: u32,
}

/// How a client connects.
#[derive(Debug, Clone, Copy)]
pub enum Connection<'a> {
    /// Without TLS.
    Plain,
    /// With TLS.
    Tls {
        /// The server name it sends, lower-case.
        sni: Option<&'a str>,
    },
}

/// Explains the way of a request.
#[must_use]
pub fn explain<P>(router: &Router<P>, question: &Question<'_>) -> Explanation {
    let mut explanation = Explanation::default();
    let Some(listener) = router.listener(question.listener) else {
        return explanation;
    };
    explanation.found = Found::NoChain;
    explanation.listener = Some(listener.listener().name.clone());
    let chain = match question.connection {
        Connection::Plain => listener.plain_chain(),
        Connection::Tls { sni } => listener.choose_chain(sni),
    };
    explanation.other_chains = other_chains(listener, chain, question.connection);
    let Some(chain) = chain else {
        return explanation;
    };
    explanation.chain = Some(chosen_chain(chain));
    if let Some(ChainTls::Refuse(why) | ChainTls::Hold(why)) = &chain.chain().tls {
        explanation.found = Found::Refused { why: why.clone() };
        return explanation;
    }
    let host = question.request.host;
    let vhost = listener.virtual_host(chain, host);
    explanation.other_virtual_hosts = other_virtual_hosts(listener, chain, vhost, host);
    let Some(vhost) = vhost else {
        explanation.found = Found::NoVirtualHost;
        if let Connection::Tls { .. } = question.connection {
            let owner = listener.owner_chain(host);
            explanation.owner_chain = owner.map(|owner| owner.key().clone());
        }
        return explanation;
    };
    explanation.virtual_host = Some(chosen_virtual_host(vhost));
    walk(vhost, question, &mut explanation);
    explanation
}

/// The rows of a virtual host, in order.
fn walk<P>(vhost: &VirtualHostRoutes<P>, question: &Question<'_>, explanation: &mut Explanation) {
    let request = &question.request;
    let selected = vhost.select(request, question.secure, question.draw);
    let terms = vhost.terms(question.secure, question.draw);
    let consulted = vhost.consulted(request.host);
    let (mut rows, mut elsewhere, mut total) = (Vec::new(), Vec::new(), 0_usize);
    for (index, layer) in vhost.layers().iter().enumerate() {
        let holds = consulted.contains(&index);
        let matching = layer.index.with_path(request.path);
        if holds || !matching.is_empty() {
            explanation.layers.push(view(layer, holds));
        }
        if holds {
            total += layer.index.rows().len();
            let others = without(layer, &matching);
            elsewhere.extend(others.map(|row| (row, Reason::Path)));
            rows.extend(
                matching
                    .into_iter()
                    .map(|row| (&**row, reason(row, request, terms))),
            );
        } else {
            total += matching.len();
            elsewhere.extend(matching.into_iter().map(|row| (&**row, Reason::Host)));
        }
    }
    elsewhere.sort_by(|(a, _), (b, _)| by_rank(a, b));
    for kind in [Reason::Path, Reason::Host] {
        let of_kind = elsewhere.iter().filter(|(_, reason)| *reason == kind);
        rows.extend(of_kind.take(SHOWN).cloned());
    }
    rows.sort_by(|(a, _), (b, _)| by_rank(a, b));
    explanation.omitted = total.saturating_sub(rows.len());
    let winner = selected.as_ref().map(|selected| &selected.row.key);
    explanation.candidates = (rows.into_iter())
        .map(|(row, reason)| {
            let wins = reason == Reason::Later && Some(&row.key) == winner;
            let reason = if wins { Reason::Wins } else { reason };
            candidate(row, reason)
        })
        .collect();
    explanation.found = match selected {
        None => Found::NoRoute,
        Some(selected) => match selected.verdict {
            Verdict::RedirectToHttps => Found::RedirectToHttps {
                route: selected.row.key.clone(),
            },
            Verdict::Act { target } => Found::Route {
                route: selected.row.key.clone(),
                target: target_name(selected.row, target),
            },
        },
    };
}

/// Why a row whose path and host hold does not take the request; `Later` if it would.
fn reason<P>(row: &Row<P>, request: &RequestView<'_>, terms: Terms) -> Reason {
    let route = &row.route.matches;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match row.tests.first_failure(request) {
        Some(Failed::Method) => return Reason::Method,
        Some(Failed::Header(index)) => {
            let found = (row.tests.headers.get(index)).and_then(|(name, _)| request.header(name));
            return Reason::Header {
                name: route
                    .headers
                    .get(index)
                    .map(|it| it.name.clone())
                    .unwrap_or_default(),
                found: found.map(|value| match value {
                    HeaderText::One(value) => text(value),
                    HeaderText::Several(all) => text(&joined(&all).collect::<Vec<_>>().concat()),
                }),
            };
        }
        Some(Failed::Query(index)) => {
            let name = route
                .query
                .get(index)
                .map(|it| it.name.clone())
                .unwrap_or_default();
            let found = request.query_value(name.as_bytes()).map(text);
            return Reason::Query { name, found };
        }
        None => {}
    }
    if terms.only_always_routed && !row.route.always_routed {
        Reason::Insecure
    } else if row.draw.target(terms.draw).is_none() {
        Reason::Weight { draw: terms.draw }
    } else {
        Reason::Later
    }
}

/// The first rows of a layer that are not among the matching ones.
fn without<'a, P>(
    layer: &'a Layer<P>,
    matching: &[&std::sync::Arc<Row<P>>],
) -> impl Iterator<Item = &'a Row<P>> {
    let matching: std::collections::HashSet<*const Row<P>> = matching
        .iter()
        .map(|row| std::sync::Arc::as_ptr(row))
        .collect();
    (layer.index.rows().iter())
        .filter(move |row| !matching.contains(&std::sync::Arc::as_ptr(row)))
        .take(SHOWN)
        .map(|row| &**row)
}

fn target_name<P>(row: &Row<P>, target: usize) -> Option<String> {
    match &row.route.action {
        Action::Forward(split) => split.targets.get(target).map(|target| target.name.clone()),
        Action::Redirect(_) | Action::Probe(_) | Action::GuardedProbe { .. } | Action::Fail(_) => {
            None
        }
    }
}

fn candidate<P>(row: &Row<P>, reason: Reason) -> Candidate {
    Candidate {
        key: row.key.clone(),
        route: std::sync::Arc::clone(&row.route),
        reason,
        origins: row.origins.to_vec(),
    }
}

fn view<P>(layer: &Layer<P>, consulted: bool) -> LayerView {
    LayerView {
        set: layer.key.clone(),
        host: layer.set.host.to_string(),
        rows: layer.index.rows().len(),
        consulted,
    }
}

fn chosen_chain(chain: &Chain) -> Choice {
    Choice {
        key: chain.key().to_string(),
        pattern: chain_pattern(chain),
        why: match &chain.chain().matches {
            ChainMatch::Plain => "the connection is without TLS",
            ChainMatch::DefaultTls | ChainMatch::Sni(HostPattern::Any) => {
                "no other chain takes the server name"
            }
            ChainMatch::Sni(HostPattern::Exact(_)) => "it is exactly the server name",
            ChainMatch::Sni(HostPattern::Suffix(text)) if text.starts_with('.') => {
                "the longest suffix of the server name"
            }
            ChainMatch::Sni(_) => "the longest glob for the server name",
        },
        origins: chain.origins().to_vec(),
    }
}

fn chosen_virtual_host<P>(vhost: &VirtualHostRoutes<P>) -> Choice {
    Choice {
        key: vhost.key().to_string(),
        pattern: vhost.pattern().to_string(),
        why: match vhost.pattern() {
            HostPattern::Exact(_) => "it is exactly the request's Host",
            HostPattern::Suffix(_) => "the longest suffix of the request's Host",
            HostPattern::Prefix(_) => "the longest beginning of the request's Host",
            HostPattern::Any | HostPattern::Regex(_) => "no other takes the request's Host",
        },
        origins: vhost.origins().to_vec(),
    }
}

/// The chains that match too; when none was chosen, those that there are.
fn other_chains<P>(
    listener: &ListenerRoutes<P>,
    chosen: Option<&Chain>,
    connection: Connection<'_>,
) -> Vec<Rival> {
    let matches = |chain: &Chain| match (connection, &chain.chain().matches) {
        (Connection::Plain, ChainMatch::Plain)
        | (Connection::Tls { .. }, ChainMatch::DefaultTls) => true,
        (Connection::Tls { sni: Some(name) }, ChainMatch::Sni(pattern)) => pattern.matches(name),
        _ => false,
    };
    (listener.chains())
        .filter(|chain| chosen.is_none_or(|chosen| chosen.key() != chain.key()))
        .map(|chain| (chain, matches(chain)))
        .filter(|(_, matches)| *matches || chosen.is_none())
        .take(SHOWN)
        .map(|(chain, matches)| Rival {
            key: chain.key().to_string(),
            pattern: chain_pattern(chain),
            matches,
            origins: chain.origins().to_vec(),
        })
        .collect()
}

/// The virtual hosts of the chain that match too; when none was chosen, those that there are.
fn other_virtual_hosts<P>(
    listener: &ListenerRoutes<P>,
    chain: &Chain,
    chosen: Option<&VirtualHostRoutes<P>>,
    host: &str,
) -> Vec<Rival> {
    (listener.listed(chain))
        .filter(|vhost| chosen.is_none_or(|chosen| chosen.key() != vhost.key()))
        .map(|vhost| (vhost, vhost.pattern().matches(host)))
        .filter(|(_, matches)| *matches || chosen.is_none())
        .take(SHOWN)
        .map(|(vhost, matches)| Rival {
            key: vhost.key().to_string(),
            pattern: vhost.pattern().to_string(),
            matches,
            origins: vhost.origins().to_vec(),
        })
        .collect()
}

fn chain_pattern(chain: &Chain) -> String {
    match &chain.chain().matches {
        ChainMatch::Plain => "without TLS".to_owned(),
        ChainMatch::Sni(pattern) => pattern.to_string(),
        ChainMatch::DefaultTls => "*".to_owned(),
    }
}
