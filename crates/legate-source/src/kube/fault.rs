//! What went wrong between us and the API server, in words that can be shown.

use std::error::Error as StdError;

use ::kube::runtime::watcher;

/// A failed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// `list`, `watch` or `get`.
    pub(super) verb: &'static str,
    /// The status of the answer, if there was one.
    pub(super) status: Option<u16>,
    /// What the API server or the network said. Never the content of an object.
    pub(super) message: String,
    /// Whether an answer came that could not be read.
    pub(super) unreadable: bool,
}

impl Fault {
    pub(super) fn of(verb: &'static str, error: &::kube::Error) -> Self {
        let mut fault = Fault {
            verb,
            status: None,
            message: String::new(),
            unreadable: false,
        };
        match error {
            ::kube::Error::Api(status) => return Self::status(verb, status),
            // The text could quote a value.
            ::kube::Error::SerdeError(error) => {
                fault.unreadable = true;
                fault.message = format!(
                    "the answer cannot be read (line {}, column {})",
                    error.line(),
                    error.column()
                );
            }
            error => fault.message = root_cause(error),
        }
        fault
    }

    pub(super) fn of_watcher(error: &watcher::Error) -> Self {
        match error {
            watcher::Error::InitialListFailed(error) => Self::of("list", error),
            watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => {
                Self::of("watch", error)
            }
            watcher::Error::WatchError(status) => Self::status("watch", status),
            watcher::Error::NoResourceVersion => Fault {
                verb: "list",
                status: None,
                message: "the answer has no resourceVersion".to_owned(),
                unreadable: true,
            },
        }
    }

    fn status(verb: &'static str, status: &::kube::core::Status) -> Self {
        let said = [&status.message, &status.reason]
            .into_iter()
            .find(|text| !text.trim().is_empty());
        Fault {
            verb,
            status: Some(status.code),
            message: said.map_or_else(
                || format!("the API server answered {}", status.code),
                |text| format!("{} ({})", text.trim(), status.code),
            ),
            unreadable: false,
        }
    }

    pub(super) fn is_forbidden(&self) -> bool {
        self.status == Some(403)
    }

    /// Whether a resourceVersion or continue token was too old: time to list again.
    pub(super) fn is_expired(&self) -> bool {
        self.status == Some(410)
    }

    pub(super) fn is_not_found(&self) -> bool {
        self.status == Some(404)
    }
}

/// The innermost error: the outer ones only say that a request failed.
fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if cause.is::<tokio::time::error::Elapsed>() {
        return "no connection in time".to_owned();
    }
    cause.to_string()
}
