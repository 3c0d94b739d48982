//! A check of external authorisation, ready to run: which headers it gets and which of its answer
//! are copied where (spec/services §§1.2–1.4).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HOST, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use legate_config::ClusterKey;
use legate_config::auth::{Auth, AuthBody, AuthCheck, AuthProtocol};

use super::edits::is_framing;
use super::hop::strip_hop_by_hop;

/// Whether the body that a check got was cut.
pub(crate) const PARTIAL_BODY: HeaderName = HeaderName::from_static("x-envoy-auth-partial-body");
/// In an answer: names of request headers to remove.
const HEADERS_TO_REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");
const L5D_DST_OVERRIDE: HeaderName = HeaderName::from_static("l5d-dst-override");

/// What stands between a request and its target.
#[derive(Debug)]
pub(crate) enum CompiledAuth {
    /// Somebody is asked.
    Check(CompiledCheck),
    /// Every request is refused, with this message.
    Refuse(String),
}

/// A check.
#[derive(Debug)]
pub(crate) struct CompiledCheck {
    targets: Vec<(ClusterKey, Option<HeaderValue>)>,
    /// What is spoken to them.
    pub(crate) protocol: AuthProtocol,
    /// For the whole check.
    pub(crate) timeout: Duration,
    /// Put before the path as it is.
    pub(crate) path_prefix: String,
    request_headers: Vec<HeaderName>,
    answer_headers: Vec<HeaderName>,
    add: Vec<(HeaderName, HeaderValue)>,
    /// How much of the body is sent along.
    pub(crate) body: Option<AuthBody>,
    /// Whether requests pass when the check fails.
    pub(crate) allow_on_error: bool,
    /// The status when they do not.
    pub(crate) status_on_error: StatusCode,
    cursor: AtomicUsize,
}

impl CompiledAuth {
    /// Prepares a check.
    ///
    /// # Errors
    /// A header or status that is none.
    pub(crate) fn build(auth: &Auth) -> Result<Self, String> {
        match auth {
            Auth::Check(check) => CompiledCheck::build(check).map(Self::Check),
            Auth::Refuse { message } => Ok(Self::Refuse(message.clone())),
        }
    }

    /// The clusters that are asked.
    pub(crate) fn clusters(&self) -> impl Iterator<Item = &ClusterKey> {
        let targets = match self {
            Self::Check(check) => check.targets.as_slice(),
            Self::Refuse(_) => &[],
        };
        targets.iter().map(|(cluster, _)| cluster)
    }
}

impl CompiledCheck {
    fn build(check: &AuthCheck) -> Result<Self, String> {
        let name = |text: &String| {
            HeaderName::try_from(text).map_err(|_| format!("`{text}` is no header"))
        };
        let value = |text: &String| {
            HeaderValue::from_str(text).map_err(|_| format!("`{text}` is no header value"))
        };
        let names = |texts: &[String]| texts.iter().map(name).collect::<Result<Vec<_>, _>>();
        let targets = check.targets.iter().map(|target| {
            let linkerd = target.linkerd_dst.as_ref().map(value).transpose()?;
            Ok((target.cluster.clone(), linkerd))
        });
        let add = check
            .add_headers
            .iter()
            .map(|(key, text)| Ok((name(key)?, value(text)?)));
        Ok(Self {
            targets: targets.collect::<Result<_, String>>()?,
            protocol: check.protocol,
            timeout: Duration::from_millis(check.timeout_ms),
            path_prefix: check.path_prefix.clone(),
            request_headers: names(&check.request_headers)?,
            answer_headers: names(&check.answer_headers)?,
            add: add.collect::<Result<_, String>>()?,
            body: check.body,
            allow_on_error: check.allow_on_error,
            status_on_error: StatusCode::from_u16(check.status_on_error)
                .map_err(|_| format!("{} is no status", check.status_on_error))?,
            cursor: AtomicUsize::new(0),
        })
    }

    /// The places of the targets, the one whose turn it is first.
    pub(crate) fn turn(&self) -> impl Iterator<Item = usize> + use<> {
        let count = self.targets.len();
        let first = self.cursor.fetch_add(1, Ordering::Relaxed);
        (0..count).map(move |step| first.wrapping_add(step) % count)
    }

    /// Headers of the check for the target at a place. `body` is its length, and whether it was cut.
    pub(crate) fn headers(
        &self,
        target: usize,
        request: &HeaderMap,
        host: HeaderValue,
        body: Option<(usize, bool)>,
    ) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(self.request_headers.len() + 4);
        headers.insert(HOST, host);
        for name in &self.request_headers {
            copy(name, request, &mut headers);
        }
        let (length, cut) = body.map_or((0, None), |(length, cut)| (length, Some(cut)));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        if let Some(cut) = cut {
            let value = if cut { "true" } else { "false" };
            headers.insert(PARTIAL_BODY, HeaderValue::from_static(value));
        }
        if let Some((_, Some(destination))) = self.targets.get(target) {
            headers.insert(L5D_DST_OVERRIDE, destination.clone());
        }
        for (name, value) in &self.add {
            headers.insert(name.clone(), value.clone());
        }
        headers
    }

    /// Puts what an answer that allows says into the request's headers.
    pub(crate) fn apply(&self, answer: &HeaderMap, request: &mut HeaderMap) {
        for name in &self.answer_headers {
            if answer.contains_key(name) && !is_framing(name) {
                request.remove(name);
                copy(name, answer, request);
            }
        }
        for names in answer.get_all(HEADERS_TO_REMOVE) {
            for name in names.as_bytes().split(|byte| *byte == b',') {
                if let Ok(name) = HeaderName::from_bytes(name.trim_ascii())
                    && !is_framing(&name)
                {
                    request.remove(name);
                }
            }
        }
        request.remove(HEADERS_TO_REMOVE);
    }

    /// The headers of an answer that denies which its client gets. The length is not among them.
    pub(crate) fn denied(&self, answer: &HeaderMap) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(8);
        for name in &self.answer_headers {
            if !is_framing(name) {
                copy(name, answer, &mut headers);
            }
        }
        strip_hop_by_hop(&mut headers, false);
        headers
    }
}

fn copy(name: &HeaderName, from: &HeaderMap, to: &mut HeaderMap) {
    for value in from.get_all(name) {
        to.append(name.clone(), value.clone());
    }
}
