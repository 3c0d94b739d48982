//! Rate limits that are counted by us, without a service (spec/services §2.7).
//!
//! - `store`: the cells, one bounded table per process
//! - `rules`: which rule applies to a descriptor
//! - `decide`: what becomes of a request that several apply to
//! - `headers`: what clients are told
//! - `shared`: the same limits, counted in a store that several gateways share
//!
//! Counters belong to the process: they survive every change of the config, because a cell is found
//! by its domain, the place of its rule and the values, and by nothing else of the config.

mod decide;
mod headers;
mod rules;
pub(crate) mod shared;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue};
use legate_config::rules::{LimitDomain, LimitPlace};
use legate_config::{Hash128, Snapshot};
use parking_lot::Mutex;

pub use shared::check_store_url;

pub(crate) use decide::Hits;
use rules::Place;
pub(crate) use rules::{Domain, Tally};
use shared::{Connections, SharedStore, Stores};
use store::{Keys, Store};

use crate::request::DescriptorEntry;

/// Cells of a process that is not told otherwise.
pub const DEFAULT_CELLS: usize = 1 << 20;

/// Settings of the limiter that no snapshot holds.
#[derive(Debug, Clone)]
pub struct LimitOptions {
    /// Most counters at a time.
    pub cells: usize,
    /// URL of a Redis for limits that are shared and name no store; `None` = there is none.
    pub store: Option<String>,
    /// Separates the counters of instances that share a store.
    pub instance: String,
}

/// What counts in this process, whatever the config is.
#[derive(Debug)]
pub(crate) struct Limiter {
    options: LimitOptions,
    keys: Keys,
    /// Made when the first limit comes.
    cells: OnceLock<Store>,
    began: Instant,
    /// Gateways that divided limits are divided by; never 0.
    gateways: AtomicU32,
    tallies: Mutex<BTreeMap<Hash128, Named>>,
    pub(crate) stores: Stores,
}

#[derive(Debug, Clone)]
struct Named {
    domain: Box<str>,
    label: String,
    tally: Arc<Tally>,
}

/// The limits of a config.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    /// In the order of their names.
    domains: Vec<Domain>,
    /// The stores that rules name, by name.
    pub(crate) stores: BTreeMap<Arc<str>, Arc<SharedStore>>,
}

/// Why a request is over a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Overdrawn {
    /// Nanoseconds to wait.
    wait: u64,
    /// Whether it never helps to wait.
    never: bool,
    /// Whether gRPC clients are told `RESOURCE_EXHAUSTED`.
    pub(crate) resource_exhausted: bool,
}

/// What one rule decided so far, for metrics.
#[derive(Debug, Clone)]
pub(crate) struct RuleCounts {
    /// Its domain.
    pub(crate) domain: Box<str>,
    /// Its name, or where it stands.
    pub(crate) label: String,
    /// Counts, in the order of [`Tally::RESULTS`].
    pub(crate) counts: [u64; Tally::RESULTS.len()],
}

/// Headers that come with a decision.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    /// For the upstream.
    pub(crate) request: Vec<(HeaderName, HeaderValue)>,
    /// For the client.
    pub(crate) response: Vec<(HeaderName, HeaderValue)>,
}

impl Default for LimitOptions {
    fn default() -> Self {
        Self {
            cells: DEFAULT_CELLS,
            store: None,
            instance: "default".to_owned(),
        }
    }
}

// === impl Limiter ===

impl Limiter {
    /// Nothing is counted yet.
    pub(crate) fn new(options: LimitOptions) -> Arc<Self> {
        Arc::new(Self {
            stores: Stores::new(options.store.as_deref()),
            options,
            keys: Keys::default(),
            cells: OnceLock::new(),
            began: Instant::now(),
            gateways: AtomicU32::new(1),
            tallies: Mutex::default(),
        })
    }

    /// The cells.
    fn store(&self) -> &Store {
        self.cells.get_or_init(|| Store::new(self.options.cells))
    }

    /// Nanoseconds since the process began; never 0.
    pub(crate) fn now(&self) -> u64 {
        let since = crate::clock::std_now().saturating_duration_since(self.began);
        u64::try_from(since.as_nanos())
            .unwrap_or(u64::MAX / 2)
            .max(1)
    }

