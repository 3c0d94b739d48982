//! What the requests of one client connection share.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::context::Context;
use super::exchange::Exchange;
use super::port::{Port, Registered};
use super::upgrade::Pending;
use super::watch::Watch;
use crate::metrics::ActiveConnection;
use crate::request::Peer;
use crate::tls::{Termination, TlsInfo};

/// Requests per second that a client may give up.
const MAX_ABANDONED: u32 = 50;

/// A client connection.
pub(crate) struct Conn {
    /// The worker's shared state.
    pub(crate) context: Rc<Context>,
    /// The listener it came through.
    pub(crate) port: Rc<Port>,
    /// Its deadlines.
    pub(crate) watch: Rc<Watch>,
    /// Its number.
    pub(crate) id: u64,
    /// The other end.
    pub(crate) peer: Peer,
    /// Our own address.
    pub(crate) local: Option<SocketAddr>,
    /// TLS, if it was terminated here.
    pub(crate) tls: Option<Secured>,
    /// HTTP/1.1: the request that is being handled.
    pub(crate) current: RefCell<Option<Rc<Exchange>>>,
    /// HTTP/1.1: what takes the connection over once HTTP is done with it.
    pub(crate) upgrade: RefCell<Option<Pending>>,
    ending: Cell<bool>,
    abandoned: Cell<(Instant, u32)>,
    excess: Cell<u32>,
    _registered: Registered,
    _counted: ActiveConnection,
}

/// The TLS side of a connection.
pub(crate) struct Secured {
    /// What logs say about it.
    pub(crate) info: TlsInfo,
    /// How the handshake was terminated.
    pub(crate) termination: Arc<Termination>,
    /// The generation of the config that it was taken from.
    pub(crate) generation: u64,
}

impl Conn {
    /// A connection on which HTTP is about to begin.
    pub(crate) fn new(
        opened: Opened,
        peer: Peer,
        local: Option<SocketAddr>,
        tls: Option<Secured>,
    ) -> Rc<Self> {
        Rc::new(Self {
            id: opened.context.next_connection(),
            context: opened.context,
            port: opened.port,
            watch: opened.watch,
            peer,
            local,
            tls,
            current: RefCell::new(None),
            upgrade: RefCell::new(None),
            ending: Cell::new(false),
            abandoned: Cell::new((Instant::now(), 0)),
            excess: Cell::new(0),
            _registered: opened.registered,
            _counted: opened.counted,
        })
    }

    /// Ends the connection politely, as soon as its requests allow.
    pub(crate) fn end_soon(&self) {
        if !self.ending.replace(true) {
            self.watch.alarm().poke();
        }
    }

    /// The client gave a request up. One that does so all the time (a reset flood costs it little
    /// and us much) loses its HTTP/2 connection: politely at first, and at once when it goes on.
    pub(crate) fn note_abandoned(&self) {
        let (since, count) = self.abandoned.get();
        if since.elapsed() < Duration::from_secs(1) {
            self.abandoned.set((since, count + 1));
            if count >= MAX_ABANDONED {
                self.end_soon();
                self.excess.set(self.excess.get() + 1);
                if self.excess.get() > MAX_ABANDONED {
                    self.watch.shut();
                }
            }
        } else {
            self.abandoned.set((Instant::now(), 1));
        }
    }

    /// Whether the connection is to end politely.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.get() || self.port.is_draining()
    }
}

/// A connection that was accepted: its place in the worker's books until it closes.
pub(crate) struct Opened {
    pub(crate) context: Rc<Context>,
    pub(crate) port: Rc<Port>,
    pub(crate) watch: Rc<Watch>,
    registered: Registered,
    counted: ActiveConnection,
}

impl Opened {
    pub(crate) fn new(context: &Rc<Context>, port: &Rc<Port>) -> Self {
        let watch = Watch::new(&context.timers);
        Self {
            context: Rc::clone(context),
            port: Rc::clone(port),
            registered: port.register(context, &watch),
            counted: port.serving().config.metrics.connection(),
            watch,
        }
    }
}
