//! What the compiler said about an object, as conditions (spec/operations §4.2).
//!
//! Pure. What gateways said is not in it: `Programmed`, and `Bound` where nothing speaks against
//! it, are [`Gate`]s that the tracker decides.

mod reasons;
#[cfg(test)]
mod tests;

use legate_api::Kind;
use legate_compiler::{Diagnostic, ObjectState, ObjectStatus};
use legate_config::{Effect, ObjectRef, Severity};

use reasons::{ACCEPTED, Concern, INVALID, Meaning, PARTLY_INVALID, meaning};

/// Most bytes of a condition's message.
pub(super) const MAX_MESSAGE: usize = 1024;

/// Type of the condition of objects that have gateways ask somebody about requests, and its reason
/// while it holds. What has no other fault is in force all the same.
pub(super) const REACHABLE: &str = "Reachable";

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Truth {
    /// It does not.
    False,
    /// Nobody knows yet.
    Unknown,
    /// It does.
    True,
}

impl Truth {
    /// As the API writes it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Truth::False => "False",
            Truth::Unknown => "Unknown",
            Truth::True => "True",
        }
    }

    /// From what the API says; anything odd is unknown.
    pub(super) fn parse(text: &str) -> Self {
        match text {
            "True" => Truth::True,
            "False" => Truth::False,
            _ => Truth::Unknown,
        }
    }
}

/// A condition without its time and generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Type of the condition.
    pub(super) type_: &'static str,
    /// Whether it holds.
    pub(super) truth: Truth,
    /// One word that says why.
    pub(super) reason: &'static str,
    /// Sentences for humans, at most [`MAX_MESSAGE`] bytes.
    pub(super) message: String,
}

/// A condition that waits for gateways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gate {
    /// `Programmed` or `Bound`.
    pub(super) type_: &'static str,
    /// The reason while it holds.
    pub(super) reason: &'static str,
    /// The message while it holds.
    pub(super) message: String,
}

/// What the compiler's word comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Judgement {
    /// Conditions that no gateway has a say in, in the order in which they are written.
    pub(super) verdicts: Vec<Verdict>,
    /// The condition that gateways decide, if the kind has one and nothing speaks against it.
    pub(super) gate: Option<Gate>,
}

/// Judges an object by all diagnostics about it. `about` finds those about another object (a
/// Secret), which name the reason that a Host only points to.
pub(super) fn judge(
    kind: Kind,
    status: &ObjectStatus,
    diagnostics: &[&Diagnostic],
    about: &dyn Fn(&ObjectRef) -> Vec<Diagnostic>,
) -> Judgement {
    let types = Types::of(kind);
    let said = sort(&types, diagnostics, about);
    let mut verdicts = vec![accepted(status, &said)];
    if let Some(type_) = types.refs {
        verdicts.push(references(kind, type_, &said));
    }
    let Some(type_) = types.gate else {
        return Judgement {
            verdicts,
            gate: None,
        };
    };
    let failing = verdicts
        .iter()
        // A Host without TLS material still serves cleartext.
        .find(|verdict| verdict.truth == Truth::False && verdict.type_ != "TLSReady")
        .map(|verdict| verdict.type_);
    let gate = match bad(&said, Concern::Bound).next() {
        Some(_) => Err(condition(type_, &said, Concern::Bound, Truth::False)),
        None => match failing {
            Some(other) => Err(Verdict {
                type_,
                truth: Truth::False,
                reason: if other == "Accepted" {
                    "NotAccepted"
                } else {
                    "RefsNotResolved"
                },
                message: not_programmed(status, other),
            }),
            None => Ok(open_gate(type_, &said)),
        },
    };
    match gate {
        Err(verdict) => {
            verdicts.push(verdict);
            Judgement {
                verdicts,
                gate: None,
            }
        }
        Ok(gate) => Judgement {
            verdicts,
            gate: Some(gate),
        },
    }
}

