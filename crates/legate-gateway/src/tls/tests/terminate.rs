use super::*;

#[tokio::test]
async fn a_chain_is_terminated_and_described() {
    let ca = Ca::new();
    let mut snapshot = Snapshot::default();
    put_certificate(&mut snapshot, "ns/s", &ca.leaf("a.test", 1), &["a.test"]);
    let key = put_chain(
        &mut snapshot,
        "a.test",
        Some(ChainTls::Terminate(settings("ns/s"))),
    );
    let tables = TlsStore::new().update(&snapshot);
    assert!(tables.rejected.is_empty());
    for (alpn, http2) in [
        (&["h2", "http/1.1"][..], true),
        (&["http/1.1"], false),
        (&[], false),
    ] {
        let config = Arc::new(client(&ca, None, alpn));
        let (outcome, fine) = shake(config, "A.test", Some(chain(&tables, &key))).await;
        let done = outcome.unwrap();
        assert!(fine);
        assert_eq!(done.info.version, "TLSv1.3");
        assert!(done.info.cipher.starts_with("TLS_"), "{}", done.info.cipher);
        assert_eq!(done.info.sni.as_deref(), Some("a.test"));
        assert_eq!(done.info.http2, http2, "{alpn:?}");
        assert!(done.info.peer.is_none());
        assert_eq!(done.termination.names, ["a.test"]);
    }
}

#[tokio::test]
async fn versions_and_cipher_suites_are_limited() {
    let ca = Ca::new();
    let mut snapshot = Snapshot::default();
    put_certificate(&mut snapshot, "ns/s", &ca.leaf("a.test", 1), &["a.test"]);
    let mut old = settings("ns/s");
    old.max_version = TlsVersion::V12;
    old.cipher_suites = vec!["ECDHE-ECDSA-AES256-GCM-SHA384".into()];
    old.ecdh_curves = vec!["P-256".into()];
    let mut new = settings("ns/s");
    new.min_version = TlsVersion::V13;
    let old = put_chain(&mut snapshot, "old", Some(ChainTls::Terminate(old)));
    let new = put_chain(&mut snapshot, "new", Some(ChainTls::Terminate(new)));
    let tables = TlsStore::new().update(&snapshot);
    assert_eq!(tables.rejected, []);

    let config = Arc::new(client(&ca, None, &[]));
    let (outcome, fine) = shake(config, "a.test", Some(chain(&tables, &old))).await;
    assert!(fine);
    let info = outcome.unwrap().info;
    assert_eq!(info.version, "TLSv1.2");
    assert_eq!(info.cipher, "ECDHE-ECDSA-AES256-GCM-SHA384");

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(ca.roots())
        .with_no_client_auth();
    let (outcome, fine) = shake(Arc::new(config), "a.test", Some(chain(&tables, &new))).await;
    assert!(!fine);
    assert!(matches!(outcome, Err(HandshakeError::Failed(_))));
}

#[tokio::test]
async fn client_certificates_are_checked() {
    let ca = Ca::new();
    let other = Ca::new();
    let mut snapshot = Snapshot::default();
    put_certificate(&mut snapshot, "ns/s", &ca.leaf("a.test", 1), &["a.test"]);
    let good = ca.leaf("good", 2);
    let revoked = ca.leaf("revoked", 3);
    let foreign = other.leaf("foreign", 4);
    let bundle = CaBundle {
        certificates: vec![ca.der.to_vec()],
    };
    snapshot.ca_bundles.insert("ns/ca".into(), entry(bundle));
    let lists = RevocationList {
        lists: vec![ca.revoke(&revoked)],
    };
    snapshot
        .revocation_lists
        .insert("ns/crl".into(), entry(lists));
    let mut keys = Vec::new();
    for (name, required, crl) in [
        ("required", true, None),
        ("optional", false, None),
        ("crl", true, Some(CrlKey::from("ns/crl"))),
    ] {
        let mut settings = settings("ns/s");
        settings.client_auth = Some(ClientAuth {
            required,
            ca: CaKey::from("ns/ca"),
            crl,
        });
        let key = put_chain(&mut snapshot, name, Some(ChainTls::Terminate(settings)));
        keys.push(key);
    }
    let tables = TlsStore::new().update(&snapshot);
    assert_eq!(tables.rejected, []);
    // (chain, certificate, handshake)
    let rows = [
        (0, None, false),
        (0, Some(&good), true),
        (0, Some(&revoked), true),
        (0, Some(&foreign), false),
        (1, None, true),
        (1, Some(&good), true),
        (1, Some(&foreign), false),
        (2, Some(&good), true),
        (2, Some(&revoked), false),
    ];
    for (index, (at, leaf, expected)) in rows.into_iter().enumerate() {
        let config = Arc::new(client(&ca, leaf, &[]));
        let (outcome, fine) = shake(config, "a.test", Some(chain(&tables, &keys[at]))).await;
        assert_eq!(outcome.is_ok(), expected, "row {index}: {outcome:?}");
        assert_eq!(fine, expected, "row {index}");
        if let (Ok(done), Some(leaf)) = (outcome, leaf) {
            let peer = done.info.peer.unwrap();
            assert!(peer.subject.starts_with("CN="), "{}", peer.subject);
            assert_eq!(*peer, PeerCertificate::read(&leaf.der));
        }
    }
}

#[tokio::test]
async fn sessions_are_resumed_only_under_their_own_policy() {
    let ca = Ca::new();
    let mut snapshot = Snapshot::default();
    put_certificate(&mut snapshot, "ns/s", &ca.leaf("a.test", 1), &["a.test"]);
    let mut strict = settings("ns/s");
    strict.ecdh_curves = vec!["X25519".into()];
    let one = put_chain(
        &mut snapshot,
        "one",
        Some(ChainTls::Terminate(settings("ns/s"))),
    );
    let twin = put_chain(
        &mut snapshot,
        "twin",
        Some(ChainTls::Terminate(settings("ns/s"))),
    );
    let two = put_chain(&mut snapshot, "two", Some(ChainTls::Terminate(strict)));
    let tables = TlsStore::new().update(&snapshot);
    for (second, resumed) in [(&one, true), (&twin, true), (&two, false)] {
        let config = Arc::new(client(&ca, None, &[]));
        let first = shake(Arc::clone(&config), "a.test", Some(chain(&tables, &one))).await;
        assert!(first.1);
        let (outcome, fine) = shake(config, "a.test", Some(chain(&tables, second))).await;
        assert!(fine);
        let kind = outcome.unwrap().stream.get_ref().1.handshake_kind();
        assert_eq!(
            kind == Some(rustls::HandshakeKind::Resumed),
            resumed,
            "{second}: {kind:?}"
        );
    }
}
