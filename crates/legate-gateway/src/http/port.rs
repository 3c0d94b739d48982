//! One listener on one worker: its current config and its connections.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;

use super::context::Context;
use super::watch::{Patience, Watch};
use crate::config::PortConfig;

/// A listener's state on a worker. Outlives the listener until its last connection closed.
pub(crate) struct Port {
    current: RefCell<Rc<Serving>>,
    draining: Cell<bool>,
    watches: RefCell<Slab<Rc<Watch>>>,
}

/// The config that a request starts with and keeps. The `Rc` around it keeps requests off the
/// reference count that the workers share.
pub(crate) struct Serving {
    /// The config.
    pub(crate) config: Arc<PortConfig>,
}

/// A connection's place in its port; dropping it leaves.
pub(crate) struct Registered {
    context: Rc<Context>,
    port: Rc<Port>,
    key: usize,
}

/// Idle connections are worth closing in favour of new ones after this.
const SHED_AFTER: Duration = Duration::from_secs(1);

impl Port {
    pub(crate) fn new(config: Arc<PortConfig>) -> Rc<Self> {
        Rc::new(Self {
            current: RefCell::new(Rc::new(Serving { config })),
            draining: Cell::new(false),
            watches: RefCell::new(Slab::new()),
        })
    }

    /// The config as it is now.
    pub(crate) fn serving(&self) -> Rc<Serving> {
        Rc::clone(&self.current.borrow())
    }

    /// Swaps the config. Requests that run keep theirs.
    pub(crate) fn swap(&self, config: Arc<PortConfig>) {
        *self.current.borrow_mut() = Rc::new(Serving { config });
    }

    /// Each connection ends politely from now on: HTTP/1.1 with its next response, HTTP/2 by GOAWAY.
    pub(crate) fn drain(&self) {
        self.draining.set(true);
        for (_, watch) in self.watches.borrow().iter() {
            watch.alarm().poke();
        }
    }

    /// Whether connections are to end politely.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Ends every connection now.
    pub(crate) fn shut(&self) {
        for (_, watch) in self.watches.borrow().iter() {
            watch.shut();
        }
    }

    /// Ends every connection now that carries no request.
    pub(crate) fn shut_idle(&self) {
        for (_, watch) in self.watches.borrow().iter() {
            watch.shut_if_idle();
        }
    }

    /// Ends the connection that has been idle for longest, if there is one worth it.
    pub(crate) fn shed(&self) {
        let watches = self.watches.borrow();
        let oldest = watches
            .iter()
            .filter_map(|(_, watch)| Some((watch.idle_since()?, watch)))
            .min_by_key(|(since, _)| *since);
        if let Some((since, watch)) = oldest
            && since + SHED_AFTER <= Instant::now()
        {
            watch.shut();
        }
    }

    /// Enters a connection.
    pub(crate) fn register(
        self: &Rc<Self>,
        context: &Rc<Context>,
        watch: &Rc<Watch>,
    ) -> Registered {
        context.open.set(context.open.get() + 1);
        let key = self.watches.borrow_mut().insert(Rc::clone(watch));
        Registered {
            context: Rc::clone(context),
            port: Rc::clone(self),
            key,
        }
    }

    /// How long connections may take and idle.
    pub(crate) fn patience(&self, header: Duration) -> Patience {
        let idle = self.current.borrow().config.listener.http.idle_timeout_ms;
        Patience {
            header,
            idle: (idle > 0).then(|| Duration::from_millis(idle)),
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.port.watches.borrow_mut().try_remove(self.key);
        let open = &self.context.open;
        open.set(open.get().saturating_sub(1));
    }
}
