//! Groups, their rows, the sets of the rows, and which Hosts take them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use legate_api::ObjectKey;
use legate_config::route::{Route, RouteSet};
use legate_config::{Entry, RouteKey, RouteSetKey, Table};

use super::fragment::Fragment;
use super::passes::{Engine, Work};
use super::probes::{self, Probes, Surroundings};
use crate::attach::{HostTable, SetKey};
use crate::emit::{Store, put};
use crate::endpoints::EndpointIndex;
use crate::group::{Assembled, GroupContext, GroupKey, Member, Row, assemble};
use crate::options::Options;
use crate::policy::PolicyCache;
use crate::resources::Resources;
use crate::select::order;

/// Groups and sets of the last compile.
#[derive(Debug, Default)]
pub(super) struct Groups {
    pub(super) groups: BTreeMap<Arc<GroupKey>, Box<Group>>,
    dirty: BTreeSet<Arc<GroupKey>>,
    /// Whether all groups are dirty anyway.
    all_dirty: bool,
    pub(super) sets: BTreeMap<SetKey, Set>,
    pub(super) route_sets: Table<RouteSetKey, RouteSet>,
    /// The sets that each Host takes, by the Host's place.
    pub(super) taken: Vec<BTreeSet<RouteSetKey>>,
    /// Hosts whose sets changed in this run.
    pub(super) changed_hosts: BTreeSet<usize>,
    pub(super) store: Store,
    /// The internal rows.
    pub(super) internal: Probes,
    /// Members of the groups that this run assembled, unless those were all.
    pub(super) touched: Vec<ObjectKey>,
}

/// Mappings of one match.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// In processing order.
    pub(super) members: Vec<ObjectKey>,
    pub(super) assembled: Assembled,
    /// Whether the row is in the tables.
    active: bool,
}

/// Rows that attach to the same Hosts.
#[derive(Debug)]
pub(super) struct Set {
    rows: usize,
    /// Whether its takers were looked up.
    decided: bool,
    pub(super) key: RouteSetKey,
    /// The Hosts that take it; nobody: its rows stay out of the tables.
    pub(super) takers: Vec<usize>,
}

impl Groups {
    /// A Mapping was compiled again: it leaves one group, enters another, or just changed.
    pub(super) fn moved(
        &mut self,
        key: &ObjectKey,
        old: Option<Arc<GroupKey>>,
        new: Option<Arc<GroupKey>>,
    ) {
        if self.all_dirty && old.is_none() {
            self.enter(key, new);
            return;
        }
        if old != new {
            if let Some(old) = &old
                && let Some(group) = self.groups.get_mut(old)
            {
                group.members.retain(|member| member != key);
            }
            self.enter(key, new.clone());
            self.dirty.extend(old);
        }
        self.dirty.extend(new);
    }

    fn enter(&mut self, key: &ObjectKey, group: Option<Arc<GroupKey>>) {
        if let Some(group) = group {
            let members = &mut self.groups.entry(group).or_default().members;
            let place =
                members.partition_point(|member| (order(member), member) < (order(key), key));
            members.insert(place, key.clone());
        }
    }

    /// All groups are to be assembled.
    pub(super) fn start_over(&mut self) {
        self.all_dirty = true;
    }

    /// Assembles dirty groups and brings sets and tables up to date.
    fn update(&mut self, fragments: &BTreeMap<ObjectKey, Box<Fragment>>, pass: &UpdatePass<'_>) {
        let all = std::mem::take(&mut self.all_dirty) || pass.all;
        if all {
            self.dirty = self.groups.keys().cloned().collect();
        }
        if pass.hosts_changed {
            self.taken = vec![BTreeSet::new(); pass.hosts.len()];
            self.changed_hosts = (0..pass.hosts.len()).collect();
        }
        let dirty = std::mem::take(&mut self.dirty);
        let mut old_rows = Vec::new();
        let mut new_rows = Vec::new();
        for key in dirty {
            let Some(group) = self.groups.get_mut(&key) else {
                continue;
            };
            let members: Vec<&Member> = group
                .members
                .iter()
                .filter_map(|key| fragments.get(key))
                .map(|fragment| &fragment.member)
                .collect();
            let assembled = assemble(&members, &pass.context);
            if !all {
                self.touched.extend(group.members.iter().cloned());
            }
            let old = std::mem::replace(&mut group.assembled, assembled);
            if let Some(row) = old.row {
                old_rows.push((row, std::mem::take(&mut group.active)));
            }
            if group.members.is_empty() {
                self.groups.remove(&key);
            } else {
                if let Some(row) = &group.assembled.row {
                    count(&mut self.sets, &row.set);
                }
                new_rows.push(key);
            }
        }
        for (row, _) in &old_rows {
            if let Some(set) = self.sets.get_mut(&row.set) {
                set.rows = set.rows.saturating_sub(1);
            }
        }
        let flipped = self.attach(pass);
        self.exchange(old_rows, new_rows, &flipped, pass);
    }

