//! Which Secrets are read, and what became of each that is wanted.
//!
//! Only versions of Secrets are watched; the content of those that the config refers to is read.
//! Where Secrets are watched by name, the content comes with the watch.

mod outcome;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use legate_api::{Kind, Object, ObjectKey};

use super::State;
use crate::kube::backoff::Backoff;
use crate::kube::fault::Fault;
use crate::kube::ingest::{Content, Incoming};
use crate::kube::kinds::What;
use crate::kube::{KubeOptions, SecretAccess};

/// Namespace and name of a Secret.
pub(in crate::kube) type Name = (String, String);

/// All about Secrets.
#[derive(Debug)]
pub(super) struct Secrets {
    coverage: Coverage,
    /// Secrets that there are, wanted or not.
    heads: BTreeMap<Name, Head>,
    wanted: BTreeMap<Name, Wanted>,
    /// Wanted ones that have to be read.
    todo: BTreeSet<Name>,
}

/// Which Secrets may be referred to.
#[derive(Debug)]
enum Coverage {
    Everywhere,
    Namespaces(BTreeSet<String>, &'static str),
    Names(BTreeSet<Name>),
}

/// A Secret that is there.
#[derive(Debug)]
struct Head {
    feed: usize,
    /// The list that it was last seen in or after.
    round: u64,
    version: String,
    /// Its content, where that came with it.
    held: Option<(Box<Object>, Content)>,
}

/// A Secret that the config refers to.
#[derive(Debug)]
struct Wanted {
    /// Whether it is known what there is to it.
    settled: bool,
    /// The update that tells the reader of it; `None` if there is nothing to tell.
    told_in: Option<u64>,
    /// What the reader has or will have.
    content: Option<Content>,
    /// The version that was read last.
    version: Option<String>,
    /// The version that the watch spoke of when that was read; it may lag behind.
    version_watched: Option<String>,
    /// Whether it is being asked for right now, so that an answer needs no update.
    fresh: bool,
    reading: bool,
    retry_at: Option<Instant>,
    backoff: Backoff,
    refusal: Option<Refusal>,
}

/// Why a Secret's content is not known, or no longer.
#[derive(Debug)]
struct Refusal {
    since: Instant,
    readable: bool,
    why: String,
}

/// A Secret to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::kube) struct Job {
    pub(in crate::kube) name: Name,
    /// The version that made it necessary.
    version: String,
}

impl Secrets {
    pub(super) fn new(options: &KubeOptions) -> Self {
        let coverage = match &options.secrets {
            SecretAccess::All if options.watch_namespaces.is_empty() => Coverage::Everywhere,
            SecretAccess::All => Coverage::Namespaces(
                options.watch_namespaces.iter().cloned().collect(),
                "its namespace is not among those of --watch-namespaces",
            ),
            SecretAccess::Namespaces(names) => Coverage::Namespaces(
                names.iter().cloned().collect(),
                "its namespace is not permitted by --secret-namespaces",
            ),
            SecretAccess::Names(names) => Coverage::Names(names.iter().cloned().collect()),
        };
        Self {
            coverage,
            heads: BTreeMap::new(),
            wanted: BTreeMap::new(),
            todo: BTreeSet::new(),
        }
    }

    pub(super) fn known(&self) -> usize {
        self.heads.len()
    }

    /// Why a Secret is out of reach by our own settings.
    fn out_of_reach(&self, (namespace, name): &Name) -> Option<&'static str> {
        match &self.coverage {
            Coverage::Everywhere => None,
            Coverage::Namespaces(names, why) => (!names.contains(namespace)).then_some(*why),
            Coverage::Names(names) => (!names.contains(&(namespace.clone(), name.clone())))
                .then_some("it is not permitted by --secret-names"),
        }
    }
}

