//! A virtual host: its layers of routes, and the choice among them.

use std::sync::Arc;

use legate_config::listener::{InsecureAction, VirtualHost};
use legate_config::{Entry, HostPattern, Origin, RouteSet, RouteSetKey, VirtualHostKey};

use crate::host::HostIndex;
use crate::matcher::Cache;
use crate::order::by_rank;
use crate::request::RequestView;
use crate::row::{Row, Terms};
use crate::set::SetIndex;

/// The routes of a virtual host.
pub struct VirtualHostRoutes<P> {
    key: VirtualHostKey,
    vhost: Arc<VirtualHost>,
    origins: Arc<[Origin]>,
    layers: Vec<Layer<P>>,
    /// Layers by the host condition of their set.
    by_host: HostIndex,
}

/// A route set that a virtual host lists.
pub(crate) struct Layer<P> {
    pub(crate) key: RouteSetKey,
    pub(crate) set: Arc<RouteSet>,
    pub(crate) index: Arc<SetIndex<P>>,
}

/// The route that takes a request.
pub struct Selected<'a, P> {
    /// The route.
    pub row: &'a Arc<Row<P>>,
    /// What is to be done.
    pub verdict: Verdict,
}

/// What is to be done with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// What the route says.
    Act {
        /// Index into the targets of a split; 0 for other actions.
        target: usize,
    },
    /// Redirect to https, whatever the route says (spec/routing §3.8).
    RedirectToHttps,
}

// === impl VirtualHostRoutes ===

impl<P> VirtualHostRoutes<P> {
    /// The virtual host; `sets` looks up its route sets. Absent ones are left out.
    pub(crate) fn build(
        key: &VirtualHostKey,
        entry: &Entry<VirtualHost>,
        sets: &dyn Fn(&RouteSetKey) -> Option<Layer<P>>,
        cache: &mut Cache,
    ) -> Self {
        let mut layers = Vec::with_capacity(entry.value.route_sets.len());
        let mut by_host = HostIndex::default();
        for layer in entry.value.route_sets.iter().filter_map(sets) {
            let number = u32::try_from(layers.len()).unwrap_or(u32::MAX);
            // A set with a bad pattern was left out before it came here.
            if by_host.add(&layer.set.host, number, cache).is_ok() {
                layers.push(layer);
            }
        }
        Self {
            key: key.clone(),
            vhost: Arc::clone(&entry.value),
            origins: Arc::clone(&entry.origins),
            layers,
            by_host,
        }
    }

    /// The first route in rank order whose conditions all hold, for a request that chose this
    /// virtual host. `draw` is the request's one random number, in `[0, 100)`.
    #[must_use]
    pub fn select(
        &self,
        request: &RequestView<'_>,
        secure: bool,
        draw: u32,
    ) -> Option<Selected<'_, P>> {
        let terms = self.terms(secure, draw);
        let mut best: Option<(&Arc<Row<P>>, u32)> = None;
        self.by_host.each(request.host, |layer| {
            let found = self
                .layers
                .get(layer as usize)
                .and_then(|layer| layer.index.find(request, terms));
            if let Some((row, target)) = found
                && best.is_none_or(|(other, _)| by_rank(row, other).is_lt())
            {
                best = Some((row, target));
            }
        });
        let (row, target) = best?;
        let verdict = self.verdict(row, target, secure);
        Some(Selected { row, verdict })
    }

    /// The virtual host as configured.
    #[must_use]
    pub fn vhost(&self) -> &Arc<VirtualHost> {
        &self.vhost
    }

    /// The virtual host's key.
    #[must_use]
    pub fn key(&self) -> &VirtualHostKey {
        &self.key
    }

    /// The objects it was made from.
    #[must_use]
    pub fn origins(&self) -> &Arc<[Origin]> {
        &self.origins
    }

    pub(crate) fn layers(&self) -> &[Layer<P>] {
        &self.layers
    }

    /// The layers whose host condition holds, as indexes.
    pub(crate) fn consulted(&self, host: &str) -> Vec<usize> {
        let mut layers = Vec::new();
        self.by_host.each(host, |layer| layers.push(layer as usize));
        layers
    }

    pub(crate) fn terms(&self, secure: bool, draw: u32) -> Terms {
        Terms {
            only_always_routed: !secure && self.vhost.insecure == InsecureAction::Reject,
            draw,
        }
    }

    pub(crate) fn verdict(&self, row: &Row<P>, target: u32, secure: bool) -> Verdict {
        let redirects = self.vhost.insecure == InsecureAction::Redirect;
        if redirects && !secure && !row.route.always_routed {
            return Verdict::RedirectToHttps;
        }
        Verdict::Act {
            target: target as usize,
        }
    }

    pub(crate) fn pattern(&self) -> &HostPattern {
        &self.vhost.host
    }
}
