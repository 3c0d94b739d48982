//! Settings that count for a whole group (spec/routing §4.4).

use legate_config::policy::{CorsPolicy, HeaderAdd, HeaderEdits, Priority, Retry};
use legate_config::{Diagnostic, ObjectRef};

use super::{Headers, Member};
use crate::codes;
use crate::lower::{Balance, Changes, header_adds, header_removes};
use crate::module::ModuleSettings;

/// The Module's defaults for groups, lowered. What is wrong with them is reported with the Module.
#[derive(Debug, Default)]
pub(crate) struct ModuleHeaders {
    add_request: Option<Headers>,
    add_response: Option<Headers>,
    remove_request: Option<Vec<String>>,
    remove_response: Option<Vec<String>>,
    cors: Option<CorsPolicy>,
}

impl ModuleHeaders {
    pub(crate) fn new(module: &ModuleSettings) -> Self {
        let defaults = &module.defaults;
        let adds = |map: &Option<_>| map.as_ref().map(|map| header_adds(map, |_, _| {}));
        let removes =
            |list: &Option<Vec<String>>| list.as_ref().map(|list| header_removes(list, |_, _| {}));
        Self {
            add_request: adds(&defaults.add_request_headers),
            add_response: adds(&defaults.add_response_headers),
            remove_request: removes(&defaults.remove_request_headers),
            remove_response: removes(&defaults.remove_response_headers),
            cors: module.cors.clone(),
        }
    }
}

/// The group-wide settings.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    pub(crate) request: HeaderEdits,
    pub(crate) response: HeaderEdits,
    pub(crate) upgrades: Vec<String>,
    pub(crate) cors: Option<CorsPolicy>,
    pub(crate) priority: Priority,
    /// `None` = nobody says anything.
    pub(crate) retry: Option<Option<Retry>>,
    /// The founder's; `None` = it says nothing.
    pub(crate) balance: Option<Balance>,
}

/// Merges over the valid members, in name order, and reports where they disagree.
pub(super) fn merge(
    founder: &Member,
    members: &[&Member],
    defaults: &ModuleHeaders,
    diagnostics: &mut Vec<Diagnostic>,
) -> Merged {
    let upgrades = last(members, |changes| changes.upgrades.as_ref(), None);
    let cors = last(
        members,
        |changes| changes.cors.as_ref(),
        defaults.cors.as_ref(),
    );
    if members.len() > 1 {
        disagreements(founder, members, defaults, diagnostics);
    }
    Merged {
        request: HeaderEdits {
            remove: last(
                members,
                |changes| changes.remove_request.as_ref(),
                defaults.remove_request.as_ref(),
            )
            .unwrap_or_default(),
            add: added(
                members,
                |changes| changes.add_request.as_ref(),
                defaults.add_request.as_ref(),
            ),
        },
        response: HeaderEdits {
            remove: last(
                members,
                |changes| changes.remove_response.as_ref(),
                defaults.remove_response.as_ref(),
            )
            .unwrap_or_default(),
            add: added(
                members,
                |changes| changes.add_response.as_ref(),
                defaults.add_response.as_ref(),
            ),
        },
        upgrades: upgrades.unwrap_or_default(),
        cors,
        priority: last_set(members, |changes| changes.priority.as_ref()).unwrap_or_default(),
        retry: last_set(members, |changes| changes.retry.as_ref()),
        balance: founder.lowered.changes.balance.clone(),
    }
}

/// `case_sensitive` of the row: the founder's own, else the last one set.
pub(super) fn case_sensitive(founder: &Member, members: &[&Member]) -> bool {
    let own = |member: &Member| {
        member
            .matching()
            .and_then(|matching| matching.case_sensitive)
    };
    own(founder)
        .or_else(|| members.iter().rev().find_map(|member| own(member)))
        .unwrap_or(true)
}

/// All members' headers; later ones overwrite earlier ones of the same name.
fn added(
    members: &[&Member],
    field: impl Fn(&Changes) -> Option<&Headers>,
    default: Option<&Headers>,
) -> Vec<HeaderAdd> {
    let mut merged = Headers::new();
    for member in members {
        for (name, add) in field(&member.lowered.changes)
            .or(default)
            .into_iter()
            .flatten()
        {
            merged.insert(name.clone(), add.clone());
        }
    }
    merged
        .into_values()
        .filter(|add| !add.value.as_str().is_empty())
        .collect()
}

