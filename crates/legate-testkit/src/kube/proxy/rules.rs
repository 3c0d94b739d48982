//! Which requests meet which fault.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Method, Request, StatusCode};
use tokio::sync::watch;

/// What happens to a request.
#[derive(Debug, Clone)]
pub enum Injection {
    /// A `Status` object with this code.
    Status(StatusCode),
    /// The same, with a `Retry-After` of whole seconds.
    RetryAfter(StatusCode, Duration),
    /// 200 with this JSON text; of a watch it may be several lines, and ends it.
    Body(String),
    /// The connection ends after this many bytes of the real answer's body.
    CutAfter(usize),
    /// The connection ends without an answer.
    Close,
    /// Nothing is ever answered.
    Silence,
    /// The real answer, this much later.
    Delay(Duration),
    /// The real answer, once the channel says true or is gone.
    Until(watch::Receiver<bool>),
}

/// Requests that meet an injection: all of the given conditions must hold.
#[derive(Debug, Clone)]
pub struct Rule {
    injection: Injection,
    method: Option<Method>,
    path: Option<String>,
    query: Option<String>,
    times: Option<usize>,
}

impl Rule {
    /// Every request, until it is removed.
    #[must_use]
    pub fn new(injection: Injection) -> Self {
        Self {
            injection,
            method: None,
            path: None,
            query: None,
            times: None,
        }
    }

    /// Requests with this method.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = Some(method);
        self
    }

    /// Requests with this text in their path, e.g. `/mappings`.
    #[must_use]
    pub fn path(mut self, part: &str) -> Self {
        self.path = Some(part.to_owned());
        self
    }

    /// Requests with this text in their query, e.g. `watch=true`.
    #[must_use]
    pub fn query(mut self, part: &str) -> Self {
        self.query = Some(part.to_owned());
        self
    }

    /// Only the first so many.
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.times = Some(times);
        self
    }

    fn matches<B>(&self, request: &Request<B>) -> bool {
        let uri = request.uri();
        let holds = |wanted: &Option<String>, text: &str| {
            wanted
                .as_ref()
                .is_none_or(|part| text.contains(part.as_str()))
        };
        self.method
            .as_ref()
            .is_none_or(|method| method == request.method())
            && holds(&self.path, uri.path())
            && holds(&self.query, uri.query().unwrap_or_default())
    }
}

/// A rule in a proxy.
#[derive(Debug, Clone)]
pub struct Placed {
    rule: Arc<Rule>,
    hits: Arc<AtomicUsize>,
    left: Arc<AtomicUsize>,
}

impl Placed {
    pub(super) fn new(rule: Rule) -> Self {
        let left = rule.times.unwrap_or(usize::MAX);
        Self {
            rule: Arc::new(rule),
            hits: Arc::default(),
            left: Arc::new(AtomicUsize::new(left)),
        }
    }

    /// How many requests met it.
    #[must_use]
    pub fn hits(&self) -> usize {
        self.hits.load(Ordering::Acquire)
    }

    /// Takes it away.
    pub fn remove(&self) {
        self.left.store(0, Ordering::Release);
    }

    pub(super) fn stands(&self) -> bool {
        self.left.load(Ordering::Acquire) > 0
    }

    /// The injection, if this request meets it; uses it up by one.
    pub(super) fn take<B>(&self, request: &Request<B>) -> Option<Injection> {
        if !self.rule.matches(request) {
            return None;
        }
        self.left
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
                left.checked_sub(1)
            })
            .ok()?;
        self.hits.fetch_add(1, Ordering::AcqRel);
        Some(self.rule.injection.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_used_up() {
        let rule = Rule::new(Injection::Close)
            .path("/mappings")
            .query("watch")
            .times(1);
        let placed = Placed::new(rule);
        let list = Request::get("/apis/x/mappings").body(()).unwrap();
        let watch = Request::get("/apis/x/mappings?watch=true")
            .body(())
            .unwrap();
        assert!(placed.take(&list).is_none());
        assert!(placed.take(&watch).is_some());
        assert!(placed.take(&watch).is_none());
        assert_eq!((placed.hits(), placed.stands()), (1, false));
    }
}
