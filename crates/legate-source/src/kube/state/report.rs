//! What there is to say about the source itself.

use std::collections::BTreeSet;
use std::time::Instant;

use legate_api::Kind;
use legate_compiler::Diagnostic;

use super::{FeedState, State};
use crate::kube::codes;
use crate::kube::freeze::Presence;
use crate::kube::kinds;

/// How many of what is forbidden are named.
const SHOWN: usize = 20;

const APPLY: &str = "run: kubectl apply -f crds/";

impl State {
    /// All diagnostics of now.
    pub(super) fn diagnostics(&self, now: Instant) -> Vec<Diagnostic> {
        let mut said = Vec::new();
        for (kind, state) in &self.kinds {
            match (state.presence(), state.ghosts()) {
                (Presence::Frozen, _) => {
                    let count = self.objects_of(*kind).count();
                    let message = format!(
                        "the definition of the kind {kind} is deleted or being deleted; what was \
                         last known of it serves on: {}",
                        objects(count)
                    );
                    said.push(Diagnostic::global(codes::W_KIND_FROZEN, message).help(APPLY));
                }
                (_, 0) => {}
                // Not how many: each that reappears would make a new diagnostic.
                _ => {
                    let stay = self.timing.ghosts_stay.as_secs();
                    let message = format!(
                        "the kind {kind} is back, but not all that was of it; what does not come \
                         back serves on for {}",
                        if stay < 60 {
                            format!("{stay} s")
                        } else {
                            format!("{} min", stay / 60)
                        },
                    );
                    let help = "create it again, or wait";
                    said.push(Diagnostic::global(codes::W_KIND_FROZEN, message).help(help));
                }
            }
        }
        let absent: Vec<&str> = self.absent().map(Kind::as_str).collect();
        if !absent.is_empty() {
            let message = format!("the API server does not have: {}", absent.join(", "));
            said.push(Diagnostic::global(codes::I_KIND_ABSENT, message).help(APPLY));
        }
        said.extend(self.forbidden(now));
        self.report_secrets(now, &mut said);
        said.sort();
        said
    }

    /// The fault that stands in the way now, as one sentence.
    pub(super) fn fault(&self, now: Instant) -> Option<String> {
        let missing: Vec<&str> = self.missing().into_iter().map(Kind::as_str).collect();
        if !missing.is_empty() {
            let missing = missing.join(", ");
            return Some(format!("the API server does not have {missing}; {APPLY}"));
        }
        let watched = |feed: &&FeedState| self.may_watch(feed.feed.kind);
        let mut failing = self
            .feeds
            .iter()
            .filter(watched)
            .filter_map(|feed| Some((feed, feed.trouble.as_ref()?)));
        if let Some((feed, trouble)) = failing.next() {
            let more = match failing.count() {
                0 => String::new(),
                more => format!(", and so for {more} more"),
            };
            let seconds = now.duration_since(trouble.since).as_secs();
            return Some(format!(
                "cannot {} {} for {seconds} s: {}{more}",
                trouble.fault.verb,
                kinds::rule_name(feed.feed.kind),
                trouble.fault.message
            ));
        }
        let fault = self.asking.fault.as_ref()?;
        Some(format!(
            "cannot discover which kinds there are: {}",
            fault.message
        ))
    }

    /// All that is forbidden in one diagnostic: a lost role forbids everything.
    fn forbidden(&self, now: Instant) -> Option<Diagnostic> {
        let mut what = BTreeSet::new();
        let mut said = None;
        for (index, state) in self.feeds.iter().enumerate() {
            let Some(trouble) = state
                .trouble
                .as_ref()
                .filter(|_| self.is_refused(index, now))
            else {
                continue;
            };
            let rule = kinds::rule_name(state.feed.kind);
            what.insert(match &state.feed.namespace {
                Some(namespace) => format!("{} {rule} in {namespace}", trouble.fault.verb),
                None => format!("{} {rule}", trouble.fault.verb),
            });
            said = said.or(Some(&trouble.fault.message));
        }
        let mut shown: Vec<String> = what.iter().take(SHOWN).cloned().collect();
        if what.len() > SHOWN {
            shown.push(format!("and {} more", what.len() - SHOWN));
        }
        let message = format!("may not {}: {}", shown.join(", "), said?);
        let help = "grant get, list and watch on it to the service account, or watch less";
        Some(Diagnostic::global(codes::W_WATCH_FORBIDDEN, message).help(help))
    }
}

fn objects(count: usize) -> String {
    match count {
        1 => "1 object".to_owned(),
        count => format!("{count} objects"),
    }
}
