use super::*;

/// A ClientHello of a given legacy version without extensions but, perhaps, a server name.
fn raw_hello(version: [u8; 2], name: Option<&str>) -> Vec<u8> {
    let mut body = version.to_vec();
    body.extend_from_slice(&[7; 32]);
    body.push(0);
    body.extend_from_slice(&[0, 4, 0xc0, 0x2f, 0xc0, 0x2b, 1, 0]);
    let mut extensions = Vec::new();
    if let Some(name) = name {
        let length = u16::try_from(name.len()).unwrap();
        extensions.extend_from_slice(&[0, 0]);
        extensions.extend_from_slice(&(length + 5).to_be_bytes());
        extensions.extend_from_slice(&(length + 3).to_be_bytes());
        extensions.push(0);
        extensions.extend_from_slice(&length.to_be_bytes());
        extensions.extend_from_slice(name.as_bytes());
    }
    // signature_algorithms and supported_groups
    extensions.extend_from_slice(&[0, 13, 0, 6, 0, 4, 4, 3, 8, 4]);
    extensions.extend_from_slice(&[0, 10, 0, 4, 0, 2, 0, 23]);
    body.extend_from_slice(&u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend_from_slice(&extensions);
    let mut hello = vec![22, 3, 1];
    hello.extend_from_slice(&u16::try_from(body.len() + 4).unwrap().to_be_bytes());
    hello.extend_from_slice(&[1, 0]);
    hello.extend_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
    hello.extend_from_slice(&body);
    hello
}

/// What a raw client reads until the end.
async fn answer_to(bytes: &[u8], with: Option<TlsChain>) -> (Outcome, Vec<u8>) {
    let (mut near, far) = duplex(64 * 1024);
    // One byte at a time: a ClientHello may come in pieces.
    let send = async move {
        for byte in bytes {
            near.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut answer = Vec::new();
        near.read_to_end(&mut answer).await.unwrap();
        answer
    };
    tokio::join!(handshake(far, |_| with), send)
}

#[tokio::test]
async fn refusals_are_said_in_alerts() {
    let ca = Ca::new();
    let mut snapshot = Snapshot::default();
    put_certificate(&mut snapshot, "ns/s", &ca.leaf("a.test", 1), &["a.test"]);
    let good = put_chain(
        &mut snapshot,
        "a.test",
        Some(ChainTls::Terminate(settings("ns/s"))),
    );
    let refused = put_chain(
        &mut snapshot,
        "b.test",
        Some(ChainTls::Refuse("E-X".into())),
    );
    let missing = put_chain(
        &mut snapshot,
        "c.test",
        Some(ChainTls::Terminate(settings("ns/none"))),
    );
    let tables = TlsStore::new().update(&snapshot);
    assert_eq!(tables.rejected.len(), 1);
    assert_eq!(tables.rejected[0].0, missing);

    let protocol_version = |answer: &[u8]| matches!(answer, [21, 3, _, 0, 2, 2, 70]);
    let unrecognized_name = |answer: &[u8]| answer == [21, 3, 3, 0, 2, 2, 112];
    for version in [[3, 0], [3, 1], [3, 2]] {
        for chain_key in [Some(&good), Some(&refused), None] {
            for name in [Some("a.test"), None] {
                let hello = raw_hello(version, name);
                let with = chain_key.map(|key| chain(&tables, key));
                let (outcome, answer) = answer_to(&hello, with).await;
                assert!(outcome.is_err());
                assert!(
                    protocol_version(&answer),
                    "{version:?} {chain_key:?}: {answer:?}"
                );
            }
        }
    }
    let hello = raw_hello([3, 3], Some("X.test"));
    let (outcome, answer) = answer_to(&hello, None).await;
    assert!(unrecognized_name(&answer), "{answer:?}");
    assert!(matches!(outcome, Err(HandshakeError::UnknownName(name)) if name == "x.test"));
    for key in [&refused, &missing] {
        let (outcome, answer) = answer_to(&hello, Some(chain(&tables, key))).await;
        assert!(unrecognized_name(&answer), "{answer:?}");
        assert!(matches!(outcome, Err(HandshakeError::Refused(_))));
    }
    let (outcome, answer) = answer_to(&[22, 3, 1, 0, 5, 9, 9, 9, 9, 9], None).await;
    assert!(
        matches!(outcome, Err(HandshakeError::Failed(_))),
        "{outcome:?}"
    );
    assert!(matches!(answer.first(), None | Some(21)), "{answer:?}");
}

#[tokio::test]
async fn a_client_that_leaves_is_no_failure_of_tls() {
    let (mut near, far) = duplex(64);
    near.write_all(&[22, 3, 1]).await.unwrap();
    drop(near);
    let outcome = handshake(far, |_| None).await;
    assert!(matches!(outcome, Err(HandshakeError::Closed(_))));
}
