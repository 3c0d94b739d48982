//! Pass 4b, normalise: which Hosts take which route sets (spec/routing §§3.4–3.5).
//!
//! Rows live once, in the set of their host condition and selector class; a virtual host lists the
//! sets that attach to its Host.

use std::collections::BTreeMap;
use std::sync::Arc;

use legate_api::ObjectKey;
use legate_config::{HostPattern, RouteSetKey};

use crate::frontends::FrontendHost;
use crate::glob::{HostGlob, Selector};
use crate::lower::HostCondition;
use crate::options::Options;

/// Key of the set of internal routes. No other key has an empty component.
pub(crate) const INTERNAL: &str = "//internal";

/// The selectors of Hosts that an object's labels satisfy, as canonical texts, sorted.
pub(crate) type Class = Arc<[Arc<str>]>;

/// What the rows of a set have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SetKey {
    host: SetHost,
    class: Class,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum SetHost {
    /// Without a host: only selectors attach it.
    None,
    Glob(HostGlob),
    /// Goes with every Host; the expression is applied per request.
    Regex(String),
}

impl SetKey {
    /// The set for a host condition and a class.
    pub(crate) fn new(host: Option<&HostCondition>, class: &Class) -> Self {
        let host = match host {
            None => SetHost::None,
            Some(HostCondition {
                glob: Some(glob), ..
            }) => SetHost::Glob(glob.clone()),
            Some(host) => match &host.pattern {
                HostPattern::Regex(pattern) => SetHost::Regex(pattern.clone()),
                other => SetHost::Regex(other.to_string()),
            },
        };
        Self {
            host,
            class: Arc::clone(class),
        }
    }

    /// The condition that the set puts on a request's host.
    pub(crate) fn pattern(&self) -> HostPattern {
        match &self.host {
            SetHost::None => HostPattern::Any,
            SetHost::Glob(glob) => glob.to_pattern(),
            SetHost::Regex(pattern) => HostPattern::Regex(pattern.clone()),
        }
    }

    /// `<host>[/<class>]`; the host is empty where there is none.
    pub(crate) fn to_key(&self) -> RouteSetKey {
        let mut text = match &self.host {
            SetHost::None => String::new(),
            SetHost::Glob(glob) => escape(&glob.to_string()),
            SetHost::Regex(pattern) => format!("~{}", escape(pattern)),
        };
        if !self.class.is_empty() || text.is_empty() {
            let class: Vec<String> = self.class.iter().map(|text| escape(text)).collect();
            text.push('/');
            text.push_str(&class.join(";"));
        }
        RouteSetKey::from(text)
    }
}

/// Keeps texts of users apart from the separators of keys.
pub(crate) fn escape(text: &str) -> String {
    if !text.contains(['%', '/', ';']) {
        return text.to_owned();
    }
    text.replace('%', "%25")
        .replace('/', "%2F")
        .replace(';', "%3B")
}

/// The Hosts, as far as attaching goes.
#[derive(Debug, Default)]
pub(crate) struct HostTable {
    hosts: Vec<HostEntry>,
    /// Hosts of an exact name, and all others.
    exact: BTreeMap<String, Vec<usize>>,
    globs: Vec<usize>,
    /// Distinct selectors by canonical text.
    selectors: BTreeMap<Arc<str>, Selector>,
    empty: Class,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct HostEntry {
    key: Option<ObjectKey>,
    glob: HostGlob,
    selector: Option<Arc<str>>,
    attaches: bool,
}

impl HostTable {
    pub(crate) fn new(hosts: &[FrontendHost]) -> Self {
        let mut table = Self::default();
        for (index, host) in hosts.iter().enumerate() {
            let selector = host.selector.as_ref().map(|selector| {
                let text: Arc<str> = selector.to_string().into();
                table.selectors.insert(Arc::clone(&text), selector.clone());
                text
            });
            match &host.glob {
                HostGlob::Exact(name) => {
                    table.exact.entry(name.clone()).or_default().push(index);
                }
                _ => table.globs.push(index),
            }
            table.hosts.push(HostEntry {
                key: host.object.clone(),
                glob: host.glob.clone(),
                selector,
                attaches: host.attaches,
            });
        }
        table
    }

    /// Whether both attach everything to the same Hosts.
    pub(crate) fn same_hosts(&self, other: &Self) -> bool {
        self.hosts == other.hosts
    }

