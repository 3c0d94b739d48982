//! Listeners, their chains and virtual hosts, and the build of it all.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use legate_config::listener::{ChainMatch, FilterChain, Listener};
use legate_config::route::Route;
use legate_config::{
    ChainKey, Entry, HostPattern, ListenerKey, Origin, RouteKey, RouteSetKey, Snapshot,
    VirtualHostKey,
};

use crate::host::HostIndex;
use crate::matcher::{Cache, Matcher};
use crate::set::{Entries, SetIndex};
use crate::vhost::{Layer, VirtualHostRoutes};

type Map<K, V> = HashMap<K, V, RandomState>;
type Sets<P> = Map<RouteSetKey, BuiltSet<P>>;
type Rejected = Vec<(RouteKey, String)>;

/// The routes of one snapshot. `P` is what the gateway attaches to each route.
pub struct Router<P> {
    listeners: Map<ListenerKey, ListenerRoutes<P>>,
    sets: Sets<P>,
    cache: Cache,
    rejected: Rejected,
}

struct BuiltSet<P> {
    index: Arc<SetIndex<P>>,
    /// Keeps a host regex compiled while no virtual host lists the set.
    _host: Option<Arc<Matcher>>,
}

/// The chains and virtual hosts of one listener.
pub struct ListenerRoutes<P> {
    listener: Arc<Listener>,
    origins: Arc<[Origin]>,
    chains: Vec<Chain>,
    names: HostIndex,
    default: Option<usize>,
    plain: Option<usize>,
    vhosts: Vec<VirtualHostRoutes<P>>,
}

/// A filter chain, with the index over its virtual hosts.
pub struct Chain {
    key: ChainKey,
    chain: Arc<FilterChain>,
    origins: Arc<[Origin]>,
    /// The chain's virtual hosts, as indexes into the listener's.
    vhosts: Vec<u32>,
    hosts: HostIndex,
}

// === impl Router ===

impl<P> Router<P> {
    /// Builds the router of a snapshot. What did not change since `previous` is shared with it,
    /// payloads included; `attach` makes the payload of every other row.
    pub fn build(
        snapshot: &Snapshot,
        previous: Option<&Self>,
        attach: &mut dyn FnMut(&RouteKey, &Route) -> P,
    ) -> Self {
        let mut cache = previous.map_or_else(Cache::default, |it| Cache::renewed(&it.cache));
        let (sets, rejected) = build_sets(snapshot, previous, &mut cache, attach);
        let listeners = build_listeners(snapshot, &sets, &mut cache);
        Self {
            listeners,
            sets,
            cache,
            rejected,
        }
    }

    /// The routes of a listener.
    #[must_use]
    pub fn listener(&self, key: &str) -> Option<&ListenerRoutes<P>> {
        self.listeners.get(key)
    }

    /// Routes that could not be taken, and why. Empty for any config that the compiler made.
    #[must_use]
    pub fn rejected(&self) -> &[(RouteKey, String)] {
        &self.rejected
    }
}

// === impl ListenerRoutes ===

impl<P> ListenerRoutes<P> {
    /// The listener as configured.
    #[must_use]
    pub fn listener(&self) -> &Arc<Listener> {
        &self.listener
    }

    /// The objects it was made from.
    #[must_use]
    pub fn origins(&self) -> &Arc<[Origin]> {
        &self.origins
    }

    /// The chain for a ClientHello (spec/routing §3.6). The name is lower-case.
    #[must_use]
    pub fn choose_chain(&self, sni: Option<&str>) -> Option<&Chain> {
        let named = sni.and_then(|name| self.names.best_name(name));
        match named {
            Some(index) => self.chains.get(index as usize),
            None => self.chains.get(self.default?),
        }
    }

    /// The chain for connections without TLS.
    #[must_use]
    pub fn plain_chain(&self) -> Option<&Chain> {
        self.chains.get(self.plain?)
    }

