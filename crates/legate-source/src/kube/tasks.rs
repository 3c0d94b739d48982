//! The tasks of a source: the watches, the question which kinds there are, the reading of Secrets.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::kube::core::Status;
use ::kube::{Api, Client, Error};
use futures_util::future::pending;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;
use legate_api::Kind;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::sleep_until;

use super::fault::Fault;
use super::ingest::Incoming;
use super::kinds::{self, Feed};
use super::shared::Shared;
use super::state::Job;
use super::wire::RawObject;
use super::{Timing, feed, probe};

/// Secrets that are read at the same time.
const READS: usize = 8;

/// What a kind must allow: without `create` it is being deleted.
const VERBS: &[&str] = &["create", "list", "watch"];

/// A task that panicked starts again after this.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// What the tasks need.
#[derive(Clone)]
pub(super) struct Tasks {
    pub(super) shared: Arc<Shared>,
    pub(super) client: Client,
    pub(super) timing: Timing,
    pub(super) feeds: Vec<Feed>,
}

/// Which task.
#[derive(Debug, Clone, Copy)]
enum Role {
    Feed(usize),
    Secrets,
}

/// Tells the reader that nothing more comes, however the tasks end.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Tasks {
    /// Runs all tasks until dropped.
    pub(super) async fn run(self) {
        let _end = End(Arc::clone(&self.shared));
        let mut running = JoinSet::new();
        let mut roles: Vec<(Id, Role)> = Vec::new();
        let all = (0..self.feeds.len()).map(Role::Feed).chain([Role::Secrets]);
        for role in all {
            roles.extend(self.start(role, &mut running));
        }
        let silent = |_| {};
        let contact = Arc::clone(&self.shared.contact);
        let client = probe::client(self.client.clone(), &self.timing, contact, silent);
        loop {
            let (ask_at, wakes_at) = self
                .shared
                .look(|state, _| (state.ask_at(), state.wakes_at()));
            tokio::select! {
                // Losing a wait loses nothing: the times are looked up again.
                () = until(ask_at) => self.ask(&client).await,
                () = until(wakes_at) => self.shared.update(|state, now| state.tick(now)),
                () = self.shared.discovery.notified() => {}
                Some(ended) = running.join_next_with_id() => {
                    if let Some(role) = ended_role(ended, &mut roles) {
                        tokio::time::sleep(AFTER_PANIC).await;
                        roles.extend(self.start(role, &mut running));
                    }
                }
            }
        }
    }

    fn start(&self, role: Role, running: &mut JoinSet<()>) -> Option<(Id, Role)> {
        let (shared, client) = (Arc::clone(&self.shared), self.client.clone());
        let handle = match role {
            Role::Feed(index) => {
                let feed = self.feeds.get(index)?.clone();
                running.spawn(feed::run(shared, client, self.timing, index, feed))
            }
            Role::Secrets => running.spawn(read_secrets(shared, client, self.timing)),
        };
        Some((handle.id(), role))
    }

    /// Asks which kinds there are.
    async fn ask(&self, client: &Client) {
        let asked_at = Instant::now();
        let answer = discover(client).await;
        self.shared.update(|state, now| match answer {
            Ok(usable) => state.discovered(Ok(&usable), asked_at, now),
            Err(fault) => state.discovered(Err(fault), asked_at, now),
        });
    }
}

/// The role of a task that ended, which none does but by a panic.
fn ended_role(ended: Result<(Id, ()), JoinError>, roles: &mut Vec<(Id, Role)>) -> Option<Role> {
    let id = match ended {
        Ok((id, ())) => id,
        Err(error) => {
            tracing::error!(%error, "Task of the Kubernetes source died, it is started again");
            error.id()
        }
    };
    let index = roles.iter().position(|(known, _)| *known == id)?;
    Some(roles.swap_remove(index).1)
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => pending().await,
    }
}

/// The plural names of custom kinds that can be used.
async fn discover(client: &Client) -> Result<BTreeSet<String>, Fault> {
    let mut all = BTreeSet::new();
    for version in kinds::GROUP_VERSIONS {
        match client.list_api_group_resources(version).await {
            Ok(list) => all.extend(usable(list)),
            Err(Error::Api(status)) if is_absent(&status) => {}
            Err(error) => return Err(Fault::of("get", &error)),
        }
    }
    Ok(all)
}

/// Only this says that the whole group is not there.
fn is_absent(status: &Status) -> bool {
    status.code == 404
}

fn usable(list: APIResourceList) -> BTreeSet<String> {
    let can = |verbs: &[String]| {
        let has = |verb: &&str| verbs.iter().any(|v| v == verb);
        VERBS.iter().all(has)
    };
    let resources = list.resources.into_iter();
    let usable = resources.filter(|resource| can(&resource.verbs));
    usable.map(|resource| resource.name).collect()
}

/// Reads Secrets as they are wanted.
async fn read_secrets(shared: Arc<Shared>, client: Client, timing: Timing) {
    let contact = Arc::clone(&shared.contact);
    let client = probe::client(client, &timing, contact, |_| {});
    let mut reads: JoinSet<(Job, Result<Option<Incoming>, Fault>)> = JoinSet::new();
    loop {
        let free = READS.saturating_sub(reads.len());
        for job in shared.update(|state, now| state.secret_jobs(free, now)) {
            reads.spawn(read_secret(client.clone(), job));
        }
        let retry_at = shared.look(|state, _| state.secret_retry_at());
        tokio::select! {
            Some(read) = reads.join_next() => match read {
                Ok((job, outcome)) => {
                    shared.update(|state, now| state.secret_read(&job, outcome, now));
                }
                Err(error) => tracing::error!(%error, "Reading a Secret failed"),
            },
            () = shared.secrets.notified() => {}
            () = until(retry_at), if free > 0 => {}
        }
    }
}

async fn read_secret(client: Client, job: Job) -> (Job, Result<Option<Incoming>, Fault>) {
    let (namespace, name) = &job.name;
    let resource = kinds::resource(Kind::Secret);
    let api: Api<RawObject<false>> = Api::namespaced_with(client, namespace, &resource);
    let outcome = match api.get_opt(name).await {
        Ok(Some(object)) => Incoming::read(Kind::Secret, object.fields)
            .map(Some)
            .ok_or_else(no_secret),
        Ok(None) => Ok(None),
        Err(error) => Err(Fault::of("get", &error)),
    };
    (job, outcome)
}

fn no_secret() -> Fault {
    Fault {
        verb: "get",
        status: None,
        message: "the answer is no Secret".to_owned(),
        unreadable: true,
    }
}