impl State {
    /// Replaces the Secrets that are wanted; true when the reader knows all there is to each.
    pub(in crate::kube) fn want_secrets(&mut self, names: &BTreeSet<Name>, now: Instant) -> bool {
        let wanted = &self.secrets.wanted;
        let dropped: Vec<Name> = wanted
            .keys()
            .filter(|n| !names.contains(n))
            .cloned()
            .collect();
        let added: Vec<&Name> = names.iter().filter(|n| !wanted.contains_key(*n)).collect();
        for name in dropped {
            self.secrets.wanted.remove(&name);
            self.secrets.todo.remove(&name);
            self.pending.remove(&key(&name));
            self.restate = true;
        }
        for name in added {
            let wanted = Wanted::new(&self.timing);
            self.secrets.wanted.insert(name.clone(), wanted);
            self.assess(name, now);
            if let Some(wanted) = self.secrets.wanted.get_mut(name) {
                wanted.fresh = false;
            }
        }
        self.secrets.wanted.values().all(|wanted| {
            wanted.settled
                && wanted
                    .told_in
                    .is_none_or(|round| self.pending.was_taken(round))
        })
    }

    /// A Secret is there, in some version.
    pub(in crate::kube) fn secret_seen(
        &mut self,
        feed: usize,
        name: Name,
        version: &str,
        now: Instant,
    ) {
        let head = Head {
            feed,
            round: self.round(feed),
            version: version.to_owned(),
            held: None,
        };
        self.secrets.heads.insert(name.clone(), head);
        self.assess(&name, now);
    }

    /// A Secret is there, and this is it.
    pub(in crate::kube) fn secret_held(&mut self, feed: usize, incoming: Incoming, now: Instant) {
        let content = incoming.content;
        let Some(object) = incoming.object() else {
            return;
        };
        let name = (object.meta.namespace.clone(), object.meta.name.clone());
        let head = Head {
            feed,
            round: self.round(feed),
            version: object.meta.resource_version.clone().unwrap_or_default(),
            held: Some((Box::new(object), content)),
        };
        self.secrets.heads.insert(name.clone(), head);
        self.assess(&name, now);
    }

    /// A Secret is no longer there.
    pub(in crate::kube) fn secret_deleted(&mut self, name: &Name, now: Instant) {
        if self.secrets.heads.remove(name).is_some() {
            self.assess(name, now);
        }
    }

    /// A list of Secrets is complete.
    pub(super) fn secrets_listed(&mut self, feed: usize, round: u64, now: Instant) {
        let missed = |head: &Head| head.feed == feed && head.round != round;
        self.secrets.heads.retain(|_, head| !missed(head));
        self.assess_all(now);
    }

    /// Looks again at all that are wanted.
    pub(super) fn assess_all(&mut self, now: Instant) {
        let names: Vec<Name> = self.secrets.wanted.keys().cloned().collect();
        for name in names {
            self.assess(&name, now);
        }
    }

    /// What is known of a wanted Secret, by the lists and watches.
    fn assess(&mut self, name: &Name, now: Instant) {
        let Some(wanted) = self.secrets.wanted.get(name) else {
            return;
        };
        if let Some(why) = self.secrets.out_of_reach(name) {
            self.refuse(name, false, why.to_owned(), now);
            return;
        }
        match self.secrets.heads.get(name) {
            Some(Head {
                held: Some((object, content)),
                version,
                ..
            }) => {
                let (object, content, version) = (object.clone(), *content, version.clone());
                self.have(name, *object, content, version);
            }
            Some(head) => {
                let head = Some(&head.version);
                let read = [&wanted.version, &wanted.version_watched];
                if !read.iter().any(|read| read.as_ref() == head) && !wanted.reading {
                    self.secrets.todo.insert(name.clone());
                    self.effects.secrets = true;
                }
            }
            None => match self.feed_of(name) {
                Some((_, true)) => self.lack(name),
                Some((feed, false)) if self.is_refused(feed, now) => {
                    let trouble = self.feeds.get(feed).and_then(|feed| feed.trouble.as_ref());
                    let why = trouble.map(|trouble| trouble.fault.message.clone());
                    self.refuse(name, false, forbidden(&why.unwrap_or_default()), now);
                }
                _ => {}
            },
        }
    }

