//! Which version an object was written as (operator.md §2): the API server does not say, but v2 and
//! v3alpha1 differ in meaning.
//!
//! In this order: the mark of a back-conversion, fields that only one version has, and who owns the
//! spec by `managedFields`. What the values look like does not count: the CRDs accept the shapes of
//! both versions in either.

use legate_api::{Kind, WrittenAs};
use serde_json::{Map, Value};

/// What a back-conversion of v3alpha1 to v2 puts before every id.
const ONLY_V3ALPHA1: &str = "--apiVersion-v3alpha1-only--";

/// Stands for any name in a path.
const ANY: &str = "*";

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) version: WrittenAs,
    /// Whether the owners of the spec disagree, so that the version is a guess.
    pub(super) doubtful: bool,
}

/// A field that only one version has.
struct Telltale {
    kind: Kind,
    path: &'static [&'static str],
    version: WrittenAs,
}

const fn v2(kind: Kind, path: &'static [&'static str]) -> Telltale {
    let version = WrittenAs::V2;
    Telltale {
        kind,
        path,
        version,
    }
}

const fn v3(kind: Kind, path: &'static [&'static str]) -> Telltale {
    let version = WrittenAs::V3Alpha1;
    Telltale {
        kind,
        path,
        version,
    }
}

/// spec/routing §1.8: fields that were renamed, and those that a conversion leaves behind.
static TELLTALES: &[Telltale] = &[
    v2(Kind::Host, &["ambassadorId"]),
    v2(Kind::Host, &["tls", "v3CRLSecret"]),
    v2(Kind::Mapping, &["v3StatsName"]),
    v2(Kind::Mapping, &["v3health_checks"]),
    v2(Kind::TcpMapping, &["v3StatsName"]),
    v2(Kind::TlsContext, &["v3CRLSecret"]),
    v2(Kind::AuthService, &["v3StatsName"]),
    v2(Kind::AuthService, &["v3CircuitBreakers"]),
    v2(Kind::RateLimitService, &["v3StatsName"]),
    v2(Kind::LogService, &["v3StatsName"]),
    v2(Kind::TracingService, &["v3StatsName"]),
    v2(Kind::TracingService, &["v3CustomTags"]),
    v2(Kind::TracingService, &["config", "v3PropagationModes"]),
    v3(Kind::Host, &["mappingSelector"]),
    v3(Kind::Host, &["tls", "crl_secret"]),
    v3(Kind::Mapping, &["hostname"]),
    v3(Kind::Mapping, &["stats_name"]),
    v3(Kind::Mapping, &["health_checks"]),
    v3(Kind::Mapping, &["v2ExplicitTLS"]),
    v3(Kind::Mapping, &["v2BoolHeaders"]),
    v3(Kind::Mapping, &["v2BoolQueryParameters"]),
    v3(Kind::Mapping, &["cors", "v2CommaSeparatedOrigins"]),
    v3(
        Kind::Mapping,
        &["add_request_headers", ANY, "v2Representation"],
    ),
    v3(
        Kind::Mapping,
        &["add_response_headers", ANY, "v2Representation"],
    ),
    v3(Kind::TcpMapping, &["stats_name"]),
    v3(Kind::TcpMapping, &["v2ExplicitTLS"]),
    v3(Kind::TlsContext, &["crl_secret"]),
    v3(Kind::AuthService, &["stats_name"]),
    v3(Kind::AuthService, &["circuit_breakers"]),
    v3(Kind::AuthService, &["v2ExplicitTLS"]),
    v3(Kind::RateLimitService, &["stats_name"]),
    v3(Kind::RateLimitService, &["v2ExplicitTLS"]),
    v3(Kind::LogService, &["stats_name"]),
    v3(Kind::TracingService, &["stats_name"]),
    v3(Kind::TracingService, &["custom_tags"]),
    v3(Kind::TracingService, &["config", "propagation_modes"]),
];

