//! What a source is asked for, what is kept, and that an audit finds a spoilt result.

use serde_json::json;

use crate::testing::{crd, mapping, object};
use crate::{Compiler, Mode, Options};

fn compiler() -> Compiler {
    Compiler::new(Options {
        mode: Mode::Cluster,
        missing: crate::MissingRefs::Error,
        ..Options::default()
    })
}

#[test]
fn secrets_are_wanted_whether_or_not_they_are_there() {
    let mut compiler = compiler();
    compiler.upsert(crd(
        "Listener",
        "l",
        json!({"port": 8443, "protocol": "HTTPS", "securityModel": "XFP",
            "hostBinding": {"namespace": {"from": "ALL"}}}),
    ));
    compiler.upsert(crd(
        "Host",
        "h",
        json!({"hostname": "a.test", "tlsSecret": {"name": "cert", "namespace": "secret"}}),
    ));
    compiler.upsert(crd("TLSContext", "up", json!({"secret": "client"})));
    compiler.upsert(mapping("m", "/", json!({"tls": "up"})));
    compiler.upsert(object(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "unrelated"},
    })));
    compiler.compile();
    let wanted: Vec<String> = compiler
        .wanted_secrets()
        .into_iter()
        .map(|(namespace, name)| format!("{namespace}/{name}"))
        .collect();
    assert!(wanted.contains(&"secret/cert".to_owned()), "{wanted:?}");
    assert!(wanted.contains(&"default/client".to_owned()), "{wanted:?}");
    assert!(
        !wanted.iter().any(|name| name.ends_with("unrelated")),
        "{wanted:?}"
    );
}

#[test]
fn services_are_wanted_where_a_mapping_names_them() {
    let mut compiler = compiler();
    compiler.upsert(mapping("m", "/", json!({"service": "s.apps"})));
    compiler.compile();
    assert!(compiler.wants_service("apps", "s"));
    assert!(!compiler.wants_service("default", "s"));
}

#[test]
fn last_good_versions_are_told_while_the_current_one_is_rejected() {
    let mut compiler = compiler();
    compiler.upsert(crd("Host", "h", json!({"hostname": "*"})));
    compiler.upsert(mapping("m", "/", json!({})));
    compiler.compile();
    assert_eq!(compiler.last_good().count(), 0);
    compiler.upsert(mapping("m", "/(", json!({"prefix_regex": true})));
    compiler.compile();
    let names: Vec<&str> = compiler
        .last_good()
        .map(|(key, _)| key.name.as_str())
        .collect();
    assert_eq!(names, ["m"]);
    compiler.upsert(mapping("m", "/x/", json!({})));
    compiler.compile();
    assert_eq!(compiler.last_good().count(), 0);
}

#[test]
fn another_object_of_the_same_name_has_no_last_good_version() {
    let mut compiler = compiler();
    let version = |uid: &str, prefix: &str, extra| {
        let mut object = mapping("m", prefix, extra);
        object.meta.uid = Some(uid.to_owned());
        object
    };
    compiler.upsert(crd("Host", "h", json!({"hostname": "*"})));
    compiler.upsert(version("1", "/", json!({})));
    compiler.compile();
    compiler.upsert(version("1", "/(", json!({"prefix_regex": true})));
    compiler.compile();
    assert_eq!(compiler.last_good().count(), 1);
    // Deleted and created again faster than anybody could tell.
    compiler.upsert(version("2", "/(", json!({"prefix_regex": true})));
    compiler.compile();
    assert_eq!(compiler.last_good().count(), 0);
}

#[test]
fn an_audit_finds_what_was_spoilt_and_starting_over_heals_it() {
    let mut compiler = compiler();
    for name in ["a", "b"] {
        compiler.upsert(mapping(name, &format!("/{name}/"), json!({})));
    }
    compiler.upsert(crd("Host", "h", json!({"hostname": "*"})));
    compiler.upsert(crd(
        "Listener",
        "l",
        json!({"port": 8080, "protocol": "HTTP", "securityModel": "XFP",
            "hostBinding": {"namespace": {"from": "ALL"}}}),
    ));
    compiler.compile();
    assert_eq!(compiler.audit_later().run(), Ok(()));
    assert!(compiler.spoil(&mapping("a", "/a/", json!({})).key()));
    compiler.compile();
    let audit = compiler.audit_later();
    assert!(audit.run().is_err());
    compiler.start_over();
    compiler.compile();
    assert_eq!(compiler.audit_later().run(), Ok(()));
    assert!(!compiler.spoil(&mapping("c", "/c/", json!({})).key()));
}
