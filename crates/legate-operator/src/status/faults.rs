//! What the API server's refusals mean for a status write (operator.md §3). Pure.

use std::time::Duration;

/// Why a write did not come through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// The object is not as it was when we looked.
    Conflict,
    /// There is no such object.
    Gone,
    /// The kind has no status subresource, or is not there.
    NoSubresource,
    /// The CRD does not declare what we write: it is not ours.
    Undeclared,
    /// The object's `managedFields` speak of a version that the CRD does not list any more.
    Unconvertible,
    /// We may not.
    Forbidden(String),
    /// The server does not take what we say; it will not next time either.
    Refused(String),
    /// The server has enough to do; come back after this.
    Busy(Option<Duration>),
    /// The server failed at this object.
    Server(String),
    /// The server did not answer, or does not know us.
    Unreachable(String),
}

impl Fault {
    /// Sorts an error of the client.
    pub(super) fn of(error: &kube::Error) -> Self {
        let kube::Error::Api(answer) = error else {
            return Fault::Unreachable(error.to_string());
        };
        let message = answer.message.clone();
        match answer.code {
            409 => Fault::Conflict,
            404 if is_about_an_object(&message) => Fault::Gone,
            404 | 405 => Fault::NoSubresource,
            403 => Fault::Forbidden(message),
            401 => Fault::Unreachable(message),
            429 | 503 | 504 => Fault::Busy(
                answer
                    .details
                    .as_ref()
                    .map(|details| u64::from(details.retry_after_seconds))
                    .filter(|seconds| *seconds > 0)
                    .map(Duration::from_secs),
            ),
            _ if message.contains("field not declared in schema") => Fault::Undeclared,
            500.. if is_about_versions(&message) => Fault::Unconvertible,
            500.. => Fault::Server(message),
            _ => Fault::Refused(message),
        }
    }
}

/// `mappings.getambassador.io "x" not found`, against `the server could not find the requested
/// resource`.
fn is_about_an_object(message: &str) -> bool {
    message.contains('"') && message.contains("not found")
}

/// The version of an entry of `managedFields` that nothing can be converted to.
fn is_about_versions(message: &str) -> bool {
    message.contains("invalid group/version") || message.contains("managed fields")
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn api(code: u16, message: &str) -> Fault {
        let status = Status::failure(message, "").with_code(code);
        Fault::of(&kube::Error::Api(status.boxed()))
    }

    #[test]
    fn answers_are_told_apart() {
        let gone = r#"mappings.getambassador.io "x" not found"#;
        let no_status = "the server could not find the requested resource";
        let undeclared = "failed to create typed patch object (a/b; getambassador.io/v3alpha1, \
                          Kind=Mapping): .status.conditions: field not declared in schema";
        let versions = "failed to update managed fields: failed to convert old object: request to \
                        convert CR to an invalid group/version: getambassador.io/v1";
        let conflict = "Operation cannot be fulfilled: the object has been modified";
        for (code, message, expected) in [
            (404, gone, Fault::Gone),
            (404, no_status, Fault::NoSubresource),
            (500, undeclared, Fault::Undeclared),
            (500, versions, Fault::Unconvertible),
            (409, conflict, Fault::Conflict),
            (500, "etcd", Fault::Server("etcd".to_owned())),
            (422, "bad", Fault::Refused("bad".to_owned())),
            (403, "no", Fault::Forbidden("no".to_owned())),
            (429, "storage is (re)initializing", Fault::Busy(None)),
            (401, "expired", Fault::Unreachable("expired".to_owned())),
        ] {
            assert_eq!(api(code, message), expected, "{code} {message}");
        }
    }
}
