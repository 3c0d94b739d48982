//! The policies of a target, ready to run: header edits, path rewriting, generated headers
//! (spec/routing §§4.7, 4.9, 4.10, spec/services §5.1).
//!
//! Timeouts and upgrades are only carried here; the pipeline applies them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{
    AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, ORIGIN, REFERER, USER_AGENT,
};
use legate_config::ClusterKey;
use legate_config::http::HttpSettings;
use legate_config::limit::RateLimit;
use legate_config::policy::{HeaderEdits, HostRewrite, PolicySet, Priority, Retry};
use smallvec::SmallVec;

use super::affinity::CompiledHash;
use super::auth::CompiledAuth;
use super::captured::Captured;
use super::cors::CompiledCors;
use super::facts::{Facts, Headers};
use super::labels::CompiledLabels;
use super::rewrite::CompiledRewrite;
use super::template::{Captures, Compiled, Values};

const X_ENVOY_ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");
const X_ENVOY_EXPECTED_RQ_TIMEOUT_MS: HeaderName =
    HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
const L5D_DST_OVERRIDE: HeaderName = HeaderName::from_static("l5d-dst-override");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Effective policies of one target.
#[derive(Debug, Clone)]
pub(crate) struct CompiledPolicy {
    request: Edits,
    response: Edits,
    rewrite: CompiledRewrite,
    /// What becomes of the Host header.
    pub(crate) host: CompiledHost,
    /// From the end of the request to the end of the response; `None` = no limit.
    pub(crate) timeout: Option<Duration>,
    /// Without a byte either way; `None` = no limit.
    pub(crate) idle_timeout: Option<Duration>,
    /// Which circuit breakers count the requests.
    pub(crate) priority: Priority,
    /// When a request is sent again.
    pub(crate) retry: Option<Retry>,
    expected_timeout: Option<HeaderValue>,
    linkerd_dst: Option<HeaderValue>,
    upgrades: Vec<String>,
    /// Who is asked before anything goes upstream.
    pub(crate) auth: Option<Arc<CompiledAuth>>,
    /// Whom a check would ask, were the route not exempt from it.
    pub(crate) bypassed: Option<ClusterKey>,
    /// What it is told about the route.
    pub(crate) auth_context: BTreeMap<String, String>,
    /// What requests are counted by.
    pub(crate) labels: Option<CompiledLabels>,
    /// Who is asked whether a request is over a limit.
    pub(crate) rate_limit: Option<Arc<RateLimit>>,
    /// Which origins' scripts may use the target.
    pub(crate) cors: Option<CompiledCors>,
    /// What of a request decides about its endpoint.
    pub(crate) hash: Option<CompiledHash>,
}

/// What becomes of the Host header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CompiledHost {
    /// The client's.
    Keep,
    /// This.
    Literal(HeaderValue),
    /// The upstream's DNS name, where it has one.
    Auto,
}

impl CompiledPolicy {
    /// Prepares a policy bundle.
    ///
    /// # Errors
    /// A pattern that does not compile, or a host or destination that is no header value.
    pub(crate) fn build(set: &PolicySet) -> Result<Self, String> {
        let value = |text: &str| {
            HeaderValue::from_str(text).map_err(|_| format!("`{text}` is no header value"))
        };
        Ok(Self {
            request: Edits::build(&set.request_headers),
            response: Edits::build(&set.response_headers),
            rewrite: CompiledRewrite::build(&set.rewrite)?,
            host: match &set.host {
                HostRewrite::Keep => CompiledHost::Keep,
                HostRewrite::Literal(host) => CompiledHost::Literal(value(host)?),
                HostRewrite::Auto => CompiledHost::Auto,
            },
            timeout: millis(set.timeout_ms),
            idle_timeout: millis(set.idle_timeout_ms),
            priority: set.priority,
            retry: set.retry,
            expected_timeout: expected_timeout(set),
            linkerd_dst: set.linkerd_dst.as_deref().map(value).transpose()?,
            upgrades: set.upgrades.clone(),
            auth: match &set.auth {
                Some(auth) => Some(Arc::new(CompiledAuth::build(auth)?)),
                None => None,
            },
            bypassed: set.auth_bypassed.clone(),
            auth_context: set.auth_context.iter().cloned().collect(),
            labels: set
                .labels
                .as_deref()
                .map(CompiledLabels::build)
                .transpose()?,
            rate_limit: set.rate_limit.clone(),
            cors: set.cors.as_ref().map(CompiledCors::build).transpose()?,
            hash: set.hash.as_ref().map(CompiledHash::build).transpose()?,
        })
    }

