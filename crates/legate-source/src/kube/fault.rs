//! What went wrong between us and the API server, in words that can be shown.

use std::error::Error as StdError;
use std::io;

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
    let io = cause.downcast_ref::<io::Error>();
    if io.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) {
        return "no connection in time".to_owned();
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_cause_is_told() {
        let service = |error: io::Error| ::kube::Error::Service(Box::new(error));
        let told = |error| Fault::of("list", &service(error)).message;
        assert_eq!(told(io::Error::other("refused")), "refused");
        let late = io::Error::new(io::ErrorKind::TimedOut, "deadline has elapsed");
        assert_eq!(told(late), "no connection in time");
    }

    #[test]
    fn what_cannot_be_read_is_not_quoted() {
        let error = serde_json::from_str::<u8>("\"planted\"").unwrap_err();
        let fault = Fault::of("get", &::kube::Error::SerdeError(error));
        assert!(fault.unreadable);
        assert!(!fault.message.contains("planted"), "{}", fault.message);
    }
}