    /// Decides which Hosts take which sets. Returns the sets that are in use now and were not, or
    /// the other way round.
    fn attach(&mut self, pass: &UpdatePass<'_>) -> BTreeSet<SetKey> {
        let mut flipped = BTreeSet::new();
        let mut gone = Vec::new();
        for (key, set) in &mut self.sets {
            let takers = if set.rows == 0 {
                Vec::new()
            } else if pass.hosts_changed || !set.decided {
                pass.hosts.takers(key)
            } else {
                continue;
            };
            set.decided = true;
            if takers.is_empty() != set.takers.is_empty() {
                flipped.insert(key.clone());
            }
            let old = std::mem::replace(&mut set.takers, takers);
            if !pass.hosts_changed {
                for host in old {
                    if let Some(taken) = self.taken.get_mut(host) {
                        taken.remove(&set.key);
                        self.changed_hosts.insert(host);
                    }
                }
            }
            for &host in &set.takers {
                if let Some(taken) = self.taken.get_mut(host) {
                    taken.insert(set.key.clone());
                    self.changed_hosts.insert(host);
                }
            }
            if set.takers.is_empty() {
                self.route_sets.remove(&set.key);
            } else {
                let content = RouteSet {
                    host: key.pattern(),
                };
                let entry = Entry::new(content, Vec::new());
                put(&mut self.route_sets, set.key.clone(), entry);
            }
            if set.rows == 0 {
                gone.push(key.clone());
            }
        }
        for key in gone {
            self.sets.remove(&key);
        }
        flipped
    }

    /// Puts new rows into the tables and takes old ones out. All keys of old rows leave before new
    /// rows enter, because a Mapping keeps its row's key when it moves between groups; what rows use
    /// is given back last, so that what stays in use never leaves.
    fn exchange(
        &mut self,
        mut old_rows: Vec<(Row, bool)>,
        mut new_rows: Vec<Arc<GroupKey>>,
        flipped: &BTreeSet<SetKey>,
        pass: &UpdatePass<'_>,
    ) {
        old_rows.retain(|(_, active)| *active);
        let mut old_routes: BTreeMap<RouteKey, Entry<Route>> = BTreeMap::new();
        for (row, _) in &old_rows {
            self.store.remove_route(&row.key);
            old_routes.insert(row.key.clone(), row.route.clone());
        }
        if !flipped.is_empty() {
            let touched = self.groups.iter().filter(|(_, group)| {
                let row = group.assembled.row.as_ref();
                row.is_some_and(|row| flipped.contains(&row.set))
            });
            let touched: BTreeSet<Arc<GroupKey>> = touched.map(|(key, _)| key.clone()).collect();
            let known: BTreeSet<Arc<GroupKey>> = new_rows.iter().cloned().collect();
            new_rows.extend(touched.difference(&known).cloned());
        }
        for key in new_rows {
            let Some(group) = self.groups.get_mut(&key) else {
                continue;
            };
            let Some(row) = &mut group.assembled.row else {
                continue;
            };
            let live = self
                .sets
                .get(&row.set)
                .is_some_and(|set| !set.takers.is_empty());
            if let Some(old) = old_routes.get(&row.key)
                && old.hash == row.route.hash
            {
                row.route.value = Arc::clone(&old.value);
            }
            if live && !group.active {
                self.store.add(row, pass.resources, pass.endpoints);
            } else if !live && group.active {
                self.store.remove_route(&row.key);
                self.store.release(row);
            }
            group.active = live;
        }
        for (row, _) in &old_rows {
            self.store.release(row);
        }
    }
}

/// Counts a row of a set.
fn count(sets: &mut BTreeMap<SetKey, Set>, key: &SetKey) {
    if let Some(set) = sets.get_mut(key) {
        set.rows += 1;
        return;
    }
    let set = Set {
        rows: 1,
        decided: false,
        key: key.to_key(),
        takers: Vec::new(),
    };
    sets.insert(key.clone(), set);
}

/// What updating looks at.
struct UpdatePass<'a> {
    all: bool,
    hosts_changed: bool,
    hosts: &'a HostTable,
    context: GroupContext<'a>,
    resources: &'a Resources,
    endpoints: &'a EndpointIndex,
}

impl Engine {
    /// Brings groups, sets, attachments and endpoint sets up to date.
    pub(super) fn assemble(
        &mut self,
        work: &Work,
        hosts_changed: bool,
        resources: &Resources,
        options: &Options,
    ) {
        let Some(module) = &self.module else {
            return;
        };
        let policies = PolicyCache::default();
        let pass = UpdatePass {
            all: work.group_all,
            hosts_changed: hosts_changed || work.group_all && self.groups.taken.is_empty(),
            hosts: &self.fronts.hosts,
            context: GroupContext {
                module: &module.settings,
                headers: &module.headers,
                auth: &self.auth.state,
                rate_limit: &self.rate_limit.state,
                labels: &self.labels,
                mode: options.mode,
                policies: &policies,
            },
            resources,
            endpoints: &self.known.endpoints,
        };
        if work.module || work.group_all {
            let around = Surroundings {
                auth: &self.auth.state,
                resources,
                endpoints: &self.known.endpoints,
            };
            let groups = &mut self.groups;
            probes::update(
                &mut groups.internal,
                &module.settings,
                &around,
                &mut groups.route_sets,
                &mut groups.store,
            );
        }
        self.groups.update(&self.fragments, &pass);
        let touched = |service: &_| work.endpoints.contains(service);
        if !work.endpoints.is_empty() {
            self.groups
                .store
                .refresh(touched, resources, &self.known.endpoints);
        }
    }
}