    /// The new path and query, or `None` where the path stays. The query is always kept.
    pub(crate) fn rewrite_path(&self, path: &str, query: Option<&str>) -> Option<String> {
        let mut new = self.rewrite.apply(path)?;
        if new.is_empty() {
            new.push('/');
        }
        if let Some(query) = query {
            new.push('?');
            new.push_str(query);
        }
        Some(new)
    }

    /// Whether [`Self::apply_request`] does anything.
    pub(crate) fn edits_requests(&self) -> bool {
        !self.request.is_empty()
    }

    /// The same of [`Self::apply_response`].
    pub(crate) fn edits_responses(&self) -> bool {
        !self.response.is_empty()
    }

    /// The values that edits of a request's headers compute, from the message before any edit. The
    /// facts are gathered only where some are wanted.
    pub(crate) fn request_values<'f>(
        &self,
        headers: &HeaderMap,
        facts: impl FnOnce() -> Facts<'f>,
    ) -> Computed {
        let headers = (Headers::Live(headers), Headers::None);
        self.request.compute(headers, facts)
    }

    /// Edits the headers of a request: removals, then additions.
    pub(crate) fn apply_request(&self, headers: &mut HeaderMap, values: Computed) {
        self.request.apply(headers, values);
    }

    /// Sets the headers that we generate for the upstream, after [`Self::apply_request`].
    /// `original` is the path and query before they were rewritten, if they were.
    pub(crate) fn apply_generated(
        &self,
        headers: &mut HeaderMap,
        original: Option<&str>,
        settings: &HttpSettings,
    ) {
        if !settings.suppress_envoy_headers {
            if let Some(timeout) = &self.expected_timeout {
                headers.insert(X_ENVOY_EXPECTED_RQ_TIMEOUT_MS, timeout.clone());
            }
            if let Some(original) = original
                && let Ok(value) = HeaderValue::from_str(original)
            {
                headers.insert(X_ENVOY_ORIGINAL_PATH, value);
            }
        }
        if let Some(destination) = &self.linkerd_dst {
            headers.insert(L5D_DST_OVERRIDE, destination.clone());
        }
    }

    /// Copies the request headers that [`Self::apply_response`] will need; usually none.
    pub(crate) fn capture(&self, headers: &HeaderMap) -> Captured {
        self.response.captures.request.capture(headers)
    }

    /// The same as [`Self::request_values`] for a response, with the copies of its request's headers.
    pub(crate) fn response_values<'f>(
        &self,
        headers: &HeaderMap,
        request: &Captured,
        facts: impl FnOnce() -> Facts<'f>,
    ) -> Computed {
        let headers = (Headers::Captured(request), Headers::Live(headers));
        self.response.compute(headers, facts)
    }

    /// Edits the headers of a response, local replies of a matched forwarding route included.
    pub(crate) fn apply_response(&self, headers: &mut HeaderMap, values: Computed) {
        self.response.apply(headers, values);
    }

    /// Whether an `Upgrade` token is let through.
    pub(crate) fn allows_upgrade(&self, token: &str) -> bool {
        self.upgrades
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(token))
    }
}

/// What the upstream is told of our patience: that of one attempt, else that of the route.
fn expected_timeout(set: &PolicySet) -> Option<HeaderValue> {
    let per_try = set.retry.map_or(0, |retry| retry.per_try_timeout_ms);
    let ms = if per_try > 0 { per_try } else { set.timeout_ms };
    (ms > 0).then(|| HeaderValue::from(ms))
}

fn millis(ms: u64) -> Option<Duration> {
    (ms > 0).then(|| Duration::from_millis(ms))
}