/// The value of the last member that has one.
fn last<T: Clone>(
    members: &[&Member],
    field: impl Fn(&Changes) -> Option<&T>,
    default: Option<&T>,
) -> Option<T> {
    members
        .iter()
        .rev()
        .find_map(|member| field(&member.lowered.changes).or(default))
        .cloned()
}

/// The value of the last member that sets it.
fn last_set<T: Clone>(members: &[&Member], field: impl Fn(&Changes) -> Option<&T>) -> Option<T> {
    let mut values = members.iter().rev().map(|member| &member.lowered.changes);
    values.find_map(|changes| field(changes).cloned())
}

/// A notice on every member for each group-wide field whose values differ.
fn disagreements(
    founder: &Member,
    members: &[&Member],
    defaults: &ModuleHeaders,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let mut fields: Vec<(&str, &str)> = Vec::new();
    let merged = "the values of all members are merged, later names win";
    let last_wins = "the last member that sets it decides";
    let mut check = |path, rule, differ: bool| {
        if differ {
            fields.push((path, rule));
        }
    };
    check(
        "spec.add_request_headers",
        merged,
        differ(members, |c| {
            c.add_request.as_ref().or(defaults.add_request.as_ref())
        }),
    );
    check(
        "spec.add_response_headers",
        merged,
        differ(members, |c| {
            c.add_response.as_ref().or(defaults.add_response.as_ref())
        }),
    );
    check(
        "spec.remove_request_headers",
        last_wins,
        differ(members, |c| {
            c.remove_request
                .as_ref()
                .or(defaults.remove_request.as_ref())
        }),
    );
    check(
        "spec.remove_response_headers",
        last_wins,
        differ(members, |c| {
            c.remove_response
                .as_ref()
                .or(defaults.remove_response.as_ref())
        }),
    );
    let upgrades = differ(members, |c| c.upgrades.as_ref());
    check("spec.allow_upgrade", last_wins, upgrades);
    let priority = differ(members, |c| c.priority.as_ref());
    check("spec.priority", last_wins, priority);
    let retry = differ(members, |c| c.retry.as_ref());
    check("spec.retry_policy", last_wins, retry);
    let cors = differ(members, |c| c.cors.as_ref().or(defaults.cors.as_ref()));
    check("spec.cors", last_wins, cors);
    let by_matching = |differs: &dyn Fn(&Member) -> bool| members.iter().any(|m| differs(m));
    let case = founder
        .matching()
        .and_then(|matching| matching.case_sensitive);
    check(
        "spec.case_sensitive",
        "the first member decides, else the last that sets it",
        by_matching(&|m| m.matching().and_then(|matching| matching.case_sensitive) != case),
    );
    let path = founder.matching().map(|matching| &matching.path);
    check(
        "spec.prefix",
        "it is compared as the first member says: exact, regex or prefix",
        by_matching(&|m| m.matching().map(|matching| &matching.path) != path),
    );
    check(
        "spec.bypass_auth",
        "requests that go to one without it are checked",
        by_matching(&|m| m.bypasses_auth() != founder.bypasses_auth()),
    );
    check(
        "metadata.labels",
        "the first member's labels decide which Hosts take the Mappings",
        by_matching(&|m| m.class != founder.class),
    );
    for (path, rule) in fields {
        diagnostics.extend(
            members
                .iter()
                .map(|member| notice(member, members, path, rule)),
        );
    }
}

fn differ<'a, T: PartialEq + 'a>(
    members: &[&'a Member],
    value: impl Fn(&'a Changes) -> Option<&'a T>,
) -> bool {
    let mut values = members.iter().map(|&member| value(&member.lowered.changes));
    let first = values.next();
    values.any(|value| Some(value) != first)
}

fn notice(member: &Member, members: &[&Member], path: &str, rule: &str) -> Diagnostic {
    // Naming two is enough to find them all.
    let others: Vec<&ObjectRef> = members
        .iter()
        .filter(|other| !std::ptr::eq(**other, member))
        .map(|other| other.reference())
        .take(2)
        .collect();
    let diagnostic = Diagnostic::new(
        codes::I_MAP_DISAGREE,
        member.reference().clone(),
        path,
        format!(
            "Mappings of the same match disagree on `{}`; {rule}",
            path.strip_prefix("spec.").unwrap_or(path)
        ),
    );
    others.into_iter().fold(diagnostic, |diagnostic, other| {
        diagnostic.related(other.clone(), "matches the same")
    })
}