/// Text of at most `MAX_MESSAGE` bytes, cut at a character, with a count of the bytes left out.
pub(super) fn bounded(text: String) -> String {
    if text.len() <= MAX_MESSAGE {
        return text;
    }
    // Room for "… (18446744073709551615 more bytes)".
    let mut end = MAX_MESSAGE - 40;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let kept = text.get(..end).unwrap_or_default();
    format!("{kept}… ({} more bytes)", text.len() - end)
}

/// The condition types of a kind besides `Accepted`.
struct Types {
    refs: Option<&'static str>,
    gate: Option<&'static str>,
}

impl Types {
    fn of(kind: Kind) -> Self {
        let (refs, gate) = match kind {
            Kind::Mapping | Kind::TcpMapping => (Some("ResolvedRefs"), Some("Programmed")),
            Kind::Host => (Some("TLSReady"), Some("Bound")),
            Kind::Listener => (None, Some("Bound")),
            Kind::TlsContext => (Some("ResolvedRefs"), None),
            _ => (None, None),
        };
        Self { refs, gate }
    }

    /// Where a kind has no condition of its own for a concern, `Accepted` takes it.
    fn place(&self, concern: Concern) -> Concern {
        match (concern, self.refs, self.gate) {
            (Concern::Refs, None, _)
            | (Concern::Programmed, _, None | Some("Bound"))
            | (Concern::Bound, _, None | Some("Programmed")) => Concern::Accepted,
            _ => concern,
        }
    }
}

/// A diagnostic and what it means here.
struct Said<'a> {
    diagnostic: &'a Diagnostic,
    concern: Concern,
    reason: &'static str,
    /// Whether it makes its condition false.
    bad: bool,
}

fn sort<'a>(
    types: &Types,
    diagnostics: &[&'a Diagnostic],
    about: &dyn Fn(&ObjectRef) -> Vec<Diagnostic>,
) -> Vec<Said<'a>> {
    let mut said: Vec<Said<'_>> = diagnostics
        .iter()
        .map(|diagnostic| {
            let found = meaning(&diagnostic.code);
            let concern = types.place(found.concern);
            Said {
                diagnostic,
                concern,
                reason: pointed_to(diagnostic, found, about),
                bad: is_bad(diagnostic, found, concern),
            }
        })
        .filter(|said| said.concern != Concern::Nothing)
        .collect();
    // What is wrong comes first in a message that may be cut.
    said.sort_by_key(|said| (!said.bad, said.diagnostic.severity()));
    said
}

/// Whether a diagnostic makes its condition false.
fn is_bad(diagnostic: &Diagnostic, meaning: Meaning, concern: Concern) -> bool {
    let fatal = matches!(
        diagnostic.effect,
        Effect::Dropped | Effect::Answering(_) | Effect::ServingLastGood
    );
    let error = diagnostic.severity() == Severity::Error;
    match concern {
        // Partly accepted objects take effect.
        Concern::Accepted | Concern::Programmed => fatal,
        _ => fatal || meaning.decides || (error && diagnostic.effect == Effect::FieldIgnored),
    }
}

/// A Host's diagnostic about a Secret says that it cannot be used; the Secret's own says why.
fn pointed_to(
    diagnostic: &Diagnostic,
    meaning: Meaning,
    about: &dyn Fn(&ObjectRef) -> Vec<Diagnostic>,
) -> &'static str {
    if meaning.concern != Concern::Refs || meaning.reason != INVALID {
        return meaning.reason;
    }
    diagnostic
        .related
        .iter()
        .filter(|related| related.object.kind == Kind::Secret.as_str())
        .flat_map(|related| about(&related.object))
        .map(|other| reasons::meaning(&other.code))
        .find(|other| other.concern == Concern::Refs && !other.reason.is_empty())
        .map_or(meaning.reason, |other| other.reason)
}