/// Values of the templates among some edits, in their order; `None` where the value is empty.
pub(crate) type Computed = SmallVec<[Option<HeaderValue>; 2]>;

/// Removals, then additions.
#[derive(Debug, Clone)]
struct Edits {
    remove: Vec<HeaderName>,
    add: Vec<Add>,
    captures: Captures,
}

#[derive(Debug, Clone)]
struct Add {
    name: HeaderName,
    value: AddValue,
    append: bool,
}

#[derive(Debug, Clone)]
enum AddValue {
    Literal(HeaderValue),
    Template(Compiled),
}

impl Edits {
    /// Names that may not be edited, or are none, are left out; the compiler has said so.
    fn build(edits: &HeaderEdits) -> Self {
        let mut captures = Captures::default();
        let add = edits
            .add
            .iter()
            .filter_map(|add| {
                let value = match add.value.as_literal() {
                    Some("") => return None,
                    Some(text) => AddValue::Literal(HeaderValue::from_str(text).ok()?),
                    None => AddValue::Template(Compiled::build(&add.value, &mut captures)),
                };
                Some(Add {
                    name: editable(&add.name)?,
                    value,
                    append: add.append,
                })
            })
            .collect();
        Self {
            remove: edits
                .remove
                .iter()
                .filter_map(|name| editable(name))
                .collect(),
            add,
            captures,
        }
    }

    fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.add.is_empty()
    }

    /// All values are those of the message as it was, whatever the order of the edits.
    fn compute<'f>(
        &self,
        (request, response): (Headers<'_>, Headers<'_>),
        facts: impl FnOnce() -> Facts<'f>,
    ) -> Computed {
        let mut templates = self.add.iter().filter_map(|add| match &add.value {
            AddValue::Literal(_) => None,
            AddValue::Template(template) => Some(template),
        });
        let Some(first) = templates.next() else {
            return Computed::new();
        };
        let facts = facts();
        let values = Values {
            facts: &facts,
            request,
            response,
            trailers: Headers::None,
        };
        let templates = [first].into_iter().chain(templates);
        templates
            .map(|template| template.header_value(&values))
            .collect()
    }

    fn apply(&self, headers: &mut HeaderMap, computed: Computed) {
        for name in &self.remove {
            headers.remove(name);
        }
        let mut computed = computed.into_iter();
        for add in &self.add {
            let value = match &add.value {
                AddValue::Literal(value) => Some(value.clone()),
                AddValue::Template(_) => computed.next().flatten(),
            };
            let Some(value) = value else { continue };
            if !add.append {
                headers.insert(&add.name, value);
            } else if single(&add.name) && headers.contains_key(&add.name) {
                let joined = join(headers, &add.name, &value);
                headers.insert(&add.name, joined);
            } else {
                headers.append(&add.name, value);
            }
        }
    }
}

/// The name, if edits may touch it: not the host, not what frames a message or concerns one hop.
fn editable(name: &str) -> Option<HeaderName> {
    let forbidden = matches!(
        name,
        "host"
            | "connection"
            | "keep-alive"
            | "proxy-connection"
            | "transfer-encoding"
            | "content-length"
            | "upgrade"
            | "te"
    );
    // A pseudo-header's colon is no name character.
    (!forbidden)
        .then(|| HeaderName::try_from(name).ok())
        .flatten()
}

/// Headers of which a message has one line; a further value is joined with a comma.
fn single(name: &HeaderName) -> bool {
    [
        CONTENT_TYPE,
        USER_AGENT,
        REFERER,
        ORIGIN,
        AUTHORIZATION,
        X_FORWARDED_FOR,
        X_FORWARDED_PROTO,
        X_REQUEST_ID,
    ]
    .contains(name)
}

fn join(headers: &HeaderMap, name: &HeaderName, value: &HeaderValue) -> HeaderValue {
    let mut joined = Vec::with_capacity(64);
    for present in headers.get_all(name) {
        joined.extend_from_slice(present.as_bytes());
        joined.push(b',');
    }
    joined.extend_from_slice(value.as_bytes());
    HeaderValue::from_maybe_shared(Bytes::from(joined)).unwrap_or_else(|_| value.clone())
}

#[cfg(test)]
mod tests;
