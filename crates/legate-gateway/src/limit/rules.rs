//! The rules of a domain, ready to be matched: which of them applies to a descriptor, and which cell
//! counts it (spec/services §2.6, §2.7.9).

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderName, HeaderValue};
use legate_config::Hash128;
use legate_config::hash::Hasher128;
use legate_config::rules::{
    Limit, LimitDepth, LimitDomain, LimitEntry, LimitItem, LimitPlace, LimitRule, LimitValue,
};

use super::store::Shape;
use crate::request::DescriptorEntry;

/// A domain, ready to be matched.
#[derive(Debug)]
pub(crate) struct Domain {
    /// Its name.
    pub(crate) name: Box<str>,
    /// Whether clients are told what is left.
    pub(crate) headers: bool,
    /// Whether keys that labels write for fixed entries are used.
    pub(crate) honour_label_keys: bool,
    /// Whether gRPC clients are told `RESOURCE_EXHAUSTED`.
    pub(crate) grpc_resource_exhausted: bool,
    root: Node,
    /// All rules.
    rules: Vec<Arc<Rule>>,
    /// Those that descriptors may be longer than; the longest first.
    prefixes: Vec<Arc<Rule>>,
}

/// A rule, ready to be counted.
#[derive(Debug)]
pub(crate) struct Rule {
    /// Name of its domain.
    pub(crate) domain: Box<str>,
    /// What tells it from all others, whatever its numbers are.
    pub(crate) identity: Hash128,
    /// What it says.
    pub(crate) config: LimitRule,
    /// What it asks for.
    pub(crate) ask: Ask,
    /// Where it is counted.
    pub(crate) place: Place,
    /// What it decided so far.
    pub(crate) tally: Arc<Tally>,
    /// Headers for the upstream.
    pub(crate) request_headers: Vec<(HeaderName, HeaderValue)>,
    /// Headers for the client.
    pub(crate) response_headers: Vec<(HeaderName, HeaderValue)>,
}

/// What a rule asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Nothing: it only takes descriptors from others.
    Nothing,
    /// Never.
    Never,
    /// So much.
    Rate {
        /// Requests per unit.
        requests: u32,
        /// The unit.
        unit_seconds: u32,
        /// Requests at once.
        burst: u32,
    },
}

/// Where a rule is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Here.
    Process,
    /// Here, but the limit is for all gateways together.
    Divided,
    /// In a store, by its name.
    Store(Arc<str>),
}

/// Decisions of a rule. Kept as long as there is a rule of its identity.
#[derive(Debug, Default)]
pub(crate) struct Tally([AtomicU64; Tally::RESULTS.len()]);

/// What the config names. Clients only look things up, so they gain nothing by knowing the hash.
type Texts<T> = HashMap<Box<str>, T, foldhash::fast::RandomState>;

#[derive(Debug, Default)]
struct Node {
    rule: Option<Arc<Rule>>,
    children: Texts<Keyed>,
}

/// Nodes of one key, by what their value must be.
#[derive(Debug, Default)]
struct Keyed {
    is: Texts<Node>,
    /// The longest first.
    starts: Vec<(Box<str>, Node)>,
    any: Option<Box<Node>>,
}

// === impl Domain ===

impl Domain {
    /// Makes a domain ready. `place` says where a rule is counted, `tally` finds its counters.
    pub(crate) fn build(
        name: &str,
        config: &LimitDomain,
        place: impl Fn(&LimitDomain, LimitPlace) -> Place,
        mut tally: impl FnMut(Hash128) -> Arc<Tally>,
    ) -> Self {
        let mut domain = Self {
            name: name.into(),
            headers: config.headers,
            honour_label_keys: config.honour_label_keys,
            grpc_resource_exhausted: config.grpc_resource_exhausted,
            root: Node::default(),
            rules: Vec::with_capacity(config.rules.len()),
            prefixes: Vec::new(),
        };
        for rule in &config.rules {
            let identity = Hash128::of(&(name, rule.depth, &rule.items));
            let place = place(config, rule.place);
            let rule = Arc::new(Rule::build(name, identity, rule, place, tally(identity)));
            domain.rules.push(Arc::clone(&rule));
            match rule.config.depth {
                LimitDepth::Exact => domain.root.insert(&rule),
                LimitDepth::Prefix => domain.prefixes.push(rule),
            }
        }
        // Stable: of rules of one length the older one wins.
        domain
            .prefixes
            .sort_by_key(|rule| std::cmp::Reverse(rule.config.items.len()));
        domain
    }

