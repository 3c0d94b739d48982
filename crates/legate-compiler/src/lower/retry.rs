//! `retry_policy` (spec/services §3.4).

use std::time::Duration;

use legate_api::mapping::{MappingSpec, RetryPolicy};
use legate_config::policy::{Retry, RetryOn};

use super::Report;
use crate::codes;

/// What is wrong with a retry policy.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadRetry {
    /// A field that cannot be meant.
    Field(&'static str, String),
    /// It is in order and never comes to anything.
    Never(&'static str, String),
}

/// Reads the policy; a bad one rejects the Mapping.
pub(super) fn retry(spec: &MappingSpec, report: &mut Report) -> Option<Option<Retry>> {
    match parse_retry(spec.retry_policy.as_ref()?) {
        Ok(retry) => Some(Some(retry)),
        Err(BadRetry::Never(field, message)) => {
            let path = format!("spec.retry_policy.{field}");
            report.ignored(codes::W_IGNORED, &path, message);
            Some(None)
        }
        Err(BadRetry::Field(field, message)) => {
            let path = format!("spec.retry_policy.{field}");
            report.fatal(codes::E_POLICY_RETRY, &path, message);
            None
        }
    }
}

/// Reads a policy.
pub(crate) fn parse_retry(written: &RetryPolicy) -> Result<Retry, BadRetry> {
    let bad = |field, message: String| Err(BadRetry::Field(field, message));
    let on = match written.retry_on.as_deref() {
        Some("5xx") => Some(RetryOn::ServerError),
        Some("gateway-error") => Some(RetryOn::GatewayError),
        Some("connect-failure") => Some(RetryOn::ConnectFailure),
        Some("retriable-4xx") => Some(RetryOn::Conflict),
        Some("refused-stream") => Some(RetryOn::RefusedStream),
        Some("retriable-status-codes") => None,
        Some(other) => return bad("retry_on", format!("`{other}` is no condition for a retry")),
        None => return bad("retry_on", "a retry policy needs a condition".to_owned()),
    };
    let Ok(num_retries) = u32::try_from(written.num_retries.unwrap_or(1)) else {
        return bad(
            "num_retries",
            format!("a number of retries is from 0 to {}", u32::MAX),
        );
    };
    let per_try = match written.per_try_timeout.as_deref().map(parse_duration) {
        None => Duration::ZERO,
        Some(Some(duration)) => duration,
        Some(None) => {
            return bad(
                "per_try_timeout",
                "this is no duration such as `250ms` or `0.25s`".to_owned(),
            );
        }
    };
    // Less than a millisecond is not no limit.
    let per_try_timeout_ms = match u64::try_from(per_try.as_millis()).unwrap_or(u64::MAX) {
        0 if !per_try.is_zero() => 1,
        ms => ms,
    };
    match on {
        Some(on) => Ok(Retry {
            on,
            num_retries,
            per_try_timeout_ms,
        }),
        None => Err(BadRetry::Never(
            "retry_on",
            "no status codes can be given, so that nothing is retried".to_owned(),
        )),
    }
}

/// A duration: numbers with units, as `0.25s`, `250ms` or `1m30s`.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut seconds = 0.0_f64;
    let mut some = false;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at_checked(digits)?;
        let end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(end)?;
        let unit = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * unit;
        rest = after;
        some = true;
    }
    some.then(|| Duration::try_from_secs_f64(seconds).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_emissary_and_of_go() {
        for (text, ms) in [
            ("0.25s", Some(250)),
            ("250ms", Some(250)),
            ("1m30s", Some(90_000)),
            ("1h", Some(3_600_000)),
            ("0s", Some(0)),
            ("", None),
            ("5", None),
            ("s", None),
            ("-1s", None),
            ("1.2.3s", None),
            ("1x", None),
        ] {
            let duration = parse_duration(text).map(|it| it.as_millis());
            assert_eq!(duration, ms, "{text}");
        }
    }
}
