//! SIGTERM and SIGINT as a stream in which the second signal is told from the first.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Which signal came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// SIGTERM, as from an orchestrator.
    Terminate,
    /// SIGINT, as from a terminal.
    Interrupt,
}

/// A signal that asks the process to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Which one.
    pub kind: Kind,
    /// 1 for the first of either kind; from 2 on the user is impatient.
    pub count: u32,
}

/// Receives the signals that ask the process to end.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    count: u32,
}

impl Signals {
    /// Starts to receive; from then on the signals do not end the process by themselves. Needs a
    /// tokio runtime with I/O.
    ///
    /// # Errors
    /// When the system refuses the handlers.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            count: 0,
        })
    }

    /// The next signal. Cancel-safe.
    pub async fn recv(&mut self) -> Received {
        // Dropping either branch loses nothing: the signals stay pending in their streams.
        let kind = tokio::select! {
            _ = self.terminate.recv() => Kind::Terminate,
            _ = self.interrupt.recv() => Kind::Interrupt,
        };
        self.count = self.count.saturating_add(1);
        Received {
            kind,
            count: self.count,
        }
    }
}