    /// All rules.
    pub(crate) fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.rules.iter()
    }

    /// The rules that apply to a descriptor: at most one of each depth.
    pub(crate) fn matching(
        &self,
        descriptor: &[DescriptorEntry<'_>],
    ) -> impl Iterator<Item = &Arc<Rule>> {
        let exact = self.root.find(descriptor);
        let prefix = self
            .prefixes
            .iter()
            .find(|rule| is_prefix(&rule.config.items, descriptor));
        exact.into_iter().chain(prefix)
    }
}

fn is_prefix(items: &[LimitItem], descriptor: &[DescriptorEntry<'_>]) -> bool {
    items.len() <= descriptor.len()
        && items.iter().zip(descriptor).all(|(item, given)| {
            let mut entries = item.any_of.iter();
            entries.any(|entry| entry.key == given.key && matches(&entry.value, &given.value))
        })
}

fn matches(wanted: &LimitValue, value: &str) -> bool {
    match wanted {
        LimitValue::Any => true,
        LimitValue::Is(wanted) => wanted == value,
        LimitValue::StartsWith(start) => value.starts_with(start.as_str()),
    }
}

// === impl Node ===

impl Node {
    fn insert(&mut self, rule: &Arc<Rule>) {
        let mut node = self;
        for item in &rule.config.items {
            let Some(LimitEntry { key, value }) = item.any_of.first() else {
                return;
            };
            let keyed = node.children.entry(key.as_str().into()).or_default();
            node = match value {
                LimitValue::Any => keyed.any.get_or_insert_default(),
                LimitValue::Is(value) => keyed.is.entry(value.as_str().into()).or_default(),
                LimitValue::StartsWith(start) => keyed.starting(start),
            };
        }
        // The compiler lets no two through; the older one would stay.
        node.rule.get_or_insert_with(|| Arc::clone(rule));
    }

    fn find(&self, descriptor: &[DescriptorEntry<'_>]) -> Option<&Arc<Rule>> {
        let mut node = self;
        for entry in descriptor {
            let keyed = node.children.get(entry.key)?;
            let value = &*entry.value;
            node = keyed
                .is
                .get(value)
                .or_else(|| {
                    let mut starts = keyed.starts.iter();
                    let found = starts.find(|(start, _)| value.starts_with(&**start));
                    found.map(|(_, node)| node)
                })
                .or(keyed.any.as_deref())?;
        }
        node.rule.as_ref()
    }
}

impl Keyed {
    fn starting(&mut self, start: &str) -> &mut Node {
        let at = self
            .starts
            .iter()
            .position(|(known, _)| &**known == start)
            .unwrap_or_else(|| {
                let longer = |(known, _): &(Box<str>, Node)| known.len() >= start.len();
                let at = self.starts.partition_point(longer);
                self.starts.insert(at, (start.into(), Node::default()));
                at
            });
        #[expect(
            clippy::indexing_slicing,
            reason = "the line above found the place, or made it"
        )]
        &mut self.starts[at].1
    }
}

// === impl Rule ===