/// The version of an object of the group, from its `spec` and `metadata.managedFields`.
pub(super) fn written_as(kind: Kind, spec: &Value, managed_fields: &Value) -> Verdict {
    let certain = |version| Verdict {
        version,
        doubtful: false,
    };
    if matches!(kind, Kind::Listener | Kind::RateLimitPolicy) || has_mark(spec) {
        return certain(WrittenAs::V3Alpha1);
    }
    if let Some(version) = telling_fields(kind, spec) {
        return certain(version);
    }
    match owners(managed_fields) {
        Ok(version) => certain(version.unwrap_or(WrittenAs::V3Alpha1)),
        Err(Disagree) => Verdict {
            version: WrittenAs::V3Alpha1,
            doubtful: true,
        },
    }
}

/// Whether an id carries the mark of a back-conversion.
fn has_mark(spec: &Value) -> bool {
    let marked = |id: &Value| id.as_str().is_some_and(|id| id.starts_with(ONLY_V3ALPHA1));
    ["ambassador_id", "ambassadorId"]
        .into_iter()
        .filter_map(|name| spec.get(name))
        .any(|ids| match ids {
            Value::Array(ids) => ids.iter().any(marked),
            id => marked(id),
        })
}

/// The version that has the fields; none if there is no telling field, or some of each.
fn telling_fields(kind: Kind, spec: &Value) -> Option<WrittenAs> {
    let mut version = None;
    for telltale in TELLTALES.iter().filter(|telltale| telltale.kind == kind) {
        if !has(spec, telltale.path) {
            continue;
        }
        match version {
            Some(other) if other != telltale.version => return None,
            _ => version = Some(telltale.version),
        }
    }
    version
}

fn has(value: &Value, path: &[&str]) -> bool {
    let Some((name, rest)) = path.split_first() else {
        return !value.is_null();
    };
    let Value::Object(fields) = value else {
        return false;
    };
    if *name == ANY {
        return fields.values().any(|field| has(field, rest));
    }
    fields.get(*name).is_some_and(|field| has(field, rest))
}

/// Owners of one field wrote it in different versions.
struct Disagree;

/// An entry of `managedFields` that owns something in the spec.
struct Owner<'a> {
    version: WrittenAs,
    /// RFC 3339, always in UTC and of one length, so that texts compare like times.
    time: &'a str,
    spec: &'a Map<String, Value>,
}

/// The version by the owner of the spec itself, else by the oldest owner of the prefix, else by all
/// owners together. None if nobody is known to own anything.
fn owners(managed_fields: &Value) -> Result<Option<WrittenAs>, Disagree> {
    let entries = managed_fields.as_array().map_or(&[][..], Vec::as_slice);
    let owners: Vec<Owner<'_>> = entries.iter().filter_map(owner).collect();
    let whole = owners.iter().filter(|owner| owner.spec.contains_key("."));
    if let Some(version) = agreed(whole)? {
        return Ok(Some(version));
    }
    let of_prefix = || owners.iter().filter(|o| o.spec.contains_key("f:prefix"));
    if let Some(oldest) = of_prefix().map(|owner| owner.time).min() {
        return agreed(of_prefix().filter(|owner| owner.time == oldest));
    }
    agreed(owners.iter())
}

fn agreed<'a>(
    mut owners: impl Iterator<Item = &'a Owner<'a>>,
) -> Result<Option<WrittenAs>, Disagree> {
    let Some(first) = owners.next() else {
        return Ok(None);
    };
    if owners.any(|owner| owner.version != first.version) {
        return Err(Disagree);
    }
    Ok(Some(first.version))
}

fn owner(entry: &Value) -> Option<Owner<'_>> {
    let version = match entry.get("apiVersion")?.as_str()? {
        "getambassador.io/v1" => WrittenAs::V1,
        "getambassador.io/v2" => WrittenAs::V2,
        "getambassador.io/v3alpha1" => WrittenAs::V3Alpha1,
        _ => return None,
    };
    Some(Owner {
        version,
        time: entry.get("time").and_then(Value::as_str).unwrap_or(""),
        spec: entry.get("fieldsV1")?.get("f:spec")?.as_object()?,
    })
}

#[cfg(test)]
mod tests;
