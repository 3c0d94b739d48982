//! Route sets, routes, their order, what they match and what they do.

use std::cmp::Ordering;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::key::{ClusterKey, PolicyKey, RouteSetKey};
use crate::listener::HostPattern;

/// Routes that attach to the same virtual hosts and share one host condition.
///
/// Rows live once however many virtual hosts list the set ("layers", see ARCHITECTURE.md).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSet {
    /// Condition on the request's Host (port included) that every route of the set carries.
    pub host: HostPattern,
}

/// One row: a match, its place in the order, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The set this belongs to.
    pub set: RouteSetKey,
    /// Name for logs and metrics: `namespace/name` of the founding object.
    pub name: String,
    /// Place in the total order over all routes of a virtual host; lower is tried earlier.
    pub rank: Rank,
    /// All conditions, except the set's host condition.
    #[serde(rename = "match")]
    pub matches: RouteMatch,
    /// Whether insecure requests are always routed (ACME challenges, spec/routing §3.8).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub always_routed: bool,
    /// What to do.
    pub action: Action,
}

/// A place in the total order of routes, decided by the compiler; the data plane only compares.
///
/// Compared by `tier` (higher first), then `specificity` element by element (higher first), then
/// `tie` (byte order, lower first).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rank {
    /// The user's own precedence.
    pub tier: i64,
    /// Specificity in the front-end's own order.
    pub specificity: Vec<u32>,
    /// Encodes whatever comes next, so that the order is total.
    pub tie: Vec<u8>,
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        other
            .tier
            .cmp(&self.tier)
            .then_with(|| other.specificity.cmp(&self.specificity))
            .then_with(|| self.tie.cmp(&other.tie))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// `[tier, specificity…, "tie in hex"]`
impl Serialize for Rank {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeSeq;
        let mut seq = serializer.serialize_seq(Some(self.specificity.len() + 2))?;
        seq.serialize_element(&self.tier)?;
        for part in &self.specificity {
            seq.serialize_element(part)?;
        }
        seq.serialize_element(&crate::hash::hex(&self.tie))?;
        seq.end()
    }
}

impl<'de> Deserialize<'de> for Rank {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Part {
            Number(i64),
            Text(String),
        }
        let wrong = || de::Error::custom("a rank is [tier, specificity…, tie]");
        let mut parts = Vec::deserialize(deserializer)?.into_iter();
        let (Some(Part::Number(tier)), Some(Part::Text(tie))) = (parts.next(), parts.next_back())
        else {
            return Err(wrong());
        };
        let specificity = parts.map(|part| match part {
            Part::Number(number) => u32::try_from(number).map_err(|_| wrong()),
            Part::Text(_) => Err(wrong()),
        });
        Ok(Self {
            tier,
            specificity: specificity.collect::<Result<_, _>>()?,
            tie: crate::hash::unhex(&tie).ok_or_else(wrong)?,
        })
    }
}

/// Conditions of a route; all must hold (spec/routing §4.2).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RouteMatch {
    /// On the normalised path, without query.
    pub path: PathMatch,
    /// On the method, case-sensitive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<StringMatch>,
    /// On headers; names lower-case; several values of one name are joined with `,`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<NamedMatch>,
    /// On query parameters: the first of the name counts, not percent-decoded; `?flag` has value "".
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<NamedMatch>,
}

/// A condition on the path. Regexes are in Rust syntax, translated and validated; they must match
/// the whole path.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PathMatch {
    /// The path starts with the text, as raw bytes: `/api` matches `/apiary`.
    Prefix {
        /// The text.
        value: String,
        /// Compare without regard to ASCII case.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        ignore_case: bool,
    },
    /// The path is the text.
    Exact {
        /// The text.
        value: String,
        /// Compare without regard to ASCII case.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        ignore_case: bool,
    },
    /// The regular expression matches the whole path.
    Regex {
        /// The expression.
        value: String,
    },
}

/// A condition on a named value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NamedMatch {
    /// The name.
    pub name: String,
    /// The condition. An absent value never matches.
    #[serde(flatten)]
    pub value: StringMatch,
}

// By hand: a flattened field and the refusal of unknown ones exclude each other.
impl<'de> Deserialize<'de> for NamedMatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Form {
            name: String,
            exact: Option<String>,
            regex: Option<String>,
            present: Option<bool>,
        }
        let form = Form::deserialize(deserializer)?;
        let value = match (form.exact, form.regex, form.present) {
            (Some(text), None, None) => StringMatch::Exact(text),
            (None, Some(text), None) => StringMatch::Regex(text),
            (None, None, Some(present)) => StringMatch::Present(present),
            _ => return Err(de::Error::custom("a named match has one condition")),
        };
        Ok(Self {
            name: form.name,
            value,
        })
    }
}

/// A condition on a text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StringMatch {
    /// Equal.
    Exact(String),
    /// The regular expression (Rust syntax, validated) matches the whole text.
    Regex(String),
    /// Present, whatever the value.
    Present(bool),
}

/// What a route does.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// Proxy to one of the targets.
    Forward(Split),
    /// Answer with a redirect.
    Redirect(Redirect),
    /// Answer for a probe from the process's own state.
    Probe(ProbeKind),
    /// Answer for a probe, once whoever is asked about requests lets it pass.
    GuardedProbe {
        /// Which one.
        probe: ProbeKind,
        /// The policies: who is asked.
        policies: PolicyKey,
    },
    /// The defined answer of an object that could not be honoured.
    Fail(Fail),
}

/// Weighted targets. A request draws `r` in `[0, of)`; the first target whose running total exceeds
/// `r` is taken. A draw beyond the sum means that the route does not match (spec/routing §4.5.4).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// The targets in drawing order.
    pub targets: Vec<Target>,
    /// The range of the draw; 100 for percent.
    pub of: u32,
    /// Who gets copies of requests, and never answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<Mirror>,
}

/// A shadow of a split (spec/services §3.7).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    /// `namespace/name` of the object that asks for the copies.
    pub name: String,
    /// Percentage of requests copied.
    pub percent: u32,
    /// Where the copies go.
    pub cluster: ClusterKey,
}

/// One weighted target.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// `namespace/name` of the object that names this target.
    pub name: String,
    /// Its share.
    pub weight: u32,
    /// Where it leads.
    pub to: Destination,
}

/// Where a target leads.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Destination {
    /// To a cluster, with the effective policies of this target.
    Cluster {
        /// The cluster.
        cluster: ClusterKey,
        /// Effective policies.
        policies: PolicyKey,
    },
    /// An invalid target keeps its share and answers with a failure.
    Fail(Fail),
}

/// A defined failure.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fail {
    /// HTTP status.
    pub status: u16,
    /// The diagnostic code that explains it; shown in the access log's details.
    pub reason: String,
}

/// Which probe a probe route answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeKind {
    /// `check_alive`
    Alive,
    /// `check_ready`
    Ready,
}

/// A redirect (spec/routing §4.8).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// Scheme of the location; `None` = the request's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// Host of the location, port included; `None` = the request's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// What becomes of the path.
    pub path: RedirectPath,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// What a redirect does with the path. The query is kept unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RedirectPath {
    /// Unchanged.
    Keep,
    /// Replaced; when the text has a `?` the request's query is dropped.
    Full(String),
    /// The first `matched` bytes replaced.
    Prefix {
        /// Bytes of the matched prefix.
        matched: usize,
        /// What stands there instead.
        with: String,
    },
    /// Every match replaced.
    Regex(crate::policy::RegexReplace),
}
