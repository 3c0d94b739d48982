//! What a Mapping says about its upstream's protection: circuit breakers and priority (spec/services
//! §3.1).

use legate_api::mapping::MappingSpec;
use legate_api::{CircuitBreaker, Priority as WrittenPriority};
use legate_config::cluster::{Breakers, Limits};
use legate_config::policy::Priority;

use super::Report;
use crate::codes;

/// What is wrong with a list of circuit breakers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadBreaker {
    /// Position in the list.
    pub(crate) index: usize,
    /// The field; empty = the entry as a whole.
    pub(crate) field: &'static str,
    /// In words.
    pub(crate) message: String,
    /// Whether the entry is left out, instead of spoiling the list.
    pub(crate) skipped: bool,
}

/// Reads `circuit_breakers`. A bad one rejects the object: a limit protects its upstream.
pub(crate) fn read_breakers(
    list: Option<&[CircuitBreaker]>,
    report: &mut Report,
) -> Option<Breakers> {
    let (breakers, faults) = parse_breakers(list?);
    for fault in faults {
        let mut path = format!("spec.circuit_breakers[{}]", fault.index);
        if !fault.field.is_empty() {
            path.push('.');
            path.push_str(fault.field);
        }
        if fault.skipped {
            report.ignored(codes::W_IGNORED, &path, fault.message);
        } else {
            report.fatal(codes::E_POLICY_BREAKER, &path, fault.message);
        }
    }
    Some(breakers)
}

/// The limits of a list, and what is wrong with it. Of two entries for one priority the first
/// counts.
pub(crate) fn parse_breakers(list: &[CircuitBreaker]) -> (Breakers, Vec<BadBreaker>) {
    let mut breakers = Breakers::default();
    let mut faults = Vec::new();
    let (mut default_seen, mut high_seen) = (false, false);
    for (index, entry) in list.iter().enumerate() {
        let (seen, limits) = match entry.priority.unwrap_or_default() {
            WrittenPriority::Default => (&mut default_seen, &mut breakers.default),
            WrittenPriority::High => (&mut high_seen, &mut breakers.high),
        };
        if std::mem::replace(seen, true) {
            faults.push(BadBreaker {
                index,
                field: "",
                message: "an earlier entry has this priority, and counts".to_owned(),
                skipped: true,
            });
            continue;
        }
        let mut read = |field, value: Option<i64>, default: u32| match value.map(u32::try_from) {
            None => default,
            Some(Ok(value)) => value,
            Some(Err(_)) => {
                faults.push(BadBreaker {
                    index,
                    field,
                    message: format!("a limit is from 0 to {}", u32::MAX),
                    skipped: false,
                });
                default
            }
        };
        let default = Limits::default();
        *limits = Limits {
            max_connections: read(
                "max_connections",
                entry.max_connections,
                default.max_connections,
            ),
            max_pending_requests: read(
                "max_pending_requests",
                entry.max_pending_requests,
                default.max_pending_requests,
            ),
            max_requests: read("max_requests", entry.max_requests, default.max_requests),
            max_retries: read("max_retries", entry.max_retries, default.max_retries),
        };
    }
    (breakers, faults)
}

/// Reads `priority`.
pub(super) fn priority(spec: &MappingSpec, report: &mut Report) -> Option<Priority> {
    match spec.priority.as_deref()? {
        "default" => Some(Priority::Default),
        "high" => Some(Priority::High),
        other => {
            report.fatal(
                codes::E_POLICY_BREAKER,
                "spec.priority",
                format!("`{other}` is neither `default` nor `high`"),
            );
            None
        }
    }
}
