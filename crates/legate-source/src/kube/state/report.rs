//! What there is to say about the source itself.

use std::time::Instant;

use legate_api::Kind;
use legate_compiler::Diagnostic;

use super::{FeedState, State};
use crate::kube::codes;
use crate::kube::freeze::Presence;
use crate::kube::kinds;

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
                (_, ghosts) => {
                    let stay = self.timing.ghosts_stay.as_secs();
                    let message = format!(
                        "the kind {kind} is back, but not all that was of it; what is not back \
                         serves on for {} at most: {}",
                        if stay < 60 {
                            format!("{stay} s")
                        } else {
                            format!("{} min", stay / 60)
                        },
                        objects(ghosts),
                    );
                    let help = "create them again, or wait";
                    said.push(Diagnostic::global(codes::W_KIND_FROZEN, message).help(help));
                }
            }
        }
        let absent: Vec<&str> = self.absent().map(Kind::as_str).collect();
        if !absent.is_empty() {
            let message = format!("the API server does not have: {}", absent.join(", "));
            said.push(Diagnostic::global(codes::I_KIND_ABSENT, message).help(APPLY));
        }
        for (index, state) in self.feeds.iter().enumerate() {
            if self.is_refused(index, now) {
                said.extend(forbidden(state));
            }
        }
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
}

fn forbidden(state: &FeedState) -> Option<Diagnostic> {
    let trouble = state.trouble.as_ref()?;
    let scope = match &state.feed.namespace {
        Some(namespace) => format!("in the namespace {namespace}"),
        None => "in the whole cluster".to_owned(),
    };
    let message = format!(
        "may not {} {} {scope}: {}",
        trouble.fault.verb,
        kinds::rule_name(state.feed.kind),
        trouble.fault.message
    );
    let help = "grant get, list and watch on it to the service account, or watch less";
    Some(Diagnostic::global(codes::W_WATCH_FORBIDDEN, message).help(help))
}

fn objects(count: usize) -> String {
    match count {
        1 => "1 object".to_owned(),
        count => format!("{count} objects"),
    }
}
