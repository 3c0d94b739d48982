//! One list and watch, for as long as the source lives: what comes in goes into the state, and
//! what fails is tried again.

use std::fmt::Debug;
use std::sync::Arc;

use ::kube::core::{ApiResource, DynamicResourceScope};
use ::kube::runtime::watcher::{self, Event, watcher};
use ::kube::{Api, Client, Resource};
use futures_util::StreamExt as _;
use legate_api::Kind;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use super::backoff::Backoff;
use super::fault::Fault;
use super::ingest::Incoming;
use super::kinds::{self, Feed, What};
use super::probe::Tidings;
use super::shared::Shared;
use super::wire::{RawObject, SecretHead};
use super::{Timing, probe};

/// The longest that one watch lasts, in seconds, as the API server is told.
const WATCH_SECONDS: u32 = 290;

/// What a watch yields, and what becomes of it.
trait Item:
    Resource<DynamicType = ApiResource, Scope = DynamicResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + 'static
{
    fn seen(self, source: &Source<'_>);
    fn deleted(self, source: &Source<'_>);
}

/// Where items come from.
struct Source<'a> {
    shared: &'a Shared,
    index: usize,
    kind: Kind,
}

/// Lists and watches until dropped.
pub(super) async fn run(
    shared: Arc<Shared>,
    client: Client,
    timing: Timing,
    index: usize,
    feed: Feed,
) {
    let tell = {
        let shared = Arc::clone(&shared);
        move |tidings| {
            shared.update(|state, now| match tidings {
                Tidings::Open => state.worked(index, now),
                Tidings::Broken => state.broken(index),
            });
        }
    };
    let client = probe::client(client, &timing, Arc::clone(&shared.contact), tell);
    let source = Source {
        shared: &shared,
        index,
        kind: feed.kind,
    };
    loop {
        shared.watchable(feed.kind).await;
        match feed.what {
            What::Objects => follow::<RawObject<false>>(&source, &client, &timing, &feed).await,
            What::Metadata => follow::<RawObject<true>>(&source, &client, &timing, &feed).await,
            What::SecretHeads => follow::<SecretHead>(&source, &client, &timing, &feed).await,
            What::NamedSecret(_) => {
                follow::<RawObject<false>>(&source, &client, &timing, &feed).await;
            }
        }
    }
}

/// Lists and watches until the kind is gone, or is back and has to be listed anew.
async fn follow<K: Item>(source: &Source<'_>, client: &Client, timing: &Timing, feed: &Feed) {
    let resource = kinds::resource(feed.kind);
    let api: Api<K> = match &feed.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let config = watcher::Config {
        label_selector: feed.label_selector.clone(),
        field_selector: feed.field_selector.clone(),
        timeout: Some(WATCH_SECONDS),
        ..watcher::Config::default()
    };
    let mut backoff = Backoff::new(timing.backoff_first, timing.backoff_most);
    // Whether the last list is too old already: listing again did not help.
    let mut expired = false;
    let mut failed_at = Instant::now();
    let returns = source.shared.look(|state, _| state.returns(feed.kind));
    loop {
        let mut events = Box::pin(watcher(api.clone(), config.clone()));
        loop {
            let event = tokio::select! {
                // Both lose nothing when they are dropped; the kind's return ends the watch.
                event = events.next() => event,
                () = source.shared.returned(feed.kind, returns) => return,
            };
            let error = match event {
                None => break,
                Some(Ok(event)) => {
                    if matches!(event, Event::Apply(_) | Event::Delete(_)) {
                        backoff.reset();
                        expired = false;
                    }
                    source.take(event);
                    continue;
                }
                Some(Err(error)) => error,
            };
            // A watch that worked for a while and said nothing has worked all the same.
            if failed_at.elapsed() > timing.backoff_most * 2 {
                backoff.reset();
                expired = false;
            }
            failed_at = Instant::now();
            let fault = Fault::of_watcher(&error);
            let lost = must_list_again(&error, &fault);
            let at_once = fault.is_expired() && !std::mem::replace(&mut expired, true);
            source
                .shared
                .update(|state, now| state.failed(source.index, fault, now));
            if at_once {
                backoff.reset();
                sleep(backoff.short()).await;
            } else {
                pause(source.shared, &mut backoff).await;
            }
            if !source.shared.look(|state, _| state.may_watch(feed.kind)) {
                return;
            }
            if lost {
                break;
            }
        }
    }
}

/// Waits before the next attempt: less if another watch works again, for what kept that one from
/// working mostly kept this one too.
async fn pause(shared: &Shared, backoff: &mut Backoff) {
    tokio::select! {
        () = sleep(backoff.delay()) => {}
        () = shared.recovered() => sleep(backoff.short()).await,
    }
}

/// Whether the watcher would go on with a resourceVersion that is of no use any more, or lost an
/// event.
fn must_list_again(error: &watcher::Error, fault: &Fault) -> bool {
    match error {
        watcher::Error::WatchStartFailed(_) => matches!(fault.status, Some(404 | 410)),
        watcher::Error::WatchFailed(_) => fault.unreadable,
        _ => false,
    }
}

impl Source<'_> {
    fn take<K: Item>(&self, event: Event<K>) {
        match event {
            Event::Init => self
                .shared
                .update(|state, now| state.list_begun(self.index, now)),
            Event::InitDone => self
                .shared
                .update(|state, now| state.list_done(self.index, now)),
            Event::InitApply(item) | Event::Apply(item) => item.seen(self),
            Event::Delete(item) => item.deleted(self),
        }
    }
}

impl<const METADATA_ONLY: bool> Item for RawObject<METADATA_ONLY> {
    fn seen(self, source: &Source<'_>) {
        let Some(incoming) = Incoming::read(source.kind, self.fields) else {
            return;
        };
        let (shared, index) = (source.shared, source.index);
        if source.kind == Kind::Secret {
            shared.update(|state, now| state.secret_held(index, incoming, now));
            return;
        }
        if shared.update(|state, _| state.unchanged(index, &incoming)) {
            return;
        }
        // Decoding takes its time: not under the lock. Nobody else writes this object.
        let (uid, content) = (incoming.uid.clone(), incoming.content);
        let observed = incoming.observed.clone();
        if let Some(object) = incoming.object() {
            shared.update(|state, _| state.changed(index, uid, content, observed, object));
        }
    }

    fn deleted(self, source: &Source<'_>) {
        let Some(incoming) = Incoming::read(source.kind, self.fields) else {
            return;
        };
        let key = incoming.key;
        source.shared.update(|state, now| {
            if key.kind == Kind::Secret {
                state.secret_deleted(&(key.namespace, key.name), now);
            } else {
                state.deleted(&key, &incoming.uid, now);
            }
        });
    }
}

impl Item for SecretHead {
    fn seen(self, source: &Source<'_>) {
        let (name, version) = (self.name(), self.resource_version());
        let index = source.index;
        let update = |state: &mut super::state::State, now| {
            state.secret_seen(index, name, version, now);
        };
        source.shared.update(update);
    }

    fn deleted(self, source: &Source<'_>) {
        let name = self.name();
        source
            .shared
            .update(|state, now| state.secret_deleted(&name, now));
    }
}
