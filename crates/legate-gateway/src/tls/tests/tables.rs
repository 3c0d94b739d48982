use super::*;

fn terminated(tables: &TlsTables, key: &ChainKey) -> Arc<Termination> {
    match chain(tables, key) {
        TlsChain::Terminate(termination) => termination,
        TlsChain::Refuse(reason) => panic!("{reason}"),
    }
}

#[test]
fn configurations_survive_as_long_as_nothing_changes() {
    let ca = Ca::new();
    let mut snapshot = Snapshot::default();
    put_certificate(
        &mut snapshot,
        "ns/s",
        &ca.leaf("a.test", 1),
        &["a.test", "*.test"],
    );
    put_certificate(&mut snapshot, "ns/t", &ca.leaf("b.test", 2), &["b.test"]);
    let mut strict = settings("ns/s");
    strict.min_version = TlsVersion::V13;
    let a = put_chain(
        &mut snapshot,
        "a",
        Some(ChainTls::Terminate(settings("ns/s"))),
    );
    let b = put_chain(
        &mut snapshot,
        "b",
        Some(ChainTls::Terminate(settings("ns/t"))),
    );
    let c = put_chain(&mut snapshot, "c", Some(ChainTls::Terminate(strict)));
    let d = put_chain(&mut snapshot, "d", Some(ChainTls::Refuse("no".into())));
    let plain = put_chain(&mut snapshot, "e", None);
    let mut store = TlsStore::new();
    let before = store.update(&snapshot);
    assert!(before.listeners[LISTENER].chain(&plain).is_none());

    let covers = |tables: &TlsTables, from: &ChainKey, to: &ChainKey, host: &str| {
        let (from, to) = (terminated(tables, from), terminated(tables, to));
        same_policy(&from, &to) && covers(&from.names, host)
    };
    assert!(covers(&before, &a, &b, "b.test"));
    assert!(covers(&before, &a, &b, "b.test:8443"));
    assert!(!covers(&before, &b, &a, "a.test"));
    assert!(!covers(&before, &a, &c, "a.test"));
    assert!(matches!(chain(&before, &d), TlsChain::Refuse(_)));

    let config = |tables: &TlsTables, key| Arc::clone(&terminated(tables, key).config);
    put_certificate(&mut snapshot, "ns/t", &ca.leaf("b.test", 3), &["b.test"]);
    let after = store.update(&snapshot);
    assert!(Arc::ptr_eq(&config(&before, &a), &config(&after, &a)));
    assert!(!Arc::ptr_eq(&config(&before, &b), &config(&after, &b)));
    assert!(covers(&before, &a, &b, "b.test") && covers(&after, &a, &b, "b.test"));
}

#[test]
fn broken_settings_refuse_the_chain_and_say_why() {
    let ca = Ca::new();
    let other = ca.leaf("b.test", 2);
    let mut mixed = ca.leaf("a.test", 1);
    mixed.key = other.key;
    let mut snapshot = Snapshot::default();
    put_certificate(&mut snapshot, "ns/mixed", &mixed, &["a.test"]);
    put_certificate(&mut snapshot, "ns/s", &ca.leaf("a.test", 3), &["a.test"]);
    let empty = CaBundle {
        certificates: Vec::new(),
    };
    snapshot.ca_bundles.insert("ns/empty".into(), entry(empty));
    let auth = |ca: &str, crl: Option<&str>| {
        let mut settings = settings("ns/s");
        settings.client_auth = Some(ClientAuth {
            required: true,
            ca: ca.into(),
            crl: crl.map(CrlKey::from),
        });
        settings
    };
    let mut curves = settings("ns/s");
    curves.ecdh_curves = vec!["P-521".into()];
    let mut ciphers = settings("ns/s");
    ciphers.cipher_suites = vec!["AES128-SHA".into()];
    ciphers.max_version = TlsVersion::V12;
    let mut versions = settings("ns/s");
    versions.min_version = TlsVersion::V13;
    versions.max_version = TlsVersion::V12;
    let rows = [
        (settings("ns/mixed"), "certificate `ns/mixed` is unusable"),
        (
            settings("ns/none"),
            "certificate `ns/none` is not in the configuration",
        ),
        (
            auth("ns/none", None),
            "CA bundle `ns/none` is not in the configuration",
        ),
        (
            auth("ns/empty", Some("ns/none")),
            "revocation list `ns/none` is not in",
        ),
        (
            auth("ns/empty", None),
            "client certificates cannot be checked",
        ),
        (curves, "no usable key-exchange group left"),
        (ciphers, "no usable cipher suite left"),
        (versions, "no usable TLS version left"),
    ];
    for (settings, message) in rows {
        let mut snapshot = snapshot.clone();
        let key = put_chain(&mut snapshot, "a", Some(ChainTls::Terminate(settings)));
        let tables = TlsStore::new().update(&snapshot);
        let [(rejected, reason)] = tables.rejected.as_slice() else {
            panic!("{message}: {:?}", tables.rejected);
        };
        assert_eq!(*rejected, key);
        assert!(reason.starts_with(message), "{reason}");
        assert!(matches!(chain(&tables, &key), TlsChain::Refuse(_)));
    }
}
