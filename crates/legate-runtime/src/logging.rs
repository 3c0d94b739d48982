//! The process log: on standard error, as text or JSON, with a level that can be changed while
//! running. The access log is not here: it goes to standard output by its own way.

use std::fmt;
use std::io::IsTerminal as _;
use std::str::FromStr;

use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer, Registry, reload};

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people; coloured on a terminal.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// How much is logged, by Emissary's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Level {
    /// Bugs and lost work only.
    Error,
    /// And what somebody should look at.
    Warn,
    /// And what happens now and then.
    #[default]
    Info,
    /// And why.
    Debug,
    /// And everything.
    Trace,
}

/// The level's name is none of the known ones.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown log level `{0}`; use error, warn, info, debug or trace")]
pub struct UnknownLevel(pub String);

/// The log could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("the process log is set up already")]
pub struct AlreadySet;

/// Changes the level of the running process. Clones are alike.
#[derive(Clone)]
pub struct LogHandle {
    filter: reload::Handle<Targets, Registry>,
    level: std::sync::Arc<std::sync::atomic::AtomicU8>,
}

/// Starts logging to standard error.
///
/// # Errors
/// When the process has a log already.
pub fn init(format: Format, level: Level) -> Result<LogHandle, AlreadySet> {
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (subscriber, handle) = build(format, level, colours, std::io::stderr);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| AlreadySet)?;
    Ok(handle)
}

/// A subscriber that writes elsewhere, for tests.
pub fn build<W>(
    format: Format,
    level: Level,
    colours: bool,
    writer: W,
) -> (Box<dyn Subscriber + Send + Sync>, LogHandle)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(targets(level));
    let lines: Box<dyn Layer<_> + Send + Sync> = match format {
        Format::Text => tracing_subscriber::fmt::layer()
            .with_ansi(colours)
            .with_target(false)
            .with_writer(writer)
            .boxed(),
        Format::Json => tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_writer(writer)
            .boxed(),
    };
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    let handle = LogHandle {
        filter: handle,
        level: std::sync::Arc::new((level as u8).into()),
    };
    (Box::new(subscriber), handle)
}

// === impl LogHandle ===

impl LogHandle {
    /// The level now.
    #[must_use]
    pub fn level(&self) -> Level {
        let number = self.level.load(std::sync::atomic::Ordering::Relaxed);
        Level::ALL
            .into_iter()
            .find(|level| *level as u8 == number)
            .unwrap_or_default()
    }

    /// Changes the level from the next line on.
    pub fn set_level(&self, level: Level) {
        // Fails only when the subscriber is gone, and then nobody logs.
        if self.filter.reload(targets(level)).is_ok() {
            let number = level as u8;
            self.level
                .store(number, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for LogHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogHandle")
            .field("level", &self.level())
            .finish()
    }
}

// === impl Level ===

impl Level {
    /// All levels, the quietest first.
    pub const ALL: [Level; 5] = [
        Level::Error,
        Level::Warn,
        Level::Info,
        Level::Debug,
        Level::Trace,
    ];

    /// The level's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }
}

impl FromStr for Level {
    type Err = UnknownLevel;

    fn from_str(text: &str) -> Result<Self, UnknownLevel> {
        match text.trim().to_ascii_lowercase().as_str() {
            "error" => Ok(Level::Error),
            "warn" | "warning" => Ok(Level::Warn),
            "info" => Ok(Level::Info),
            "debug" => Ok(Level::Debug),
            "trace" => Ok(Level::Trace),
            _ => Err(UnknownLevel(text.to_owned())),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Our own crates at the level asked for, libraries at a quieter one: their debug lines would
/// drown ours.
fn targets(level: Level) -> Targets {
    let (ours, theirs) = match level {
        Level::Error => (LevelFilter::ERROR, LevelFilter::ERROR),
        Level::Warn => (LevelFilter::WARN, LevelFilter::WARN),
        Level::Info => (LevelFilter::INFO, LevelFilter::WARN),
        Level::Debug => (LevelFilter::DEBUG, LevelFilter::INFO),
        Level::Trace => (LevelFilter::TRACE, LevelFilter::DEBUG),
    };
    let targets = Targets::new()
        .with_default(theirs)
        .with_target("legate", ours)
        // Writes out answers that it cannot read, and they may be Secrets.
        .with_target("kube_client", LevelFilter::OFF);
    if level >= Level::Debug {
        return targets;
    }
    // What these call errors and warnings is answered, retried and reported by us.
    HANDLED.iter().fold(targets, |targets, library| {
        targets.with_target(*library, LevelFilter::OFF)
    })
}

/// Libraries whose every failure reaches us as a value.
const HANDLED: &[&str] = &["kube_runtime"];

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Buffer {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    #[test]
    fn the_level_changes_while_running() {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let (subscriber, handle) = build(Format::Text, Level::Warn, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("One");
            tracing::error!(target: "kube_client::client", "Four");
            handle.set_level(Level::Debug);
            tracing::debug!(value = 3, "Two");
            tracing::debug!(target: "h2", "Three");
        });
        assert_eq!(handle.level(), Level::Debug);
        let text = buffer.text();
        for quiet in ["One", "Three", "Four"] {
            assert!(!text.contains(quiet), "{text}");
        }
        assert!(text.contains("Two value=3"), "{text}");
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn json_lines_are_objects() {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let (subscriber, _handle) = build(Format::Json, Level::Info, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || tracing::info!(port = 80, "Bound"));
        let line: serde_json::Value = serde_json::from_str(buffer.text().trim()).unwrap();
        assert_eq!(line.get("message"), Some(&"Bound".into()));
        assert_eq!(line.get("port"), Some(&80.into()));
    }

    #[test]
    fn level_names() {
        assert_eq!("WARNING".parse(), Ok(Level::Warn));
        for level in Level::ALL {
            assert_eq!(level.as_str().parse(), Ok(level));
        }
        assert!("loud".parse::<Level>().is_err());
    }
}
