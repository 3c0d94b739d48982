//! The access log: one line per request, batched off the request path (spec/services §4.4).
//!
//! - [`AccessLogs`] is the process's: one writer thread per path, shared by listeners
//! - [`AccessLog`] is a listener's: its compiled `format`; knows which headers to copy while they
//!   are there, and appends a line to the worker's own buffer of the `writer`
//!
//! The worker formats straight into a buffer that only the writer thread ever contends for. A file
//! that takes too long costs lines, which are counted, never latency.

mod escape;
mod format;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use http::HeaderMap;
use legate_config::http::AccessLog as Config;
use parking_lot::Mutex;

use crate::metrics::Metrics;
use crate::request::captured::Captured;
use crate::request::facts::{Facts, Headers};
use crate::request::template::Values;
use format::Format;
use writer::{Shared, Writer};

/// The access logs of a process.
#[derive(Debug)]
pub(crate) struct AccessLogs {
    metrics: Arc<Metrics>,
    workers: usize,
    writers: Mutex<Vec<Opened>>,
}

/// A file that is, or was, being written.
#[derive(Debug)]
struct Opened {
    path: String,
    writer: Weak<Writer>,
    /// Lives on until the thread has written everything.
    shared: Weak<Shared>,
}

impl AccessLogs {
    /// Logs for a process with so many workers. Opens nothing yet.
    pub(crate) fn new(metrics: Arc<Metrics>, workers: usize) -> Arc<Self> {
        Arc::new(Self {
            metrics,
            workers,
            writers: Mutex::default(),
        })
    }

    /// The log of a listener. A file that cannot be opened is reported once and its lines count as
    /// dropped; a later call tries again.
    pub(crate) fn open(&self, config: &Config) -> AccessLog {
        if config.path == "/dev/null" {
            return AccessLog::off();
        }
        AccessLog(Some(Arc::new(On {
            format: Format::build(&config.format),
            writer: self.writer(&config.path),
        })))
    }

    /// Waits until everything logged so far is written, or this time is over.
    pub(crate) fn flush(&self, patience: Duration) {
        let files: Vec<_> = self
            .writers
            .lock()
            .iter()
            .filter_map(|opened| opened.shared.upgrade())
            .collect();
        let deadline = Instant::now() + patience;
        for file in files {
            file.flush(deadline);
        }
    }

    fn writer(&self, path: &str) -> Arc<Writer> {
        // Names of one thing share one writer, or its lines would interleave.
        let path = match path {
            "/dev/stdout" | "/proc/self/fd/1" => "/dev/fd/1",
            path => path,
        };
        let mut writers = self.writers.lock();
        writers.retain(|opened| opened.shared.strong_count() > 0);
        let known = writers
            .iter()
            .filter(|opened| opened.path == path)
            .find_map(|opened| opened.writer.upgrade());
        known.unwrap_or_else(|| {
            let writer = Writer::open(path, self.workers, Arc::clone(&self.metrics));
            writers.push(Opened {
                path: path.to_owned(),
                writer: Arc::downgrade(&writer),
                shared: writer.shared(),
            });
            writer
        })
    }
}

/// The access log of a listener. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct AccessLog(Option<Arc<On>>);

#[derive(Debug)]
struct On {
    format: Format,
    writer: Arc<Writer>,
}

/// Copies of the headers that a log line will name.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogHeaders {
    request: Captured,
    response: Captured,
    trailers: Captured,
}

impl LogHeaders {
    /// Forgets the copies, and keeps their room.
    pub(crate) fn clear(&mut self) {
        self.request.clear();
        self.response.clear();
        self.trailers.clear();
    }

    /// Bytes that values have room in.
    pub(crate) fn capacity(&self) -> usize {
        self.request.capacity() + self.response.capacity() + self.trailers.capacity()
    }
}

impl AccessLog {
    /// A log that is switched off.
    pub(crate) const fn off() -> Self {
        Self(None)
    }

    /// Whether lines tell the status of gRPC responses.
    pub(crate) fn tells_grpc_status(&self) -> bool {
        self.0.as_ref().is_some_and(|on| on.format.grpc_status)
    }

    /// Whether anything is logged. Nothing needs to be gathered when not.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Copies what the line needs of a request's headers: as they are at the end of the edits, or
    /// when a local reply is made.
    pub(crate) fn capture_request(&self, headers: &HeaderMap, into: &mut LogHeaders) {
        if let Some(on) = &self.0 {
            on.format
                .captures
                .request
                .capture_into(headers, &mut into.request);
        }
    }

    /// Copies what the line needs of the headers of the response as it is sent.
    pub(crate) fn capture_response(&self, headers: &HeaderMap, into: &mut LogHeaders) {
        if let Some(on) = &self.0 {
            let names = &on.format.captures.response;
            names.capture_into(headers, &mut into.response);
        }
    }

    /// Copies what the line needs of the response's trailers.
    pub(crate) fn capture_trailers(&self, headers: &HeaderMap, into: &mut LogHeaders) {
        if let Some(on) = &self.0 {
            let names = &on.format.captures.trailers;
            names.capture_into(headers, &mut into.trailers);
        }
    }

    /// Logs one request.
    pub(crate) fn record(&self, facts: &Facts<'_>, headers: &LogHeaders) {
        let Some(on) = &self.0 else {
            return;
        };
        let values = Values {
            facts,
            request: Headers::Captured(&headers.request),
            response: Headers::Captured(&headers.response),
            trailers: Headers::Captured(&headers.trailers),
        };
        on.writer.append(|out| on.format.line(out, &values));
    }
}
