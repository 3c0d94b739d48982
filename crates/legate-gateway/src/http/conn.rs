//! What the requests of one client connection share.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use super::context::Context;
use super::exchange::Exchange;
use super::port::{Port, Registered};
use super::upgrade::Pending;
use super::watch::Watch;
use crate::request::Peer;
use crate::tls::{TlsChain, TlsInfo};

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
    _registered: Registered,
}

/// The TLS side of a connection.
pub(crate) struct Secured {
    /// What logs say about it.
    pub(crate) info: TlsInfo,
    /// The server name that the client asked for, lower-case.
    pub(crate) sni: Option<String>,
    /// The chain that took the handshake.
    pub(crate) chain: Arc<TlsChain>,
    /// The generation of the config that it was taken from.
    pub(crate) generation: u64,
}

impl Conn {
    pub(crate) fn new(
        context: &Rc<Context>,
        port: &Rc<Port>,
        watch: &Rc<Watch>,
        addresses: (Peer, Option<SocketAddr>),
        tls: Option<Secured>,
        registered: Registered,
    ) -> Rc<Self> {
        Rc::new(Self {
            context: Rc::clone(context),
            port: Rc::clone(port),
            watch: Rc::clone(watch),
            id: context.next_connection(),
            peer: addresses.0,
            local: addresses.1,
            tls,
            current: RefCell::new(None),
            upgrade: RefCell::new(None),
            _registered: registered,
        })
    }
}