fn bad<'a, 'b>(said: &'b [Said<'a>], concern: Concern) -> impl Iterator<Item = &'b Said<'a>> {
    said.iter()
        .filter(move |said| said.concern == concern && said.bad)
}

fn accepted(status: &ObjectStatus, said: &[Said<'_>]) -> Verdict {
    let own_fault = bad(said, Concern::Accepted).next().is_some();
    let elsewhere = said.iter().any(|said| said.bad);
    let rejected = status.state == ObjectState::Rejected;
    // A version that is not in use because its last good one is was not accepted, whatever for.
    let fails = rejected && (own_fault || status.serving_last_good || !elsewhere);
    if !fails {
        return condition("Accepted", said, Concern::Accepted, Truth::True);
    }
    let mut verdict = condition("Accepted", said, Concern::Accepted, Truth::False);
    if !own_fault {
        let first = said.iter().find(|said| said.bad);
        verdict.reason = first.map_or(INVALID, |said| said.reason);
        verdict.message = match first {
            Some(said) => said.diagnostic.message.clone(),
            None => status.reason.as_ref().map_or_else(
                || "the object is rejected".to_owned(),
                |code| format!("the object is rejected ({code})"),
            ),
        };
    }
    if status.serving_last_good {
        let why = std::mem::take(&mut verdict.message);
        verdict.message = format!("the last good version serves in its place; {why}");
    }
    verdict.message = bounded(verdict.message);
    verdict
}

fn references(kind: Kind, type_: &'static str, said: &[Said<'_>]) -> Verdict {
    let truth = match bad(said, Concern::Refs).next() {
        Some(_) => Truth::False,
        None => Truth::True,
    };
    let mut verdict = condition(type_, said, Concern::Refs, truth);
    if truth == Truth::True && verdict.reason == ACCEPTED {
        verdict.reason = if kind == Kind::Host {
            "Ready"
        } else {
            "ResolvedRefs"
        };
    }
    verdict
}

/// A condition from what was said on its subject.
fn condition(type_: &'static str, said: &[Said<'_>], concern: Concern, truth: Truth) -> Verdict {
    let about: Vec<&Said<'_>> = said.iter().filter(|said| said.concern == concern).collect();
    let reason = match truth {
        Truth::True => reserve(&about),
        _ => about
            .iter()
            .find(|said| said.bad)
            .map_or(INVALID, |said| said.reason),
    };
    Verdict {
        type_,
        truth,
        reason,
        message: message(&about),
    }
}

/// The reason of a condition that holds: whatever is to be said against it all the same.
fn reserve(about: &[&Said<'_>]) -> &'static str {
    let first = about.iter().find(|said| !said.reason.is_empty());
    match first {
        Some(said) if said.reason == INVALID => PARTLY_INVALID,
        Some(said) => said.reason,
        None => ACCEPTED,
    }
}

/// The messages joined, with the field of each.
fn message(about: &[&Said<'_>]) -> String {
    let mut text = String::new();
    for said in about {
        if !text.is_empty() {
            text.push_str("; ");
        }
        if !said.diagnostic.path.is_empty() {
            text.push_str(&said.diagnostic.path);
            text.push_str(": ");
        }
        text.push_str(&said.diagnostic.message);
    }
    bounded(text)
}

fn open_gate(type_: &'static str, said: &[Said<'_>]) -> Gate {
    let concern = if type_ == "Bound" {
        Concern::Bound
    } else {
        Concern::Programmed
    };
    let verdict = condition(type_, said, concern, Truth::True);
    Gate {
        type_,
        reason: if verdict.reason == ACCEPTED {
            type_
        } else {
            verdict.reason
        },
        message: verdict.message,
    }
}

fn not_programmed(status: &ObjectStatus, failing: &str) -> String {
    if status.serving_last_good {
        "this version is not in use; the last good version serves".to_owned()
    } else {
        format!("see the condition {failing}")
    }
}