    /// Gateways that divided limits are divided by.
    pub(crate) fn gateways(&self) -> u32 {
        self.gateways.load(Ordering::Relaxed).max(1)
    }

    /// Says how many gateways serve this instance.
    #[cfg(test)]
    fn set_gateways(&self, count: u32) {
        self.gateways.store(count.max(1), Ordering::Relaxed);
    }

    /// Prefix of all keys in stores that belong to a domain.
    fn prefix(&self, domain: &str) -> String {
        format!("legate:rl:{{{}/{domain}}}", self.options.instance)
    }

    /// Makes the limits of a snapshot ready. What is wrong with them is told to `rejected`.
    pub(crate) fn build(
        &self,
        snapshot: &Snapshot,
        clusters: &shared::Clusters<'_>,
        mut rejected: impl FnMut(String, String),
    ) -> Limits {
        if snapshot.limits.is_empty() {
            self.tallies.lock().clear();
            return Limits::default();
        }
        // Made here, so that no request has to.
        let _ = self.store();
        let mut stores = BTreeMap::new();
        let mut known = self.tallies.lock();
        let former = std::mem::take(&mut *known);
        let mut domains = Vec::with_capacity(snapshot.limits.len());
        for (key, entry) in snapshot.limits.iter() {
            let name = key.as_str();
            let named = self.stores.of_domain(&entry.value, snapshot, clusters);
            for (index, store) in named.iter().enumerate() {
                match store {
                    Ok(store) => {
                        stores.insert(Arc::clone(&store.name), Arc::clone(store));
                    }
                    Err(message) => {
                        rejected(format!("limits/{name}/stores/{index}"), message.clone());
                    }
                }
            }
            let place = |_: &LimitDomain, place: LimitPlace| self.place(place, &named);
            let tally = |identity| {
                let old: Option<&Named> = former.get(&identity);
                old.map(|named| Arc::clone(&named.tally))
                    .unwrap_or_default()
            };
            let domain = Domain::build(name, &entry.value, place, tally);
            if self.stores.own().is_none()
                && entry
                    .value
                    .rules
                    .iter()
                    .any(|rule| rule.place == LimitPlace::OwnStore)
            {
                rejected(
                    format!("limits/{name}"),
                    "limits are to be shared, but no store is named (--ratelimit-store); each gateway counts for itself".to_owned(),
                );
            }
            for rule in domain.rules() {
                known.entry(rule.identity).or_insert_with(|| Named {
                    domain: name.into(),
                    label: rule.config.label(),
                    tally: Arc::clone(&rule.tally),
                });
            }
            domains.push(domain);
        }
        if let Some(own) = self.stores.own() {
            stores.insert(Arc::clone(&own.name), own);
        }
        Limits { domains, stores }
    }

    fn place(&self, place: LimitPlace, named: &[Result<Arc<SharedStore>, String>]) -> Place {
        let own = || self.stores.own().map(|own| Arc::clone(&own.name));
        let store = match place {
            LimitPlace::Process => None,
            LimitPlace::Divided => return Place::Divided,
            LimitPlace::Store(index) => named
                .get(index)
                .and_then(|store| Some(Arc::clone(&store.as_ref().ok()?.name))),
            LimitPlace::OwnStore | LimitPlace::IfStore => own(),
        };
        store.map_or(Place::Process, Place::Store)
    }

    /// Cells that went although they held debt.
    pub(crate) fn evicted(&self) -> u64 {
        self.cells.get().map_or(0, Store::evicted)
    }

    /// What each rule decided so far.
    pub(crate) fn counts(&self) -> Vec<RuleCounts> {
        let tallies = self.tallies.lock();
        let counts = tallies.values().map(|named| RuleCounts {
            domain: named.domain.clone(),
            label: named.label.clone(),
            counts: named.tally.counts(),
        });
        counts.collect()
    }
}

// === impl Limits ===

