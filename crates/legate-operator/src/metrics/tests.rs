use std::sync::Arc;

use legate_api::ObjectKey;
use legate_compiler::{Code, ObjectStatus, Snapshot};
use legate_config::Hash128;
use prometheus_client::encoding::text::encode;

use super::*;
use crate::publish::Version;
use crate::status::StatusCounters;

fn text(metrics: &ControlMetrics) -> String {
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    text
}

fn has(metrics: &ControlMetrics, line: &str) -> bool {
    text(metrics).lines().any(|known| known == line)
}

fn key(kind: Kind, name: &str) -> ObjectKey {
    ObjectKey {
        kind,
        namespace: "apps".to_owned(),
        name: name.to_owned(),
    }
}

fn batch(objects: &[(ObjectKey, ObjectStatus)], fresh: &[ObjectKey]) -> Batch {
    let version = |key: &ObjectKey| Version {
        key: key.clone(),
        uid: "u".to_owned(),
        generation: 1,
    };
    Batch {
        number: 1,
        snapshot: Arc::new(Snapshot::default()),
        status: objects.iter().cloned().collect(),
        diagnostics: Vec::new(),
        versions: fresh.iter().map(version).collect(),
        removed: Vec::new(),
    }
}

const TIMING: Timing = Timing {
    compile: Duration::from_millis(3),
    queued: Duration::from_millis(1),
};

#[test]
fn objects_are_counted_anew_and_rejections_once_per_version() {
    let metrics = ControlMetrics::new();
    let good = key(Kind::Mapping, "good");
    let bad = key(Kind::Mapping, "bad");
    let rejected = ObjectStatus {
        state: ObjectState::Rejected,
        reason: Some(Code::new("E-MAP-REGEX")),
        ..ObjectStatus::default()
    };
    let last_good = ObjectStatus {
        serving_last_good: true,
        ..rejected.clone()
    };
    let first = batch(
        &[
            (good.clone(), ObjectStatus::default()),
            (bad.clone(), rejected),
        ],
        &[good.clone(), bad.clone()],
    );
    metrics.compiled(&first, TIMING);
    let count = r#"legate_config_rejected_total{kind="Mapping",code="E-MAP-REGEX"} 1"#;
    assert!(has(
        &metrics,
        r#"legate_objects{kind="Mapping",state="accepted"} 1"#
    ));
    assert!(has(
        &metrics,
        r#"legate_objects{kind="Mapping",state="rejected"} 1"#
    ));
    assert!(has(&metrics, count));
    metrics.compiled(&batch(&[(bad, last_good)], &[]), TIMING);
    assert!(has(
        &metrics,
        r#"legate_objects{kind="Mapping",state="accepted"} 0"#
    ));
    assert!(has(
        &metrics,
        r#"legate_objects{kind="Mapping",state="rejected"} 0"#
    ));
    assert!(has(
        &metrics,
        r#"legate_objects{kind="Mapping",state="last_good"} 1"#
    ));
    assert!(has(&metrics, count), "the same version again");
    assert!(has(&metrics, "legate_compile_seconds_count 2"));
    assert!(has(
        &metrics,
        r#"legate_compile_seconds_bucket{le="0.005"} 2"#
    ));
    assert!(
        !text(&metrics).contains(r#"kind="Host""#),
        "nothing that is not there"
    );
}

#[test]
fn only_the_newest_hash_is_shown() {
    let metrics = ControlMetrics::new();
    let mut batch = batch(&[], &[]);
    for n in [1_u64, 2] {
        batch.snapshot = Arc::new(Snapshot {
            id: n,
            root: Hash128::of(&n),
            ..Snapshot::default()
        });
        metrics.compiled(&batch, TIMING);
    }
    let text = text(&metrics);
    let infos: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("legate_published_info"))
        .collect();
    assert_eq!(infos.len(), 1, "{infos:?}");
    let newest = Hash128::of(&2_u64).to_string();
    assert!(infos[0].contains(&newest), "{infos:?}");
    assert!(text.contains("\nlegate_published_generation 2\n"));
}

#[test]
fn the_source_is_shown_as_it_stands() {
    let metrics = ControlMetrics::new();
    let mut state = KubeState {
        kinds: [
            (Kind::Host, KindState::Live),
            (Kind::Mapping, KindState::Failing),
        ]
        .into(),
        restarts: [(Kind::Mapping, 3)].into(),
        last_contact: Some(k8s_openapi::jiff::Timestamp::now().as_second() - 100),
        ..KubeState::default()
    };
    assert!(has(&metrics, "legate_watch_lag_seconds 0"), "never heard");
    metrics.source(&state);
    metrics.source(&state);
    assert!(has(&metrics, r#"legate_watch_synced{kind="Host"} 1"#));
    assert!(has(&metrics, r#"legate_watch_synced{kind="Mapping"} 0"#));
    assert!(has(
        &metrics,
        r#"legate_watch_restarts_total{kind="Mapping"} 3"#
    ));
    let lag: u64 = text(&metrics)
        .lines()
        .find_map(|line| line.strip_prefix("legate_watch_lag_seconds ")?.parse().ok())
        .unwrap();
    assert!((100..160).contains(&lag), "{lag}");
    state.kinds.insert(Kind::Mapping, KindState::Absent);
    metrics.source(&state);
    assert!(!text(&metrics).contains(r#"legate_watch_synced{kind="Mapping"}"#));
}

#[test]
fn the_rest_is_told() {
    let metrics = ControlMetrics::new();
    metrics.leads(true);
    metrics.audited(true);
    metrics.audited(false);
    metrics.acknowledged(Duration::from_millis(20));
    let counters = StatusCounters::default();
    for (counter, count) in [
        (&counters.writes, 5),
        (&counters.conflicts, 1),
        (&counters.events, 3),
        (&counters.gateways_current, 2),
    ] {
        counter.store(count, Ordering::Relaxed);
    }
    metrics.status(&counters);
    metrics.status(&counters);
    metrics.last_good(&LastGoodReport {
        objects: 4,
        ..LastGoodReport::default()
    });
    for line in [
        "legate_leader 1",
        "legate_config_audits_total 2",
        "legate_config_audit_mismatch_total 1",
        "legate_publish_ack_seconds_count 1",
        r#"legate_status_writes_total{result="written"} 5"#,
        "legate_status_conflicts_total 1",
        r#"legate_events_total{result="sent"} 3"#,
        r#"legate_gateways{state="current"} 2"#,
        r#"legate_gateways{state="broken"} 0"#,
        "legate_last_good_objects 4",
        "legate_last_good_age_seconds 0",
    ] {
        assert!(has(&metrics, line), "{line} in {}", text(&metrics));
    }
}
