//! The API server's audit log: who asked for what, and how it was answered.

use std::io::{Read, Seek, SeekFrom};
use std::time::Duration;

use serde_json::Value;

use super::{ApiServer, eventually};
use crate::client::Error;

/// How long an answered request may take to be in the log.
const FLUSH: Duration = Duration::from_secs(10);

/// One answered request; of a watch there is one when it begins and one when it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// `ResponseStarted` (of a watch), `ResponseComplete` or `Panic`.
    pub stage: String,
    /// Who asked.
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` and so on.
    pub verb: String,
    /// API group; empty for core and for paths that are no resource.
    pub group: String,
    /// API version, e.g. `v3alpha1`.
    pub version: String,
    /// Plural name; empty for paths that are no resource.
    pub resource: String,
    /// E.g. `status`; mostly empty.
    pub subresource: String,
    /// Empty if cluster-scoped or of all namespaces.
    pub namespace: String,
    /// Empty for collections.
    pub name: String,
    /// HTTP status; 0 if none is known.
    pub code: u16,
    /// Path and query.
    pub request_uri: String,
    /// The client's name for itself.
    pub user_agent: String,
    /// When the request arrived, RFC 3339 with microseconds.
    pub received: String,
    /// When this stage was reached, RFC 3339 with microseconds.
    pub timestamp: String,
}

impl AuditEvent {
    fn parse(line: &str) -> Option<Self> {
        let event: Value = serde_json::from_str(line).ok()?;
        let text = |pointer: &str| {
            let value = event.pointer(pointer).and_then(Value::as_str);
            value.unwrap_or_default().to_owned()
        };
        let code = event
            .pointer("/responseStatus/code")
            .and_then(Value::as_u64);
        Some(Self {
            stage: text("/stage"),
            user: text("/user/username"),
            verb: text("/verb"),
            group: text("/objectRef/apiGroup"),
            version: text("/objectRef/apiVersion"),
            resource: text("/objectRef/resource"),
            subresource: text("/objectRef/subresource"),
            namespace: text("/objectRef/namespace"),
            name: text("/objectRef/name"),
            code: code.and_then(|code| u16::try_from(code).ok()).unwrap_or(0),
            request_uri: text("/requestURI"),
            user_agent: text("/userAgent"),
            received: text("/requestReceivedTimestamp"),
            timestamp: text("/stageTimestamp"),
        })
    }

    /// Whether it is a write of a `status` subresource.
    #[must_use]
    pub fn writes_status(&self) -> bool {
        self.subresource == "status" && matches!(self.verb.as_str(), "patch" | "update")
    }

    /// Whether the request was answered to its end.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.stage == "ResponseComplete"
    }
}

/// A place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditMark(u64);

impl AuditMark {
    /// The beginning.
    pub const START: Self = Self(0);
}

impl ApiServer {
    /// The end of the log now: what is answered later lies after it.
    ///
    /// # Errors
    /// The log cannot be read, or the API server does not answer.
    pub async fn audit_mark(&self) -> Result<AuditMark, Error> {
        self.flush().await?;
        Ok(AuditMark(std::fs::metadata(self.audit_path())?.len()))
    }

    /// Everything that was answered since a mark.
    ///
    /// # Errors
    /// The log cannot be read, or the API server does not answer.
    pub async fn audit(&self, since: AuditMark) -> Result<Vec<AuditEvent>, Error> {
        self.flush().await?;
        self.audit_now(since)
    }

    /// The same for one user only.
    ///
    /// # Errors
    /// The log cannot be read, or the API server does not answer.
    pub async fn audit_of(&self, user: &str, since: AuditMark) -> Result<Vec<AuditEvent>, Error> {
        let mut events = self.audit(since).await?;
        events.retain(|event| event.user == user);
        Ok(events)
    }

    /// What the log holds now, without asking the API server, which may be down.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn audit_now(&self, since: AuditMark) -> Result<Vec<AuditEvent>, Error> {
        let mut file = std::fs::File::open(self.audit_path())?;
        file.seek(SeekFrom::Start(since.0))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        Ok(text.lines().filter_map(AuditEvent::parse).collect())
    }

    /// Sends a request of its own and waits until the log has it.
    async fn flush(&self) -> Result<(), Error> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let uri = format!("/version?mark={}", NEXT.fetch_add(1, Ordering::Relaxed));
        let before = std::fs::metadata(self.audit_path()).map_or(0, |data| data.len());
        let request = http::Request::get(&uri).body(Vec::new())?;
        self.client.request_text(request).await?;
        eventually("the audit log has the mark", FLUSH, async || {
            let events = self.audit_now(AuditMark(before)).ok()?;
            let found = events.iter().any(|event| event.request_uri == uri);
            found.then_some(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log() {
        let line = r#"{"kind":"Event","level":"Metadata","stage":"ResponseComplete",
            "requestURI":"/apis/getambassador.io/v3alpha1/namespaces/a/mappings/m/status",
            "verb":"patch","user":{"username":"u"},"userAgent":"t",
            "objectRef":{"resource":"mappings","namespace":"a","name":"m",
            "apiGroup":"getambassador.io","apiVersion":"v3alpha1","subresource":"status"},
            "responseStatus":{"code":409}}"#;
        let event = AuditEvent::parse(line).unwrap();
        assert!(event.writes_status() && event.complete());
        assert_eq!((event.code, event.name.as_str()), (409, "m"));
        assert_eq!(AuditEvent::parse("{\"cut"), None);
    }
}
