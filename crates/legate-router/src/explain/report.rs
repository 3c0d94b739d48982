//! The shape of an explanation.

use std::fmt;
use std::sync::Arc;

use legate_config::route::Route;
use legate_config::{ChainKey, Origin, RouteKey, RouteSetKey};
use serde::Serialize;

/// Which route a request takes, and why.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Explanation {
    /// Name of the listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// The chain that takes the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<Choice>,
    /// The chains that match too; when none was chosen, those that there are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_chains: Vec<Rival>,
    /// The virtual host that takes the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_host: Option<Choice>,
    /// The virtual hosts of the chain that match too; when none was chosen, those that there are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_virtual_hosts: Vec<Rival>,
    /// When the chain has no virtual host for the Host: the chain that has. The request is served
    /// there if its certificate and TLS policy are covered by the connection's (spec/routing §3.6).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_chain: Option<ChainKey>,
    /// The route sets of the virtual host that were looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerView>,
    /// Routes in the order in which they are tried: all whose path and host conditions hold, and
    /// the first of those that fail one of the two.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Candidate>,
    /// Routes that are not shown; none of them could match.
    pub omitted: usize,
    /// What comes of it.
    pub found: Found,
}

/// What was chosen.
#[derive(Debug, Clone, Serialize)]
pub struct Choice {
    /// Its key.
    pub key: String,
    /// What it matches.
    pub pattern: String,
    /// Why it was chosen.
    pub why: &'static str,
    /// The objects it comes from.
    pub origins: Vec<Origin>,
}

/// What was not chosen.
#[derive(Debug, Clone, Serialize)]
pub struct Rival {
    /// Its key.
    pub key: String,
    /// What it matches.
    pub pattern: String,
    /// Whether it matches too, and only is less specific.
    pub matches: bool,
    /// The objects it comes from.
    pub origins: Vec<Origin>,
}

/// A route set of the virtual host.
#[derive(Debug, Clone, Serialize)]
pub struct LayerView {
    /// The set.
    pub set: RouteSetKey,
    /// Its host condition.
    pub host: String,
    /// How many routes it has.
    pub rows: usize,
    /// Whether the host condition holds.
    pub consulted: bool,
}

/// A route, and what became of it.
#[derive(Debug, Clone, Serialize)]
pub struct Candidate {
    /// Its key.
    pub key: RouteKey,
    /// What became of it.
    pub reason: Reason,
    /// The objects it comes from.
    pub origins: Vec<Origin>,
    /// The route.
    pub route: Arc<Route>,
}

/// What became of a route: the first condition that failed, or that it wins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Reason {
    /// It takes the request.
    Wins,
    /// It would match too, but is tried later.
    Later,
    /// The host condition of its set fails.
    Host,
    /// The path condition fails.
    Path,
    /// The method differs.
    Method,
    /// A header is absent or differs.
    Header {
        /// Its name.
        name: String,
        /// Its value in the request.
        found: Option<String>,
    },
    /// A query parameter is absent or differs.
    Query {
        /// Its name.
        name: String,
        /// Its value in the request.
        found: Option<String>,
    },
    /// The virtual host rejects insecure requests.
    Insecure,
    /// The draw lies beyond the weights of all targets.
    Weight {
        /// The draw.
        draw: u32,
    },
}

/// What comes of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub enum Found {
    /// There is no such listener.
    #[default]
    NoListener,
    /// No chain takes the connection.
    NoChain,
    /// The chain refuses the handshake.
    Refused {
        /// Why.
        why: String,
    },
    /// No virtual host of the chain takes the Host.
    NoVirtualHost,
    /// No route matches.
    NoRoute,
    /// A route matches, and the request is redirected to https because it is insecure.
    RedirectToHttps {
        /// The route.
        route: RouteKey,
    },
    /// A route takes the request.
    Route {
        /// The route.
        route: RouteKey,
        /// Name of the target, where the route forwards.
        #[serde(skip_serializing_if = "Option::is_none")]
        target: Option<String>,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wins => f.write_str("wins"),
            Self::Later => f.write_str("would also match, but ranked later"),
            Self::Host => f.write_str("the hostname does not match"),
            Self::Path => f.write_str("the path does not match"),
            Self::Method => f.write_str("the method does not match"),
            Self::Header { name, found: None } => write!(f, "header {name} is absent"),
            Self::Header {
                name,
                found: Some(value),
            } => write!(f, "header {name} is {value:?}"),
            Self::Query { name, found: None } => write!(f, "query parameter {name} is absent"),
            Self::Query {
                name,
                found: Some(value),
            } => write!(f, "query parameter {name} is {value:?}"),
            Self::Insecure => f.write_str("the virtual host rejects insecure requests"),
            Self::Weight { draw } => write!(f, "draw {draw} lies beyond the weights"),
        }
    }
}