impl Limits {
    /// Whether nothing is limited.
    pub(crate) fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }

    /// The domains that are counted in stores, and why these do not answer if they do not.
    pub(crate) fn stores_of_domains(&self) -> Vec<(&str, Option<String>)> {
        let shared = self.domains.iter().filter_map(|domain| {
            let places = domain.rules().filter_map(|rule| match &rule.place {
                Place::Store(name) => Some(name),
                Place::Process | Place::Divided => None,
            });
            let names: BTreeSet<&Arc<str>> = places.collect();
            let stores = names.iter().filter_map(|name| self.stores.get(*name));
            let troubles: Vec<String> = stores.filter_map(|store| store.trouble()).collect();
            let trouble = (!troubles.is_empty()).then(|| troubles.join("; "));
            (!names.is_empty()).then_some((&*domain.name, trouble))
        });
        shared.collect()
    }

    /// A domain.
    pub(crate) fn domain(&self, name: &str) -> Option<&Domain> {
        let at = self
            .domains
            .binary_search_by(|domain| (*domain.name).cmp(name));
        self.domains.get(at.ok()?)
    }
}

/// Takes note of the rules of a domain that apply to a descriptor.
pub(crate) fn collect<'a>(
    limiter: &Limiter,
    domain: &'a Domain,
    descriptor: &[DescriptorEntry<'_>],
    hits: &mut Hits<'a>,
) {
    decide::collect(limiter, domain, descriptor, hits);
}

/// Whether a store has to be asked about a request. Call it when all hits are there.
pub(crate) fn waits(hits: &mut Hits<'_>) -> bool {
    decide::replace(hits);
    hits.iter().any(|hit| hit.digest.is_some())
}

/// Decides about a request for which no store has to be asked. `Err`: it is over a limit.
pub(crate) fn admit(limiter: &Limiter, hits: &mut Hits<'_>) -> Result<(), Overdrawn> {
    if hits.is_empty() {
        return Ok(());
    }
    let gateways = limiter.gateways();
    let now = limiter.now();
    let admitted = decide::decide(limiter, hits, now, |hit| Some(here(hit, gateways)));
    decide::conclude(hits, admitted).map_or(Ok(()), Err)
}

/// Decides about a request for which a store has to be asked. `Err`: it is over a limit.
pub(crate) async fn admit_shared(
    limiter: &Limiter,
    connections: &Connections,
    hits: &mut Hits<'_>,
) -> Result<(), Overdrawn> {
    let admitted = shared::decide(limiter, connections, hits).await;
    decide::conclude(hits, admitted).map_or(Ok(()), Err)
}

/// Gateways that a rule's limit is divided by when it is counted here.
fn here(hit: &decide::Hit<'_>, gateways: u32) -> u32 {
    match hit.rule.place {
        Place::Process => 1,
        Place::Divided | Place::Store(_) => gateways,
    }
}

/// The headers that come with a decision; `None` where there are none.
pub(crate) fn extra(limiter: &Limiter, hits: &Hits<'_>) -> Option<Box<Extra>> {
    let wanted = hits.iter().any(|hit| {
        hit.domain.headers
            || !hit.rule.request_headers.is_empty()
            || !hit.rule.response_headers.is_empty()
    });
    if !wanted {
        return None;
    }
    let mut extra = Extra::default();
    headers::add(hits, limiter.gateways(), &mut extra.response);
    for hit in hits {
        extra
            .request
            .extend(hit.rule.request_headers.iter().cloned());
        extra
            .response
            .extend(hit.rule.response_headers.iter().cloned());
    }
    Some(Box::new(extra))
}

// === impl Overdrawn ===

impl Overdrawn {
    fn add(&mut self, wait: Option<u64>, resource_exhausted: bool) {
        match wait {
            Some(wait) => self.wait = self.wait.max(wait),
            None => self.never = true,
        }
        self.resource_exhausted |= resource_exhausted;
    }

    /// `retry-after`: whole seconds, rounded up; `None` where waiting does not help.
    pub(crate) fn retry_after(&self) -> Option<(HeaderName, HeaderValue)> {
        let seconds = self.wait.div_ceil(1_000_000_000).max(1);
        (!self.never).then(|| (RETRY_AFTER, HeaderValue::from(seconds)))
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_support;
