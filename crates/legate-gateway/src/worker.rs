//! A worker: one OS thread with its own runtime, sockets, timers and upstream connections.
//!
//! The gateway talks to it by commands; it never waits for another worker.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use legate_config::ListenerKey;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};

use crate::config::PortConfig;
use crate::http::context::{Context, Process};
use crate::http::port::Port;
use crate::listener::Acceptor;
use crate::metrics::Metrics;
use crate::upstream::ClusterHandle;

/// How often idle upstream connections are looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// How often a draining worker looks whether it is done.
const DRAIN_TICK: Duration = Duration::from_millis(10);

/// What a worker is told.
pub(crate) enum Command {
    /// Use these configs from now on; listeners that are not among them are drained.
    Apply {
        /// All listeners that are bound.
        ports: Arc<BTreeMap<ListenerKey, Arc<PortConfig>>>,
        /// This worker's sockets of the new ones.
        sockets: Vec<(ListenerKey, TcpListener)>,
        /// The side services to stay connected to.
        warm: Arc<[Arc<ClusterHandle>]>,
        /// How long idle connections of removed listeners may stay.
        drain_time: Duration,
        /// Told when it is done.
        done: std_mpsc::Sender<()>,
    },
    /// Cease to accept, end connections politely, and say when the last one closed.
    Drain(oneshot::Sender<()>),
    /// End everything, and the worker.
    Close,
}

/// A running worker.
pub(crate) struct Worker {
    commands: mpsc::UnboundedSender<Command>,
    thread: Option<JoinHandle<()>>,
}

struct Listening {
    port: Rc<Port>,
    acceptor: Option<Rc<Acceptor>>,
}

struct Local {
    context: Rc<Context>,
    listening: BTreeMap<ListenerKey, Listening>,
}

// === impl Worker ===

impl Worker {
    /// Starts a worker.
    pub(crate) fn start(
        index: usize,
        process: Arc<Process>,
        metrics: Arc<Metrics>,
        max_open: usize,
    ) -> io::Result<Self> {
        let (commands, receiver) = mpsc::unbounded_channel();
        let runtime_ready = std_mpsc::channel();
        let thread = std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || {
                let fatal = Fatal(index);
                let runtime = Builder::new_current_thread()
                    .enable_all()
                    .build_local(LocalOptions::default());
                match runtime {
                    Ok(runtime) => {
                        let _ = runtime_ready.0.send(Ok(()));
                        runtime.block_on(async {
                            let context = Context::new(process, metrics, max_open);
                            run(context, receiver).await;
                        });
                    }
                    Err(error) => {
                        let _ = runtime_ready.0.send(Err(error));
                    }
                }
                std::mem::forget(fatal);
            })?;
        runtime_ready
            .1
            .recv()
            .unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))?;
        Ok(Self {
            commands,
            thread: Some(thread),
        })
    }

    /// Tells it something. A worker that has ended hears nothing.
    pub(crate) fn tell(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    /// Waits for its end.
    pub(crate) fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A worker that dies takes its sockets' connections with it and would leave its share of new ones
/// unanswered: better to end the process, which somebody restarts.
struct Fatal(usize);

impl Drop for Fatal {
    fn drop(&mut self) {
        tracing::error!(worker = self.0, "Worker died; ending the process");
        std::process::abort();
    }
}

async fn run(context: Rc<Context>, mut commands: mpsc::UnboundedReceiver<Command>) {
    tokio::task::spawn_local(Rc::clone(&context.timers).run());
    tokio::task::spawn_local(sweep(Rc::clone(&context)));
    let pool = Rc::clone(&context.pool);
    tokio::task::spawn_local(async move { pool.attend().await });
    let warming = Rc::clone(&context);
    tokio::task::spawn_local(async move { warming.warm.run(&warming.pool).await });
    let mut local = Local {
        context,
        listening: BTreeMap::new(),
    };
    while let Some(command) = commands.recv().await {
        match command {
            Command::Apply {
                ports,
                sockets,
                warm,
                drain_time,
                done,
            } => {
                local.context.warm.set(&warm);
                if let Some(port) = ports.values().next() {
                    local.context.stores.update(&port.limits);
                }
                local.apply(&ports, sockets, drain_time).await;
                let _ = done.send(());
            }
            Command::Drain(done) => local.drain(done).await,
            Command::Close => break,
        }
    }
    local.shut();
    local.context.pool.close_idle();
    // Lets the connections' tasks see it and write their last lines.
    for _ in 0..10 {
        if local.context.open.get() == 0 {
            break;
        }
        tokio::time::sleep(DRAIN_TICK).await;
    }
}

async fn sweep(context: Rc<Context>) {
    let mut ticks = tokio::time::interval(SWEEP);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        context.pool.sweep();
    }
}

// === impl Local ===

impl Local {
    async fn apply(
        &mut self,
        ports: &BTreeMap<ListenerKey, Arc<PortConfig>>,
        sockets: Vec<(ListenerKey, TcpListener)>,
        drain_time: Duration,
    ) {
        let gone: Vec<_> = self
            .listening
            .keys()
            .filter(|key| !ports.contains_key(*key))
            .cloned()
            .collect();
        for (key, config) in ports {
            if let Some(listening) = self.listening.get(key) {
                listening.port.swap(Arc::clone(config));
            }
        }
        for (key, socket) in sockets {
            if let Some(config) = ports.get(&key) {
                self.listen(key, config, socket);
            }
        }
        for key in gone {
            if let Some(listening) = self.listening.remove(&key) {
                retire(listening, drain_time).await;
            }
        }
    }

    fn listen(&mut self, key: ListenerKey, config: &Arc<PortConfig>, socket: TcpListener) {
        let port = Port::new(Arc::clone(config));
        let acceptor = match Acceptor::spawn(&self.context, &port, socket) {
            Ok(acceptor) => Some(acceptor),
            Err(error) => {
                tracing::error!(listener = %key, %error, "Cannot poll the listening socket");
                None
            }
        };
        self.listening.insert(key, Listening { port, acceptor });
    }

    /// Ceases to accept and says when the last connection closed; returns before that.
    async fn drain(&mut self, done: oneshot::Sender<()>) {
        let acceptors: Vec<_> = self
            .listening
            .values_mut()
            .filter_map(|listening| listening.acceptor.take())
            .collect();
        futures_util::future::join_all(acceptors.iter().map(|acceptor| acceptor.stop())).await;
        for listening in self.listening.values() {
            listening.port.drain();
        }
        let context = Rc::clone(&self.context);
        tokio::task::spawn_local(async move {
            while context.open.get() > 0 {
                tokio::time::sleep(DRAIN_TICK).await;
            }
            let _ = done.send(());
        });
    }

    fn shut(&self) {
        for listening in self.listening.values() {
            listening.port.shut();
        }
    }
}

/// Ends a removed listener: no connection is refused or cut while it carries a request.
async fn retire(listening: Listening, drain_time: Duration) {
    if let Some(acceptor) = &listening.acceptor {
        acceptor.stop().await;
    }
    listening.port.drain();
    tokio::task::spawn_local(async move {
        tokio::time::sleep(drain_time).await;
        listening.port.shut_idle();
    });
}