    /// The feed that a Secret comes by, and whether that was listed.
    fn feed_of(&self, (namespace, name): &Name) -> Option<(usize, bool)> {
        let index = self.feeds.iter().position(|state| {
            let feed = &state.feed;
            let named = match &feed.what {
                What::NamedSecret(only) => only == name,
                _ => true,
            };
            let here = feed.namespace.as_ref().is_none_or(|only| only == namespace);
            feed.kind == Kind::Secret && here && named
        })?;
        Some((index, self.feeds.get(index)?.listed))
    }

    /// Up to so many Secrets that have to be read now. Each is answered by [`State::secret_read`].
    pub(in crate::kube) fn secret_jobs(&mut self, most: usize, now: Instant) -> Vec<Job> {
        let Secrets {
            heads,
            wanted,
            todo,
            ..
        } = &mut self.secrets;
        let mut jobs = Vec::new();
        for name in todo.iter() {
            if jobs.len() >= most {
                break;
            }
            let (Some(wanted), Some(head)) = (wanted.get_mut(name), heads.get(name)) else {
                continue;
            };
            if wanted.reading || wanted.retry_at.is_some_and(|at| at > now) {
                continue;
            }
            wanted.reading = true;
            wanted.retry_at = None;
            jobs.push(Job {
                name: name.clone(),
                version: head.version.clone(),
            });
        }
        for job in &jobs {
            todo.remove(&job.name);
        }
        jobs
    }

    /// When the next failed read is to be tried again.
    pub(in crate::kube) fn secret_retry_at(&self) -> Option<Instant> {
        let Secrets {
            heads,
            wanted,
            todo,
            ..
        } = &self.secrets;
        let readable = todo.iter().filter(|name| heads.contains_key(*name));
        let waiting = readable.filter_map(|name| wanted.get(name));
        let times = waiting.filter(|wanted| !wanted.reading);
        times.filter_map(|wanted| wanted.retry_at).min()
    }

    /// The outcome of a read; `None` = there is no such Secret.
    pub(in crate::kube) fn secret_read(
        &mut self,
        job: &Job,
        outcome: Result<Option<Incoming>, Fault>,
        now: Instant,
    ) {
        let name = &job.name;
        let Some(wanted) = self.secrets.wanted.get_mut(name) else {
            return;
        };
        wanted.reading = false;
        let retry_at = now + wanted.backoff.delay();
        match outcome {
            Ok(Some(incoming)) => {
                wanted.backoff.reset();
                wanted.version_watched = Some(job.version.clone());
                let content = incoming.content;
                let Some(object) = incoming.object() else {
                    return;
                };
                let version = object.meta.resource_version.clone().unwrap_or_default();
                self.have(name, object, content, version);
                self.assess(name, now);
            }
            Ok(None) => {
                wanted.retry_at = Some(retry_at);
                self.lack(name);
                self.read_again(name);
            }
            Err(fault) => {
                wanted.retry_at = Some(retry_at);
                if fault.is_forbidden() {
                    self.refuse(name, false, forbidden(&fault.message), now);
                } else if fault.unreadable {
                    self.refuse(name, true, fault.message, now);
                } else {
                    tracing::debug!(
                        namespace = %name.0, secret = %name.1, error = %fault.message,
                        "Secret was not read, it is tried again"
                    );
                }
                self.read_again(name);
            }
        }
    }

    fn read_again(&mut self, name: &Name) {
        if self.secrets.heads.contains_key(name) {
            self.secrets.todo.insert(name.clone());
            self.effects.secrets = true;
        }
    }
}

impl Wanted {
    fn new(timing: &crate::kube::Timing) -> Self {
        Self {
            settled: false,
            told_in: None,
            content: None,
            version: None,
            version_watched: None,
            fresh: true,
            reading: false,
            retry_at: None,
            backoff: Backoff::new(timing.backoff_first, timing.backoff_most),
            refusal: None,
        }
    }
}

fn key((namespace, name): &Name) -> ObjectKey {
    ObjectKey {
        kind: Kind::Secret,
        namespace: namespace.clone(),
        name: name.clone(),
    }
}

fn forbidden(message: &str) -> String {
    format!("forbidden: {message}")
}

#[cfg(test)]
mod tests;
