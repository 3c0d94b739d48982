//! Errors of the Kubernetes client as text for people.

/// An error in words that may be logged: an answer's own words, and never a body, which could hold
/// a Secret's data.
pub(crate) fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => {
            format!("{} {}: {}", status.code, status.reason, status.message)
        }
        kube::Error::SerdeError(_) => "the answer is no object of the expected kind".to_owned(),
        kube::Error::Service(error) => chain(error.as_ref()),
        kube::Error::HyperError(error) => chain(error),
        other => chain(other),
    }
}

/// The error and what caused it: a connector's own text rarely says more than "error trying to
/// connect".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = cause.source();
    }
    text
}

/// The HTTP status of an answer that is a refusal; 0 when there was no answer.
pub(crate) fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        _ => 0,
    }
}

/// As [`describe`], for a watch.
pub(crate) fn describe_watch(error: &kube::runtime::watcher::Error) -> String {
    use kube::runtime::watcher::Error;
    match error {
        Error::InitialListFailed(error)
        | Error::WatchStartFailed(error)
        | Error::WatchFailed(error) => describe(error),
        Error::WatchError(status) => {
            format!("{} {}: {}", status.code, status.reason, status.message)
        }
        other => chain(other),
    }
}