    /// A chain by its key: connections that outlive a config find theirs in the next one.
    #[must_use]
    pub fn chain(&self, key: &ChainKey) -> Option<&Chain> {
        self.chains.iter().find(|chain| chain.key == *key)
    }

    /// All chains, in key order.
    pub fn chains(&self) -> impl Iterator<Item = &Chain> {
        self.chains.iter()
    }

    /// The virtual host of a chain of this listener for a Host (lower-case, port included).
    #[must_use]
    pub fn virtual_host<'a>(
        &'a self,
        chain: &Chain,
        host: &str,
    ) -> Option<&'a VirtualHostRoutes<P>> {
        self.vhosts.get(chain.hosts.best(host)? as usize)
    }

    /// The TLS chain that a client connecting for this Host would get, if a virtual host of that
    /// chain serves it. Who asks compares the certificates and TLS policies of the two chains.
    #[must_use]
    pub fn owner_chain(&self, host: &str) -> Option<&Chain> {
        let chain = self.choose_chain(Some(without_port(host)))?;
        chain.hosts.best(host).map(|_| chain)
    }

    /// The virtual hosts that a chain lists.
    pub(crate) fn listed<'a>(
        &'a self,
        chain: &'a Chain,
    ) -> impl Iterator<Item = &'a VirtualHostRoutes<P>> {
        (chain.vhosts.iter()).filter_map(|index| self.vhosts.get(*index as usize))
    }

    fn add_chain(
        &mut self,
        key: &ChainKey,
        entry: &Entry<FilterChain>,
        indexes: &Map<&VirtualHostKey, u32>,
        cache: &mut Cache,
    ) {
        let index = self.chains.len();
        match &entry.value.matches {
            ChainMatch::Plain => {
                self.plain.get_or_insert(index);
            }
            ChainMatch::DefaultTls | ChainMatch::Sni(HostPattern::Any) => {
                self.default.get_or_insert(index);
            }
            ChainMatch::Sni(HostPattern::Regex(_)) => {}
            ChainMatch::Sni(pattern) => {
                let number = u32::try_from(index).unwrap_or(u32::MAX);
                // Only a regex can fail.
                let _ = self.names.add(pattern, number, cache);
            }
        }
        let mut hosts = HostIndex::default();
        let mut vhosts = Vec::with_capacity(entry.value.virtual_hosts.len());
        for key in &entry.value.virtual_hosts {
            let number = indexes.get(key);
            let vhost = number.and_then(|number| self.vhosts.get(*number as usize));
            let (Some(number), Some(vhost)) = (number, vhost) else {
                continue;
            };
            if vhost.key() != key {
                // Another listener's.
                continue;
            }
            vhosts.push(*number);
            // A regex is no pattern for a virtual host: it has no place in their order.
            if !matches!(vhost.pattern(), HostPattern::Regex(_)) {
                let _ = hosts.add(vhost.pattern(), *number, cache);
            }
        }
        self.chains.push(Chain {
            key: key.clone(),
            chain: Arc::clone(&entry.value),
            origins: Arc::clone(&entry.origins),
            vhosts,
            hosts,
        });
    }
}

// === impl Chain ===

impl Chain {
    /// The chain's key.
    #[must_use]
    pub fn key(&self) -> &ChainKey {
        &self.key
    }

    /// The chain as configured.
    #[must_use]
    pub fn chain(&self) -> &Arc<FilterChain> {
        &self.chain
    }

    /// The objects it was made from.
    #[must_use]
    pub fn origins(&self) -> &Arc<[Origin]> {
        &self.origins
    }
}

