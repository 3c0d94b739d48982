//! What changed for the worse or the better: what Events are about.

use serde_json::Value;

use super::find;
use crate::status::conditions::{Truth, Verdict};
use crate::status::observed::text;
use crate::status::tracker::Desired;

/// Whether news are good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::status) enum Tone {
    /// A recovery.
    Normal,
    /// Something went bad.
    Warning,
}

/// A change that humans ought to be told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::status) struct News {
    /// Good or bad.
    pub(in crate::status) tone: Tone,
    /// The reason of the condition.
    pub(in crate::status) reason: String,
    /// Condition and message.
    pub(in crate::status) note: String,
}

/// Compares the entry that we wrote before with what it ought to say.
pub(super) fn of(old: Option<&Value>, desired: &Desired) -> Option<News> {
    let before =
        |verdict: &Verdict| old.and_then(|entry| find(entry.get("conditions"), verdict.type_));
    let was_bad = |verdict: &Verdict| {
        before(verdict).is_some_and(|old| text(old, "status") == Some(Truth::False.as_str()))
    };
    // The first one is the cause of those after it.
    if let Some(bad) = desired.verdicts.iter().find(|v| v.truth == Truth::False) {
        let known =
            was_bad(bad) && before(bad).is_some_and(|old| text(old, "reason") == Some(bad.reason));
        return (!known).then(|| news(Tone::Warning, bad));
    }
    let recovered = desired.verdicts.iter().find(|verdict| was_bad(verdict))?;
    Some(news(Tone::Normal, recovered))
}

fn news(tone: Tone, verdict: &Verdict) -> News {
    let condition = verdict.type_;
    let is = match verdict.truth {
        Truth::False => "does not hold",
        Truth::Unknown => "is being decided again",
        Truth::True => "holds again",
    };
    let note = if verdict.message.is_empty() {
        format!("{condition} {is}")
    } else {
        format!("{condition} {is}: {}", verdict.message)
    };
    News {
        tone,
        reason: verdict.reason.to_owned(),
        note,
    }
}
