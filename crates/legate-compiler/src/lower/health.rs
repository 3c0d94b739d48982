//! `health_checks` (spec/services §3.3). A bad entry is skipped and the others stay; a Mapping none of
//! whose entries can be used serves without checks.

use std::time::Duration;

use legate_api::mapping::{GrpcHealthCheck, HealthCheck as Written, HttpHealthCheck, MappingSpec};
use legate_config::health::{GrpcProbe, HealthCheck, HttpProbe, Probe, ProbeHeader, StatusRange};

use super::changes::{header_adds, header_removes, is_path_text};
use super::retry::parse_duration;
use super::{HeaderInput, Report};
use crate::codes;

const FIELD: &str = "spec.health_checks";
const TIMEOUT: Duration = Duration::from_secs(3);
const INTERVAL: Duration = Duration::from_secs(5);
/// More often would be load and no check.
const MIN_INTERVAL: Duration = Duration::from_millis(10);
const UNHEALTHY_THRESHOLD: u32 = 2;
const HEALTHY_THRESHOLD: u32 = 1;
const OK: StatusRange = StatusRange { min: 200, max: 200 };

/// Why an entry cannot be used: the field below it, and in words.
type Bad = (&'static str, String);

/// Reads the list. Hosts that are not written are empty: what stands there is known with the
/// cluster's name.
pub(super) fn health_checks(spec: &MappingSpec, report: &mut Report) -> Vec<HealthCheck> {
    let Some(list) = &spec.health_checks else {
        return Vec::new();
    };
    let mut checks = Vec::new();
    for (index, written) in list.iter().enumerate() {
        let path = format!("{FIELD}[{index}]");
        match entry(written, &path, report) {
            Ok(check) => checks.push(check),
            Err((field, message)) => {
                let path = format!("{path}{field}");
                report.ignored(
                    codes::E_POLICY_HEALTH,
                    &path,
                    format!("{message}; this check is skipped"),
                );
            }
        }
    }
    if checks.is_empty() && !list.is_empty() {
        report.ignored(
            codes::E_POLICY_HEALTH,
            FIELD,
            "no check can be used, so the endpoints are not checked",
        );
    }
    checks
}

fn entry(written: &Written, path: &str, report: &mut Report) -> Result<HealthCheck, Bad> {
    let timeout = duration(written.timeout.as_deref(), TIMEOUT, ".timeout")?;
    let interval = duration(written.interval.as_deref(), INTERVAL, ".interval")?;
    if interval < MIN_INTERVAL {
        return Err((".interval", "an interval is at least 10ms".to_owned()));
    }
    let unhealthy_threshold = threshold(
        written.unhealthy_threshold,
        UNHEALTHY_THRESHOLD,
        ".unhealthy_threshold",
    )?;
    let healthy_threshold = threshold(
        written.healthy_threshold,
        HEALTHY_THRESHOLD,
        ".healthy_threshold",
    )?;
    let asked = &written.health_check;
    let probe = match (&asked.http, &asked.grpc) {
        (Some(http), None) => Probe::Http(http_probe(http, path, report)?),
        (None, Some(grpc)) => Probe::Grpc(grpc_probe(grpc)?),
        _ => {
            return Err((
                ".health_check",
                "a check needs exactly one of `http` and `grpc`".to_owned(),
            ));
        }
    };
    Ok(HealthCheck {
        probe,
        timeout_ms: millis(timeout),
        interval_ms: millis(interval),
        unhealthy_threshold,
        healthy_threshold,
    })
}

fn http_probe(
    written: &HttpHealthCheck,
    path: &str,
    report: &mut Report,
) -> Result<HttpProbe, Bad> {
    if !written.path.starts_with('/') || !is_path_text(&written.path) || written.path.contains('#')
    {
        return Err((
            ".health_check.http.path",
            format!("`{}` is no path", written.path),
        ));
    }
    let host = host(written.hostname.as_deref(), ".health_check.http.hostname")?;
    let path = format!("{path}.health_check.http");
    let adds = written.add_request_headers.as_ref().map(|map| {
        header_adds(map, |name, message| {
            let path = format!("{path}.add_request_headers.{name}");
            report.ignored(codes::E_MAP_HEADER, &path, message);
        })
    });
    let add_headers = adds.map_or_else(Vec::new, |adds| probe_headers(adds, &path, report));
    let removes = written.remove_request_headers.as_ref().map(|list| {
        header_removes(list, |index, message| {
            let path = format!("{path}.remove_request_headers[{index}]");
            report.ignored(codes::E_MAP_HEADER, &path, message);
        })
    });
    Ok(HttpProbe {
        host,
        path: written.path.clone(),
        add_headers,
        remove_headers: removes.unwrap_or_default(),
        expected: expected(written, &path, report)?,
    })
}

/// Values as they are sent: a probe is no client's request of which an operator could speak.
fn probe_headers(adds: HeaderInput, path: &str, report: &mut Report) -> Vec<ProbeHeader> {
    let mut headers = Vec::new();
    for add in adds.into_values() {
        match add.value.as_literal() {
            Some(value) => headers.push(ProbeHeader {
                name: add.name,
                value: value.to_owned(),
                append: add.append,
            }),
            None => report.ignored(
                codes::E_MAP_HEADER,
                &format!("{path}.add_request_headers.{}", add.name),
                "a probe is no client's request, so that its headers hold no operators",
            ),
        }
    }
    headers
}

fn expected(
    written: &HttpHealthCheck,
    path: &str,
    report: &mut Report,
) -> Result<Vec<StatusRange>, Bad> {
    let Some(list) = written
        .expected_statuses
        .as_ref()
        .filter(|list| !list.is_empty())
    else {
        return Ok(vec![OK]);
    };
    let mut ranges = Vec::new();
    for (index, range) in list.iter().enumerate() {
        let read = |value: i64| {
            u16::try_from(value)
                .ok()
                .filter(|it| (100..600).contains(it))
        };
        let message = match (read(range.min), read(range.max)) {
            (Some(min), Some(max)) if min <= max => {
                ranges.push(StatusRange { min, max });
                continue;
            }
            (Some(min), Some(max)) => format!("{min} is more than {max}"),
            _ => "a status is from 100 to 599".to_owned(),
        };
        report.ignored(
            codes::E_POLICY_HEALTH,
            &format!("{path}.expected_statuses[{index}]"),
            format!("{message}; this range is skipped"),
        );
    }
    if ranges.is_empty() {
        return Err((
            ".health_check.http.expected_statuses",
            "no range is left".to_owned(),
        ));
    }
    Ok(ranges)
}

fn grpc_probe(written: &GrpcHealthCheck) -> Result<GrpcProbe, Bad> {
    Ok(GrpcProbe {
        service: written.upstream_name.clone(),
        authority: host(written.authority.as_deref(), ".health_check.grpc.authority")?,
    })
}

fn host(written: Option<&str>, field: &'static str) -> Result<String, Bad> {
    let host = written.unwrap_or_default();
    if host.is_empty() || is_host(host) {
        return Ok(host.to_owned());
    }
    Err((field, format!("`{host}` is no host")))
}

/// Whether a text can be sent as the host of a request.
pub(crate) fn is_host(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+,;=".contains(&byte);
    !text.is_empty() && text.bytes().all(legal)
}

fn duration(
    written: Option<&str>,
    default: Duration,
    field: &'static str,
) -> Result<Duration, Bad> {
    let Some(text) = written else {
        return Ok(default);
    };
    parse_duration(text)
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| {
            let message = format!("`{text}` is no duration such as `3s` or `500ms`");
            (field, message)
        })
}

fn threshold(written: Option<i64>, default: u32, field: &'static str) -> Result<u32, Bad> {
    let Some(value) = written else {
        return Ok(default);
    };
    u32::try_from(value)
        .ok()
        .filter(|value| *value > 0)
        .ok_or_else(|| (field, format!("a threshold is from 1 to {}", u32::MAX)))
}

/// At least one: less than a millisecond is not none.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis())
        .unwrap_or(u64::MAX)
        .max(1)
}