impl Rule {
    fn build(
        domain: &str,
        identity: Hash128,
        config: &LimitRule,
        place: Place,
        tally: Arc<Tally>,
    ) -> Self {
        let headers = |written: &[(String, String)]| {
            let pairs = written.iter().filter_map(|(name, value)| {
                Some((
                    HeaderName::try_from(name).ok()?,
                    HeaderValue::try_from(value).ok()?,
                ))
            });
            pairs.collect()
        };
        Self {
            domain: domain.into(),
            identity,
            ask: match config.limit {
                None | Some(Limit::Unlimited) => Ask::Nothing,
                Some(Limit::Rate { requests: 0, .. }) => Ask::Never,
                Some(Limit::Rate {
                    requests,
                    unit_seconds,
                    burst,
                }) => Ask::Rate {
                    requests,
                    unit_seconds,
                    burst,
                },
            },
            place,
            tally,
            request_headers: headers(&config.request_headers),
            response_headers: headers(&config.response_headers),
            config: config.clone(),
        }
    }

    /// How its cells fill, where the limit is shared by so many gateways.
    pub(crate) fn shape(&self, gateways: u32) -> Option<Shape> {
        let Ask::Rate {
            requests,
            unit_seconds,
            burst,
        } = self.ask
        else {
            return None;
        };
        let share = |of: u32| (of / gateways.max(1)).max(1);
        Some(Shape::new(share(requests), unit_seconds, share(burst)))
    }

    /// The entries of a descriptor that tell one cell from another.
    fn counted<'d>(
        &self,
        descriptor: &'d [DescriptorEntry<'d>],
    ) -> impl Iterator<Item = &'d DescriptorEntry<'d>> {
        let items = self.config.items.iter().zip(descriptor);
        items
            .filter(|(item, _)| !item.shared)
            .map(|(_, entry)| entry)
    }

    /// What the cell of a descriptor is found by in this process.
    pub(crate) fn cell<'r>(&'r self, descriptor: &'r [DescriptorEntry<'r>]) -> impl Hash + 'r {
        Counted {
            rule: self,
            descriptor,
        }
    }

    /// What the cell of a descriptor is found by everywhere.
    pub(crate) fn digest(&self, descriptor: &[DescriptorEntry<'_>]) -> Hash128 {
        let mut hasher = Hasher128::default();
        let mut feed = |text: &str| {
            // Lengths keep `ab`, `c` and `a`, `bc` apart. Writing into a hasher cannot fail.
            let _ = hasher.write_all(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
            let _ = hasher.write_all(text.as_bytes());
        };
        for entry in self.counted(descriptor) {
            feed(entry.key);
            feed(&entry.value);
        }
        let _ = hasher.write_all(self.identity.as_bytes());
        hasher.finish()
    }

    /// Whether it may refuse.
    pub(crate) fn enforces(&self) -> bool {
        !self.config.shadow && self.ask != Ask::Nothing
    }
}

/// A descriptor as a rule counts it.
struct Counted<'a> {
    rule: &'a Rule,
    descriptor: &'a [DescriptorEntry<'a>],
}

impl Hash for Counted<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rule.identity.hash(state);
        for entry in self.rule.counted(self.descriptor) {
            entry.key.hash(state);
            entry.value.hash(state);
        }
    }
}

// === impl Tally ===

impl Tally {
    /// What a decision may be.
    pub(crate) const RESULTS: [&'static str; 3] = ["ok", "over", "shadow_over"];

    /// Counts a decision.
    pub(crate) fn count(&self, over: bool, shadow: bool) {
        let [ok, refused, would] = &self.0;
        let counter = match (over, shadow) {
            (false, _) => ok,
            (true, false) => refused,
            (true, true) => would,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts, in the order of [`Tally::RESULTS`].
    pub(crate) fn counts(&self) -> [u64; Self::RESULTS.len()] {
        [0, 1, 2].map(|at: usize| {
            let counter = self.0.get(at);
            counter.map_or(0, |counter| counter.load(Ordering::Relaxed))
        })
    }
}

#[cfg(test)]
mod tests;
