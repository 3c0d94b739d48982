//! `default_label_domain` and `default_labels` (spec/services §2.3).

use std::collections::BTreeMap;

use legate_api::LabelSpecifier;
use serde_json::Value;

use super::ModuleSettings;
use super::read::{Report, Section};
use crate::codes;
use crate::lower::{LabelProblem, read_specifiers};

/// Reads both keys. What cannot be read costs only itself.
pub(super) fn labels(config: Section<'_>, settings: &mut ModuleSettings, report: &mut Report<'_>) {
    if let Some(domain) = config.text("default_label_domain", report) {
        domain.clone_into(&mut settings.label_domain);
    }
    let Some(map) = config.object("default_labels", report) else {
        return;
    };
    let path = config.path_of("default_labels");
    let section = Section { map, path: &path };
    let mut all = BTreeMap::new();
    for domain in map.keys() {
        let Some(object) = section.object(domain, report) else {
            continue;
        };
        let path = section.path_of(domain);
        let section = Section {
            map: object,
            path: &path,
        };
        for name in object.keys().filter(|name| *name != "defaults") {
            report.unknown(&section.path_of(name), name, ["defaults"]);
        }
        let list = match section.get("defaults") {
            Some(Value::Array(list)) => list,
            Some(_) => {
                let message = "it must be a list of label specifiers; it is left out";
                report.bad(&section.path_of("defaults"), message);
                continue;
            }
            None => continue,
        };
        let specifiers = specifiers(list, &section.path_of("defaults"), report);
        all.insert(domain.clone(), specifiers);
    }
    settings.default_labels = all;
}

/// In every form that a Mapping may use, older ones included.
fn specifiers(list: &[Value], path: &str, report: &mut Report<'_>) -> Vec<LabelSpecifier> {
    let specifiers: Vec<LabelSpecifier> = list
        .iter()
        .map(|value| LabelSpecifier::from_any_form(value.clone()))
        .collect();
    let _ = read_specifiers(&specifiers, "", |index, problem| {
        let path = format!("{path}[{index}]");
        match problem {
            LabelProblem::Skipped(message) => {
                report.ignored_with(codes::E_RL_LABEL, &path, message);
            }
            LabelProblem::Differs(message) => report.note(codes::I_RL_OMIT, &path, &message),
        }
    });
    specifiers
}
