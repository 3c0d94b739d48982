//! The task that writes status and Events: all I/O of this module, and nothing else.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use legate_api::{Kind, ObjectKey};
use tokio::sync::{mpsc, oneshot, watch};

use super::board::{Board, Job, Method, Outcome};
use super::counters::StatusCounters;
use super::events::{EventBook, Post};
use super::faults::Fault;
use crate::identity::Identity;
use crate::publish::{Batch, GatewayEvent};
use legate_source::Observed;

/// The version that status is written in.
/// The one field manager of all of it, whoever of the replicas writes.
const MANAGER: &str = "legate";
/// Longest time for one request.
const TIMEOUT: Duration = Duration::from_secs(15);
/// How long the end waits for what is under way or due.
const FLUSH: Duration = Duration::from_secs(1);
/// Events under way at the same time; more wait.
const EVENTS: usize = 2;
/// Most events that wait; beyond, they are dropped and counted.
const WAITING_EVENTS: usize = 256;

/// What the writer is told.
#[derive(Debug)]
pub(super) enum Message {
    /// How objects stand, and which are gone.
    Observed(Vec<Observed>, Vec<ObjectKey>),
    /// A compile.
    Batch(Arc<Batch>),
    /// What a gateway reports.
    Gateway(GatewayEvent),
    /// Finish what is due, then say so, and end or go on.
    Flush {
        done: oneshot::Sender<()>,
        end: bool,
    },
}

type Written = Pin<Box<dyn Future<Output = (Job, Outcome)> + Send>>;
type Told = Pin<Box<dyn Future<Output = Result<(), kube::Error>> + Send>>;

/// The writer's state.
pub(super) struct Writer {
    client: Client,
    identity: Identity,
    counters: Arc<StatusCounters>,
    board: Board,
    book: EventBook,
    writing: FuturesUnordered<Written>,
    telling: FuturesUnordered<Told>,
    waiting: std::collections::VecDeque<Post>,
    /// Whether a failure to send an event was logged.
    mute: bool,
}

impl Writer {
    pub(super) fn new(client: Client, identity: Identity, counters: Arc<StatusCounters>) -> Self {
        Self {
            board: Board::new(identity.clone(), Arc::clone(&counters)),
            client,
            identity,
            counters,
            book: EventBook::default(),
            writing: FuturesUnordered::new(),
            telling: FuturesUnordered::new(),
            waiting: std::collections::VecDeque::new(),
            mute: false,
        }
    }

    /// Runs until told to end, or until nobody can tell anything any more.
    pub(super) async fn run(
        mut self,
        mut messages: mpsc::UnboundedReceiver<Message>,
        mut leader: watch::Receiver<bool>,
    ) {
        loop {
            let leads = *leader.borrow_and_update();
            self.lead(leads);
            self.work();
            let deadline = self.deadline();
            let busy = self.board.is_dirty();
            // Dropping a branch loses nothing: each takes a whole message or answer, or none.
            tokio::select! {
                biased;
                changed = leader.changed() => if changed.is_err() {
                    // Whoever held the Lease is gone, and with it the right to write.
                    self.lead(false);
                    return;
                },
                Some((job, outcome)) = self.writing.next(), if !self.writing.is_empty() => {
                    self.board.finished(job, outcome, now());
                }
                Some(told) = self.telling.next(), if !self.telling.is_empty() => {
                    self.told(&told);
                }
                message = messages.recv() => match self.take(message, &mut messages) {
                    Next::Continue => {}
                    Next::Flush(done, end) => {
                        self.flush().await;
                        if let Some(done) = done {
                            // Nobody waits for it any more, then.
                            let _ = done.send(());
                        }
                        if end {
                            return;
                        }
                    }
                },
                () = tokio::time::sleep_until(deadline.into()), if !busy => {}
                () = tokio::task::yield_now(), if busy => {}
            }
        }
    }

    /// Takes a message and all that wait behind it, so that of several compiles only the newest is
    /// worked on.
    fn take(
        &mut self,
        message: Option<Message>,
        messages: &mut mpsc::UnboundedReceiver<Message>,
    ) -> Next {
        let mut batches: Vec<Arc<Batch>> = Vec::new();
        let mut next = message;
        let end = loop {
            match next {
                None => break Some(Next::Flush(None, true)),
                Some(Message::Flush { done, end }) => break Some(Next::Flush(Some(done), end)),
                Some(Message::Observed(observed, removed)) => {
                    self.board.observed(observed, &removed);
                }
                Some(Message::Batch(batch)) => batches.push(batch),
                Some(Message::Gateway(event)) => self.board.gateway(event, now()),
            }
            match messages.try_recv() {
                Ok(message) => next = Some(message),
                Err(_) => break None,
            }
        };
        if !batches.is_empty() {
            self.board.batches(&batches, now());
        }
        end.unwrap_or(Next::Continue)
    }

    fn lead(&mut self, leads: bool) {
        if !leads {
            // At once: somebody else writes now.
            self.writing.clear();
        }
        self.board.lead(leads, now());
    }

