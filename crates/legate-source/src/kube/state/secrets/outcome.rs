//! What becomes of a Secret that is wanted: its content, that there is none, or why it is not had.

use std::time::Instant;

use legate_api::{Kind, Object};
use legate_compiler::{Diagnostic, ObjectRef};

use super::{Name, Refusal, key};
use crate::kube::codes;
use crate::kube::ingest::Content;
use crate::kube::state::State;

impl State {
    /// The content is known.
    pub(super) fn have(&mut self, name: &Name, object: Object, content: Content, version: String) {
        let round = self.pending.round();
        let Some(wanted) = self.secrets.wanted.get_mut(name) else {
            return;
        };
        wanted.version = Some(version);
        if wanted.refusal.take().is_some() {
            self.restate = true;
        }
        if wanted.settled && wanted.content == Some(content) {
            return;
        }
        wanted.content = Some(content);
        wanted.settled = true;
        wanted.told_in = Some(round);
        self.pending.upsert(object);
    }

    /// There is no such Secret.
    pub(super) fn lack(&mut self, name: &Name) {
        let round = self.pending.round();
        let Some(wanted) = self.secrets.wanted.get_mut(name) else {
            return;
        };
        self.secrets.todo.remove(name);
        if wanted.refusal.take().is_some() {
            self.restate = true;
        }
        if wanted.settled && wanted.content.is_none() {
            return;
        }
        if !wanted.fresh {
            wanted.told_in = Some(round);
            self.pending.force();
        }
        wanted.content = None;
        wanted.settled = true;
        self.pending.remove(&key(name));
    }

    /// The content cannot be had. What the reader has, it keeps.
    pub(super) fn refuse(&mut self, name: &Name, readable: bool, why: String, now: Instant) {
        let round = self.pending.round();
        let Some(wanted) = self.secrets.wanted.get_mut(name) else {
            return;
        };
        let since = wanted.refusal.as_ref().map_or(now, |refusal| refusal.since);
        wanted.refusal = Some(Refusal {
            since,
            readable,
            why,
        });
        self.restate = true;
        if !wanted.settled {
            wanted.settled = true;
            wanted.told_in = Some(round);
            self.pending.force();
        }
    }

    /// Says which wanted Secrets cannot be had.
    pub(in crate::kube::state) fn report_secrets(&self, now: Instant, said: &mut Vec<Diagnostic>) {
        for (name, wanted) in &self.secrets.wanted {
            let Some(refusal) = &wanted.refusal else {
                continue;
            };
            // A starting API server forbids things for a moment.
            let lasting = now.duration_since(refusal.since) >= self.timing.forbidden_after;
            if wanted.content.is_some() && !lasting {
                continue;
            }
            let object = ObjectRef {
                kind: Kind::Secret.as_str().to_owned(),
                namespace: name.0.clone(),
                name: name.1.clone(),
            };
            let (code, verb) = if refusal.readable {
                (codes::W_SECRET_UNREADABLE, "cannot")
            } else {
                (codes::W_SECRET_FORBIDDEN, "may not")
            };
            let kept = if wanted.content.is_some() {
                "; what was last read serves on"
            } else {
                ""
            };
            let message = format!("the Secret {verb} be read: {}{kept}", refusal.why);
            said.push(Diagnostic::new(code, object, "", message));
        }
    }
}