    /// Whether both sort labels into the same classes.
    pub(crate) fn same_classes(&self, other: &Self) -> bool {
        self.selectors == other.selectors
    }

    /// Number of Hosts.
    pub(crate) fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Whether a Host takes anything at all.
    pub(crate) fn attaches(&self, index: usize) -> bool {
        self.hosts.get(index).is_some_and(|host| host.attaches)
    }

    /// The class of some labels.
    pub(crate) fn class(&self, labels: &BTreeMap<String, String>, options: &Options) -> Class {
        if self.selectors.is_empty() {
            return Arc::clone(&self.empty);
        }
        self.selectors
            .iter()
            .filter(|(_, selector)| selector.matches(labels, options.strict_label_selectors))
            .map(|(text, _)| Arc::clone(text))
            .collect()
    }

    /// The Hosts that take a set, ascending.
    pub(crate) fn takers(&self, set: &SetKey) -> Vec<usize> {
        // An exact name overlaps with few of the other exact names: itself.
        let mut candidates: Vec<usize> = match &set.host {
            SetHost::Glob(HostGlob::Exact(name)) => {
                let same = self.exact.get(name).into_iter().flatten();
                same.chain(&self.globs).copied().collect()
            }
            _ => (0..self.hosts.len()).collect(),
        };
        candidates.sort_unstable();
        candidates.retain(|index| {
            self.hosts
                .get(*index)
                .is_some_and(|host| host.attaches && host.verdict(set).is_ok())
        });
        candidates
    }

    /// Why no Host takes a set: the nearest misses, for a message.
    pub(crate) fn near_misses(&self, set: &SetKey) -> String {
        let mut misses: Vec<(Miss, &HostEntry)> = self
            .hosts
            .iter()
            .filter_map(|host| match host.verdict(set) {
                Ok(()) if host.attaches => None,
                Ok(()) => Some((Miss::Rejected, host)),
                Err(miss) => Some((miss, host)),
            })
            .collect();
        misses.sort_by_key(|(miss, _)| *miss);
        let texts: Vec<String> = misses
            .iter()
            .take(3)
            .map(|(miss, host)| miss.describe(host))
            .collect();
        match (texts.is_empty(), misses.len() > texts.len()) {
            (true, _) => "there is no Host".to_owned(),
            (false, true) => format!("{}; and {} more", texts.join("; "), misses.len() - 3),
            (false, false) => texts.join("; "),
        }
    }
}

/// Why a Host does not take a set; nearest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Miss {
    /// It would, but is rejected itself.
    Rejected,
    /// The names fit, the labels do not.
    Labels,
    /// The labels fit, the names do not.
    Name,
    /// Neither a hostname nor a selector.
    NoHostname,
    /// Nothing fits.
    Both,
}

impl Miss {
    fn describe(self, host: &HostEntry) -> String {
        let name = match &host.key {
            Some(key) => format!("Host {}/{}", key.namespace, key.name),
            None => "the Host made up for `*`".to_owned(),
        };
        let selector = host.selector.as_deref().unwrap_or("");
        let glob = &host.glob;
        match self {
            Self::Rejected => format!("{name} would take it, but is rejected"),
            Self::Labels => format!("{name} wants the labels `{selector}`"),
            Self::Name => format!("{name} is `{glob}`, which the hostname does not overlap"),
            Self::NoHostname => {
                format!("{name} has no mappingSelector, and the Mapping has no hostname")
            }
            Self::Both => format!("{name} is `{glob}` and wants the labels `{selector}`"),
        }
    }
}

impl HostEntry {
    /// The table of spec/routing §3.5.
    fn verdict(&self, set: &SetKey) -> Result<(), Miss> {
        let host = match &set.host {
            SetHost::None => None,
            SetHost::Glob(glob) => Some(self.glob.intersects(glob)),
            SetHost::Regex(_) => Some(true),
        };
        let selected = self
            .selector
            .as_ref()
            .map(|selector| set.class.contains(selector));
        match (selected, host) {
            (None, Some(true)) | (Some(true), Some(true) | None) => Ok(()),
            (None, None) => Err(Miss::NoHostname),
            (None, Some(false)) | (Some(true), Some(false)) => Err(Miss::Name),
            (Some(false), Some(true) | None) => Err(Miss::Labels),
            (Some(false), Some(false)) => Err(Miss::Both),
        }
    }
}

#[cfg(test)]
mod tests;