    /// Does all that is due, short of waiting for answers.
    fn work(&mut self) {
        let now = now();
        self.board.tick(now);
        self.board.look(now);
        while let Some(job) = self.board.next(now) {
            self.writing.push(write(self.client.clone(), job));
        }
        let time = Timestamp::now();
        for (about, news) in self.board.take_news() {
            let post = self.book.tell(about, &news, &self.identity, now, time);
            self.waiting.extend(post);
        }
        self.waiting
            .extend(self.book.tick(&self.identity, now, time));
        while self.waiting.len() > WAITING_EVENTS {
            self.waiting.pop_front();
            self.counters.event_errors.fetch_add(1, Relaxed);
        }
        while self.telling.len() < EVENTS
            && let Some(post) = self.waiting.pop_front()
        {
            self.telling.push(tell(self.client.clone(), post));
        }
    }

    fn deadline(&self) -> Instant {
        let far = now() + Duration::from_secs(3600);
        [self.board.deadline(), self.book.deadline()]
            .into_iter()
            .flatten()
            .fold(far, Instant::min)
    }

    fn told(&mut self, result: &Result<(), kube::Error>) {
        match result {
            Ok(()) => {
                self.mute = false;
                self.counters.events.fetch_add(1, Relaxed);
            }
            Err(error) => {
                self.counters.event_errors.fetch_add(1, Relaxed);
                if !std::mem::replace(&mut self.mute, true) {
                    tracing::warn!(%error, "Events cannot be sent; status goes on without");
                }
            }
        }
    }

    /// Finishes what is under way or due, for a limited time.
    async fn flush(&mut self) {
        let end = tokio::time::Instant::now() + FLUSH;
        loop {
            self.work();
            let idle = self.writing.is_empty() && self.telling.is_empty();
            if idle && !self.board.is_busy(now()) {
                return;
            }
            tokio::select! {
                Some((job, outcome)) = self.writing.next(), if !self.writing.is_empty() => {
                    self.board.finished(job, outcome, now());
                }
                Some(told) = self.telling.next(), if !self.telling.is_empty() => self.told(&told),
                () = tokio::time::sleep_until(end) => return,
                () = tokio::task::yield_now(), if idle => {
                    if tokio::time::Instant::now() >= end {
                        return;
                    }
                }
            }
        }
    }
}

/// Whether the writer goes on.
enum Next {
    Continue,
    /// After what is due is done; whom to tell, and whether to end.
    Flush(Option<oneshot::Sender<()>>, bool),
}

/// The clock, which tests can stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn write(client: Client, job: Job) -> Written {
    Box::pin(async move {
        let resource = resource(job.key.kind);
        let api: Api<DynamicObject> = Api::namespaced_with(client, &job.key.namespace, &resource);
        let request = async {
            match job.method {
                Method::Apply => {
                    // Forced: the fields are ours by definition. What others do to the object in
                    // between is caught by the resourceVersion in the body.
                    let params = PatchParams::apply(MANAGER).force();
                    api.patch_status(&job.key.name, &params, &Patch::Apply(&job.body))
                        .await
                }
                Method::Merge => {
                    let params = PatchParams {
                        field_manager: Some(MANAGER.to_owned()),
                        ..PatchParams::default()
                    };
                    api.patch_status(&job.key.name, &params, &Patch::Merge(&job.body))
                        .await
                }
            }
        };
        let outcome = match tokio::time::timeout(TIMEOUT, request).await {
            Ok(Ok(object)) => done(object),
            Ok(Err(error)) => Outcome::Failed(Fault::of(&error)),
            Err(_) => Outcome::Failed(Fault::Unreachable("no answer in time".to_owned())),
        };
        (job, outcome)
    })
}

fn done(mut object: DynamicObject) -> Outcome {
    let status = object
        .data
        .as_object_mut()
        .and_then(|fields| fields.remove("status"));
    Outcome::Done {
        uid: object.metadata.uid.unwrap_or_default(),
        resource_version: object.metadata.resource_version.unwrap_or_default(),
        generation: object.metadata.generation.unwrap_or_default(),
        status: status.map(Arc::new),
    }
}

fn tell(client: Client, post: Post) -> Told {
    Box::pin(async move {
        let send = async {
            match post {
                Post::Create(event) => {
                    let namespace = event.metadata.namespace.clone().unwrap_or_default();
                    let api: Api<Event> = Api::namespaced(client, &namespace);
                    api.create(&PostParams::default(), &event).await.map(drop)
                }
                Post::Repeat(namespace, name, patch) => {
                    let api: Api<Event> = Api::namespaced(client, &namespace);
                    api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
                        .await
                        .map(drop)
                }
            }
        };
        match tokio::time::timeout(TIMEOUT, send).await {
            Ok(result) => result,
            Err(elapsed) => Err(kube::Error::Service(elapsed.into())),
        }
    })
}

/// Where objects of a kind are.
fn resource(kind: Kind) -> ApiResource {
    let api_version = kind.stored_version();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: api_version.to_owned(),
        kind: kind.as_str().to_owned(),
        plural: plural(kind),
    }
}

/// The kind's name in URLs.
fn plural(kind: Kind) -> String {
    let singular = kind.as_str().to_ascii_lowercase();
    match singular.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{singular}s"),
    }
}
