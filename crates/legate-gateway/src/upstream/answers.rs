//! Whether a side service answers, as those who ask it find: for whoever tells people.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::cluster::{ClusterHandle, Shards};
use crate::error::ProxyError;
use crate::metrics::AuthCounters;

/// What became of the questions to a side service.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    answered: AtomicU64,
    failed: AtomicU64,
    /// Why the first question failed that did since the last look.
    why: Mutex<Option<String>>,
    seen: Mutex<Seen>,
}

/// What the last look found.
#[derive(Debug, Default)]
struct Seen {
    answered: u64,
    failed: u64,
    trouble: Option<String>,
}

// === impl ClusterHandle ===

impl ClusterHandle {
    /// What it was asked about requests, and said.
    pub(crate) fn auth(&self) -> &Arc<AuthCounters> {
        self.auth.get_or_init(Arc::default)
    }

    /// The same, if it ever is asked.
    pub(super) fn asked(&self) -> Option<&Arc<AuthCounters>> {
        self.auth.get()
    }

    /// Requests that it was not asked about, because their routes are exempt.
    pub(super) fn bypassed(&self) -> u64 {
        let shards = self.stats.get().into_iter().flat_map(Shards::iter);
        shards
            .map(|shard| shard.auth_bypassed.load(Ordering::Relaxed))
            .fold(0, u64::saturating_add)
    }

    /// Whether it answers, where it is a side service.
    pub(crate) fn answers(&self) -> &Answers {
        self.answers.get_or_init(Box::default)
    }
}

// === impl Answers ===

impl Answers {
    /// A question was answered.
    pub(crate) fn answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// A question was not answered, or by nothing that is an answer.
    pub(crate) fn failed(&self, why: impl Display) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        // Nobody waits for the lock: one reason is as good as another.
        if let Some(mut known) = self.why.try_lock()
            && known.is_none()
        {
            *known = Some(why.to_string());
        }
    }

    /// A question could not be put, or its connection was lost.
    pub(crate) fn lost(&self, error: &ProxyError) {
        match error.reason() {
            Some(reason) => self.failed(format_args!("{}: {reason}", error.kind())),
            None => self.failed(error.kind()),
        }
    }

    /// Looks again: `Some` = questions failed and none was answered, since the last look at which
    /// there had been any; says why the first of them failed.
    pub(crate) fn look(&self) -> Option<String> {
        let mut seen = self.seen.lock();
        let answered = self.answered.load(Ordering::Relaxed);
        let failed = self.failed.load(Ordering::Relaxed);
        let why = self.why.lock().take();
        if answered != seen.answered {
            seen.trouble = None;
        } else if failed != seen.failed && seen.trouble.is_none() {
            seen.trouble = why.or_else(|| Some("it does not answer".to_owned()));
        }
        (seen.answered, seen.failed) = (answered, failed);
        seen.trouble.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_answer_between_two_looks_is_enough() {
        let answers = Answers::default();
        assert_eq!(answers.look(), None);
        answers.failed("refused");
        answers.failed("late");
        assert_eq!(answers.look().as_deref(), Some("refused"));
        // Nothing new, and then the same for another reason: no news.
        assert_eq!(answers.look().as_deref(), Some("refused"));
        answers.failed("late");
        assert_eq!(answers.look().as_deref(), Some("refused"));
        answers.answered();
        answers.failed("late");
        assert_eq!(answers.look(), None);
        answers.failed("reset");
        assert_eq!(answers.look().as_deref(), Some("reset"));
    }
}
