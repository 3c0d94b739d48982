//! What the audit log says of the run as a whole: nobody asked for what it may not, and nobody may
//! do what it never does.

use std::collections::BTreeSet;
use std::sync::Arc;

use legate_testkit::kube::{AuditEvent, AuditMark};
use libtest_mimic::{Arguments, Trial};
use serde_json::Value;

use crate::bench::Bench;
use crate::instance;

/// Group, resource with subresource, verb.
type Right = (String, String, String);

pub(crate) fn trials(bench: &Arc<Bench>, args: &Arguments) -> Vec<Trial> {
    let filtered = args.filter.is_some() || !args.skip.is_empty();
    let mut trials = vec![
        bench.bare("audit_nothing_was_refused", |server| async move {
            let events = server.audit(AuditMark::START).await?;
            let known = instance::known();
            let refused: Vec<&AuditEvent> = events
                .iter()
                .filter(|event| event.code == 403)
                .filter(|event| {
                    let mut known = known.iter();
                    known.any(|known| !known.excused && known.user == event.user)
                })
                .collect();
            assert!(refused.is_empty(), "{refused:#?}");
            Ok(())
        }),
    ];
    // A part of the trials uses a part of the rights.
    if !filtered {
        trials.push(
            bench.bare("audit_every_right_was_used", |server| async move {
                let events = server.audit(AuditMark::START).await?;
                let mut granted = BTreeSet::new();
                let mut used = BTreeSet::new();
                for known in instance::known() {
                    granted.extend(rights(&known.manifests));
                    let own = events.iter().filter(|event| event.user == known.user);
                    used.extend(own.filter(|event| event.code < 400).flat_map(uses));
                }
                let idle: Vec<&Right> = granted.difference(&used).collect();
                assert!(idle.is_empty(), "never used: {idle:#?}");
                Ok(())
            }),
        );
    }
    trials
}

/// What roles grant.
fn rights(manifests: &[Value]) -> BTreeSet<Right> {
    let list = |rule: &Value, key: &str| -> Vec<String> {
        let values = rule.get(key).and_then(Value::as_array);
        let texts = values.into_iter().flatten().filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    };
    let mut all = BTreeSet::new();
    let rules = manifests
        .iter()
        .filter_map(|role| role.get("rules")?.as_array());
    for rule in rules.flatten() {
        for group in list(rule, "apiGroups") {
            for resource in list(rule, "resources") {
                for verb in list(rule, "verbs") {
                    all.insert((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    all
}

/// The rights that a request needed. An apply that made its object needed two.
fn uses(event: &AuditEvent) -> Vec<Right> {
    let resource = match event.subresource.as_str() {
        "" => event.resource.clone(),
        sub => format!("{}/{sub}", event.resource),
    };
    let right = |verb: &str| (event.group.clone(), resource.clone(), verb.to_owned());
    let mut all = vec![right(&event.verb)];
    // A Lease is made by a PUT.
    if matches!(event.verb.as_str(), "patch" | "update") && event.code == 201 {
        all.push(right("create"));
    }
    all
}
