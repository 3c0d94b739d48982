//! The registry of metrics and the two text formats it is read in.
//!
//! Not here: any metric of the domain; whoever has one registers it.

mod classic;
mod process;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

pub use prometheus_client;
use prometheus_client::encoding::text;
use prometheus_client::registry;

/// How metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextFormat {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The text format of Prometheus, 0.0.4.
    Classic,
}

/// Appends metrics that the encoder cannot name, such as Envoy's counters without `_total`.
pub type ExtraText = Box<dyn Fn(TextFormat, &mut String) + Send + Sync>;

/// Brings metrics up to date that are counted elsewhere; called before each scrape.
pub type Refresh = Box<dyn Fn() + Send + Sync>;

/// All metrics of the process. Clones share one registry.
#[derive(Clone)]
pub struct Registry {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    registry: registry::Registry,
    extras: Vec<ExtraText>,
    refreshes: Vec<Refresh>,
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl Registry {
    /// A registry that holds the metrics of the process itself.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = registry::Registry::default();
        registry.register_collector(Box::new(process::Process));
        Self {
            shared: Arc::new(Mutex::new(Shared {
                registry,
                extras: Vec::new(),
                refreshes: Vec::new(),
            })),
        }
    }

    /// Registers metrics.
    pub fn register<T>(&self, with: impl FnOnce(&mut registry::Registry) -> T) -> T {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        with(&mut shared.registry)
    }

    /// Registers text to append to the output; it must be valid in the format it is asked for.
    pub fn register_text(&self, extra: ExtraText) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.extras.push(extra);
    }

    /// Registers what is to be done before each scrape; it must not use this registry.
    pub fn before_each(&self, refresh: Refresh) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.refreshes.push(refresh);
    }

    /// Writes all metrics.
    #[must_use]
    pub fn encode(&self, format: TextFormat) -> String {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        for refresh in &shared.refreshes {
            refresh();
        }
        let mut out = String::new();
        if let Err(error) = text::encode_registry(&mut out, &shared.registry) {
            tracing::error!(%error, "Metrics could not be written");
        }
        if format == TextFormat::Classic {
            out = classic::from_open_metrics(&out);
        }
        for extra in &shared.extras {
            extra(format, &mut out);
        }
        if format == TextFormat::OpenMetrics {
            out.push_str("# EOF\n");
        }
        out
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

impl TextFormat {
    /// What a scraper with this `Accept` header wants.
    #[must_use]
    pub fn for_accept(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Self::OpenMetrics,
            _ => Self::Classic,
        }
    }

    /// The format's `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn both_formats_are_written() {
        let registry = Registry::new();
        let counter: Counter = Counter::default();
        registry.register(|registry| registry.register("legate_x", "Things", counter.clone()));
        counter.inc();
        registry.register_text(Box::new(|_, out| out.push_str("extra 1\n")));
        let open = registry.encode(TextFormat::OpenMetrics);
        assert!(
            open.contains("# TYPE legate_x counter\nlegate_x_total 1\n"),
            "{open}"
        );
        assert!(open.ends_with("extra 1\n# EOF\n"));
        let classic = registry.encode(TextFormat::Classic);
        assert!(
            classic.contains("# TYPE legate_x_total counter\nlegate_x_total 1\n"),
            "{classic}"
        );
        assert!(
            classic.contains("\nprocess_resident_memory_bytes "),
            "{classic}"
        );
        assert!(
            classic.contains("\nprocess_cpu_seconds_total "),
            "{classic}"
        );
        assert!(classic.contains("\nprocess_open_fds "), "{classic}");
        assert!(!classic.contains("EOF"));
    }

    #[test]
    fn the_scraper_chooses() {
        let open = TextFormat::for_accept(Some("application/openmetrics-text;version=1.0.0,*/*"));
        assert_eq!(open, TextFormat::OpenMetrics);
        assert_eq!(
            TextFormat::for_accept(Some("text/plain")),
            TextFormat::Classic
        );
        assert_eq!(TextFormat::for_accept(None), TextFormat::Classic);
    }
}
