//! Rate-limit labels, of a Mapping or of the Module (spec/services §§2.2, 2.3).
//!
//! A group or a specifier that cannot be read is skipped; everything else counts.

use std::collections::BTreeMap;

use legate_api::LabelSpecifier;
use legate_api::mapping::{Labels as Written, MappingSpec};
use legate_config::limit::{Label, LabelGroup};

use super::Report;
use super::matching::is_header_name;
use crate::codes;

/// Key of a fixed text that has none.
const GENERIC_KEY: &str = "generic_key";

/// Names in place of a header's that stand for parts of the request line.
const PSEUDO: [&str; 4] = [":authority", ":method", ":path", ":scheme"];

/// What there is to say about a part of labels.
pub(crate) enum LabelProblem {
    /// It is skipped.
    Skipped(String),
    /// It counts, but not as written.
    Differs(String),
}

/// Reads the labels of a Mapping. `bad` is told what is wrong, with its place below `labels`; `node`
/// is the gateway's own name.
///
/// Groups of which nothing is left are left out, but not their domain: it was written.
pub(crate) fn read_labels(
    labels: &Written,
    node: &str,
    mut bad: impl FnMut(&str, LabelProblem),
) -> BTreeMap<String, Vec<LabelGroup>> {
    let mut domains = BTreeMap::new();
    for (domain, written) in labels {
        let mut groups = Vec::new();
        for (index, group) in written.iter().enumerate() {
            let place = format!("{domain}[{index}]");
            let mut entries = group.iter();
            let (Some((name, specifiers)), None) = (entries.next(), entries.next()) else {
                let message = format!("a group has one name, not {}; it is skipped", group.len());
                bad(&place, LabelProblem::Skipped(message));
                continue;
            };
            let place = format!("{place}.{name}");
            let read = read_specifiers(specifiers, node, |index, problem| {
                bad(&format!("{place}[{index}]"), problem);
            });
            if !read.is_empty() || specifiers.is_empty() {
                groups.push(read);
            }
        }
        domains.insert(domain.clone(), groups);
    }
    domains
}

/// Reads a list of specifiers. `bad` is told what is wrong, with the index.
pub(crate) fn read_specifiers(
    specifiers: &[LabelSpecifier],
    node: &str,
    mut bad: impl FnMut(usize, LabelProblem),
) -> LabelGroup {
    let mut group = LabelGroup::new();
    for (index, specifier) in specifiers.iter().enumerate() {
        match label(specifier, node) {
            Ok(label) => group.push(label),
            Err(message) => {
                let message = format!("{message}; it is skipped");
                bad(index, LabelProblem::Skipped(message));
                continue;
            }
        }
        if let LabelSpecifier::RequestHeaders {
            omit_if_not_present: Some(true),
            ..
        } = specifier
        {
            let message = "without the header the whole group is left out, not this entry alone";
            bad(index, LabelProblem::Differs(message.to_owned()));
        }
    }
    group
}

fn label(specifier: &LabelSpecifier, node: &str) -> Result<Label, String> {
    // The key that everybody knows need not be remembered.
    let written = |key: &Option<String>, known: &str| {
        let key = key.clone();
        key.filter(|key| !key.is_empty() && key != known)
    };
    match specifier {
        LabelSpecifier::SourceCluster { key } => Ok(Label::SourceCluster {
            written_key: written(key, "source_cluster"),
            value: node.to_owned(),
        }),
        LabelSpecifier::DestinationCluster { key } => Ok(Label::DestinationCluster {
            written_key: written(key, "destination_cluster"),
        }),
        LabelSpecifier::RemoteAddress { key } => Ok(Label::RemoteAddress {
            written_key: written(key, "remote_address"),
        }),
        LabelSpecifier::RequestHeaders {
            key, header_name, ..
        } => {
            let header = header_name.to_ascii_lowercase();
            if key.is_empty() {
                return Err("`key` must not be empty".to_owned());
            }
            if !PSEUDO.contains(&header.as_str()) && !is_header_name(&header) {
                return Err(format!("`{header_name}` is no name of a header"));
            }
            Ok(Label::RequestHeader {
                key: key.clone(),
                header: if header == "host" {
                    ":authority".to_owned()
                } else {
                    header
                },
            })
        }
        LabelSpecifier::GenericKey { key, value } => {
            if value.is_empty() {
                return Err("`value` must not be empty".to_owned());
            }
            Ok(Label::Generic {
                key: written(key, GENERIC_KEY).unwrap_or_else(|| GENERIC_KEY.to_owned()),
                value: value.clone(),
            })
        }
        LabelSpecifier::Other(value) => Err(unreadable(value)),
    }
}

/// What is wrong with a specifier of an unknown form.
fn unreadable(value: &serde_json::Value) -> String {
    const KINDS: &str = "`source_cluster`, `destination_cluster`, `remote_address`, \
                         `request_headers` or `generic_key`";
    let Some(object) = value.as_object() else {
        return format!("a specifier is an object with one of {KINDS}");
    };
    match (object.len(), object.keys().next()) {
        (1, Some(name)) if KINDS.contains(&format!("`{name}`")) => {
            format!("`{name}` has fields that are missing, unknown or of the wrong kind")
        }
        (1, Some(name)) => format!("`{name}` is none of {KINDS}"),
        (count, _) => format!("a specifier has one of {KINDS}, not {count} keys"),
    }
}

/// Says what is wrong with a Mapping's labels.
pub(super) fn report(spec: &MappingSpec, report: &mut Report) {
    let Some(labels) = &spec.labels else {
        return;
    };
    let _ = read_labels(labels, "", |place, problem| {
        let path = format!("spec.labels.{place}");
        match problem {
            LabelProblem::Skipped(message) => report.ignored(codes::E_RL_LABEL, &path, message),
            LabelProblem::Differs(message) => report.notice(codes::I_RL_OMIT, &path, message),
        }
    });
}