fn build_sets<P>(
    snapshot: &Snapshot,
    previous: Option<&Router<P>>,
    cache: &mut Cache,
    attach: &mut dyn FnMut(&RouteKey, &Route) -> P,
) -> (Sets<P>, Rejected) {
    let (rows, mut rejected) = rows_by_set(snapshot);
    let mut sets = Sets::with_capacity_and_hasher(rows.len(), RandomState::default());
    for (key, entries) in &rows {
        let host = match snapshot.route_sets.get(*key).map(|set| &set.host) {
            Some(HostPattern::Regex(pattern)) => cache.matcher(pattern).map(Some),
            _ => Ok(None),
        };
        let host = match host {
            Ok(host) => host,
            Err(why) => {
                let why = format!("host of the route set: {why}");
                rejected.extend((entries.iter()).map(|(route, _)| ((*route).clone(), why.clone())));
                continue;
            }
        };
        let before = previous.and_then(|router| router.sets.get(*key));
        let index = SetIndex::build(entries, before.map(|set| &set.index), cache, attach);
        rejected.extend(index.rejected.iter().cloned());
        sets.insert((*key).clone(), BuiltSet { index, _host: host });
    }
    (sets, rejected)
}

/// The rows of each set in key order, and those that name no set.
fn rows_by_set(snapshot: &Snapshot) -> (Vec<(&RouteSetKey, Entries<'_>)>, Rejected) {
    let mut rows: Vec<(&RouteSetKey, Entries<'_>)> = Vec::new();
    let mut places: Map<&RouteSetKey, usize> = Map::default();
    let mut rejected = Vec::new();
    // Rows sort beside the rows of their set, so that the last set is nearly always the right one.
    let mut last: Option<(&RouteSetKey, usize)> = None;
    for (key, entry) in snapshot.routes.iter() {
        let set = &entry.value.set;
        let place = match last {
            Some((same, place)) if same == set => place,
            _ => match places.get(set) {
                Some(place) => *place,
                None if snapshot.route_sets.get(set).is_some() => {
                    places.insert(set, rows.len());
                    rows.push((set, Vec::new()));
                    rows.len() - 1
                }
                None => {
                    rejected.push((key.clone(), format!("there is no route set {set}")));
                    continue;
                }
            },
        };
        last = Some((set, place));
        if let Some((_, entries)) = rows.get_mut(place) {
            entries.push((key, entry));
        }
    }
    (rows, rejected)
}

fn build_listeners<P>(
    snapshot: &Snapshot,
    sets: &Sets<P>,
    cache: &mut Cache,
) -> Map<ListenerKey, ListenerRoutes<P>> {
    let layer = |key: &RouteSetKey| {
        Some(Layer {
            key: key.clone(),
            set: Arc::clone(snapshot.route_sets.get(key)?),
            index: Arc::clone(&sets.get(key)?.index),
        })
    };
    let mut listeners: Map<ListenerKey, ListenerRoutes<P>> = (snapshot.listeners.iter())
        .map(|(key, entry)| (key.clone(), ListenerRoutes::empty(entry)))
        .collect();
    let mut indexes: Map<&VirtualHostKey, u32> = Map::default();
    for (key, entry) in snapshot.virtual_hosts.iter() {
        if let Some(listener) = listeners.get_mut(&entry.value.listener) {
            indexes.insert(
                key,
                u32::try_from(listener.vhosts.len()).unwrap_or(u32::MAX),
            );
            let vhost = VirtualHostRoutes::build(key, entry, &layer, cache);
            listener.vhosts.push(vhost);
        }
    }
    for (key, entry) in snapshot.chains.iter() {
        if let Some(listener) = listeners.get_mut(&entry.value.listener) {
            listener.add_chain(key, entry, &indexes, cache);
        }
    }
    listeners
}

impl<P> ListenerRoutes<P> {
    fn empty(entry: &Entry<Listener>) -> Self {
        Self {
            listener: Arc::clone(&entry.value),
            origins: Arc::clone(&entry.origins),
            chains: Vec::new(),
            names: HostIndex::default(),
            default: None,
            plain: None,
            vhosts: Vec::new(),
        }
    }
}

/// A Host without its port; `[::1]:80` is `[::1]`.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}
