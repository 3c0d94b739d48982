//! TL: TLS and SNI (spec/routing §8). L8443 = HTTPS, XFP, ALL. a{/a/}, hostname `*`.

use legate_testkit::client::{TlsInfo, raw, tls};
use legate_testkit::{Authority, Client, Pair, TlsOptions};
use rustls::version::{TLS12, TLS13};

use crate::harness::{Case, Gate, Request, empty, manifest, short};

fn with_a(case: Case) -> Case {
    case.map("a", "prefix: /a/")
}

/// A Host whose certificate is in Secret `s`.
fn shares_s(case: Case, name: &str, hostname: &str) -> Case {
    case.host(
        name,
        &format!("hostname: \"{hostname}\"\ntlsSecret: {{name: s}}"),
    )
}

async fn https(gate: &Gate, options: &TlsOptions, request: &str) -> Result<String, String> {
    let mut client = Client::connect_tls(gate.address(8443), options)
        .await
        .map_err(|error| error.to_string())?;
    let request = Request::parse(request);
    let headers: Vec<(&str, &str)> = Vec::new();
    // A TLS 1.3 server's verdict on the client's certificate only shows with the first answer.
    client
        .request(
            &request.method,
            &request.host,
            &request.path,
            &headers,
            bytes::Bytes::new(),
        )
        .await
        .map(|answer| short(&answer))
        .map_err(|error| format!("{error}: {:?}", std::error::Error::source(&*error)))
}

async fn refused(gate: &Gate, options: &TlsOptions) -> String {
    match tls(gate.address(8443), options).await {
        Ok(_) => panic!(
            "the handshake must be refused; {:#?}",
            gate.running.diagnostics()
        ),
        Err(error) => error.to_string(),
    }
}

fn is_unrecognized_name(text: &str) -> bool {
    text.contains("UnrecognisedName") || text.contains("UnrecognizedName")
}

#[tokio::test]
async fn tl_01() {
    let pair = Pair::self_signed(&["a.test", "*.test"]);
    let mut case = with_a(empty().l8443()).raw(&pair.secret("default", "s"));
    for (name, hostname) in [("a", "a.test"), ("wild", "*.test"), ("any", "*")] {
        case = shares_s(case, name, hostname);
    }
    let gate = case.start().await;
    for (sni, request) in [
        (Some("a.test"), "/a/ host=a.test"),
        (Some("x.y.test"), "/a/ host=x.y.test"),
        (None, "/a/ host=a.test"),
        (Some("a.test"), "/a/ host=b.test"),
    ] {
        let options = TlsOptions {
            sni: sni.map(str::to_owned),
            ..TlsOptions::default()
        };
        assert_eq!(
            https(&gate, &options, request).await.as_deref(),
            Ok("a:/"),
            "{sni:?} {request}"
        );
    }
}

/// TL-01, last row, the other half: what the certificate or the policy does not cover is 421 on
/// HTTP/2 and 404 on HTTP/1.1.
#[tokio::test]
async fn tl_01_misdirected() {
    let gate = with_a(empty().l8443())
        .tls_host("ha", "a.test", "")
        .tls_host("hb", "b.test", "")
        .start()
        .await;
    let h2 = TlsOptions {
        alpn: vec!["h2".into()],
        ..TlsOptions::sni("a.test")
    };
    assert_eq!(
        https(&gate, &h2, "/a/ host=b.test").await.as_deref(),
        Ok("421")
    );
    assert_eq!(
        https(&gate, &h2, "/a/ host=a.test").await.as_deref(),
        Ok("a:/")
    );
    let h1 = TlsOptions::sni("a.test");
    assert_eq!(
        https(&gate, &h1, "/a/ host=b.test").await.as_deref(),
        Ok("404")
    );
}

#[tokio::test]
async fn tl_02() {
    let gate = with_a(empty().l8443())
        .tls_host("h", "a.test", "")
        .start()
        .await;
    assert!(is_unrecognized_name(
        &refused(&gate, &TlsOptions::sni("b.test")).await
    ));
    assert!(is_unrecognized_name(
        &refused(&gate, &TlsOptions::default()).await
    ));
}

#[tokio::test]
async fn tl_03() {
    let gate = with_a(empty().l8443())
        .tls_host("h", "a.test", "")
        .host(
            "plain",
            "hostname: b.test\nrequestPolicy: {insecure: {action: Route}}",
        )
        .start()
        .await;
    assert!(is_unrecognized_name(
        &refused(&gate, &TlsOptions::sni("b.test")).await
    ));
    gate.rows(8443, &[("/a/ host=b.test", "a:/")]).await;
}

#[tokio::test]
async fn tl_04() {
    let pair = Pair::self_signed(&["a.test"]);
    let case = with_a(empty().l8443()).raw(&pair.secret("default", "s"));
    let gate = shares_s(shares_s(case, "h1", "a.test"), "h2", "a.test:9443")
        .start()
        .await;
    let options = TlsOptions::sni("a.test");
    assert_eq!(
        https(&gate, &options, "/a/ host=a.test:9443")
            .await
            .as_deref(),
        Ok("a:/")
    );
    assert_eq!(
        https(&gate, &options, "/a/ host=a.test").await.as_deref(),
        Ok("a:/")
    );
}

#[tokio::test]
async fn tl_05() {
    let pair = Pair::self_signed(&["a.test"]);
    let gate = with_a(empty().l8443().l8080())
        .raw(&pair.secret("default", "s"))
        .object("TLSContext", "c", "hosts: [a.test]\nsecret: s")
        .host("h", "hostname: a.test\ntlsContext: {name: c}")
        .start()
        .await;
    assert!(is_unrecognized_name(
        &refused(&gate, &TlsOptions::sni("a.test")).await
    ));
    gate.rows(8080, &[("/a/ host=a.test", "301 https://a.test/a/")])
        .await;
    gate.diagnoses(&["W-IGNORED"]);
}

#[tokio::test]
async fn tl_06() {
    let gate = with_a(empty().l8443().l8080())
        .host("h", "hostname: a.test\ntlsSecret: {name: s}")
        .start()
        .await;
    gate.rows(8080, &[("/a/ host=a.test", "301 https://a.test/a/")])
        .await;
    assert!(is_unrecognized_name(
        &refused(&gate, &TlsOptions::sni("a.test")).await
    ));
    gate.diagnoses(&["E-SECRET-MISSING"]);
}

#[tokio::test]
async fn tl_07() {
    let gate = with_a(empty().l8080())
        .host("h", "hostname: a.test\ntlsSecret: {name: s}")
        .host(
            "b",
            "hostname: b.test\nrequestPolicy: {insecure: {action: Route}}",
        )
        .check(&[
            ("/a/ host=a.test", "301 https://a.test/a/"),
            ("/a/ host=b.test", "a:/"),
        ])
        .await;
    gate.diagnoses(&["E-SECRET-MISSING"]);
}

#[tokio::test]
async fn tl_08() {
    let pair = Pair::self_signed(&["a.test"]);
    let gate = with_a(empty().l8443().l8080())
        .raw(&pair.secret("default", "s"))
        .raw(&pair.secret("default", "s2"))
        .object("TLSContext", "c", "hosts: [a.test]\nsecret: s")
        .host(
            "h",
            "hostname: a.test\ntlsSecret: {name: s2}\ntlsContext: {name: c}",
        )
        .start()
        .await;
    assert!(is_unrecognized_name(
        &refused(&gate, &TlsOptions::sni("a.test")).await
    ));
    gate.rows(8080, &[("/a/ host=a.test", "301 https://a.test/a/")])
        .await;
    gate.diagnoses(&["E-HOST-TLS"]);
}

#[tokio::test]
async fn tl_09() {
    let pair = Pair::self_signed(&["a.test"]);
    let gate = with_a(empty().l8443())
        .raw(&pair.secret("certs", "s"))
        .host(
            "h",
            "hostname: a.test\ntlsSecret: {name: s, namespace: certs}",
        )
        .start()
        .await;
    assert_eq!(
        https(&gate, &TlsOptions::sni("a.test"), "/a/ host=a.test")
            .await
            .as_deref(),
        Ok("a:/")
    );
}

fn client_auth(spec: &str) -> (Authority, Case) {
    let authority = Authority::new("clients");
    let case = with_a(empty().l8443())
        .raw(&authority.secret("default", "ca"))
        .tls_host("h", "a.test", spec);
    (authority, case)
}

fn presenting(pair: Pair) -> TlsOptions {
    TlsOptions {
        certificate: Some(pair),
        ..TlsOptions::sni("a.test")
    }
}

#[tokio::test]
async fn tl_11() {
    let (authority, case) = client_auth("tls: {ca_secret: ca, cert_required: true}");
    let gate = case.start().await;
    let request = "/a/ host=a.test";
    assert!(
        https(&gate, &TlsOptions::sni("a.test"), request)
            .await
            .is_err()
    );
    let good = presenting(authority.issue(&["client.test"]));
    assert_eq!(https(&gate, &good, request).await.as_deref(), Ok("a:/"));
    let stranger = presenting(Authority::new("others").issue(&["client.test"]));
    assert!(https(&gate, &stranger, request).await.is_err());
}

#[tokio::test]
async fn tl_12() {
    let (_, case) = client_auth("tls: {ca_secret: ca}");
    let gate = case.start().await;
    let request = "/a/ host=a.test";
    assert_eq!(
        https(&gate, &TlsOptions::sni("a.test"), request)
            .await
            .as_deref(),
        Ok("a:/")
    );
    let stranger = presenting(Authority::new("others").issue(&["client.test"]));
    assert!(https(&gate, &stranger, request).await.is_err());
}

/// Not a row: a revoked client certificate is refused.
#[tokio::test]
async fn revoked_client_certificates_are_refused() {
    let (authority, case) =
        client_auth("tls: {ca_secret: ca, cert_required: true, crl_secret: crl}");
    let list = legate_testkit::certs::indent(&authority.revoke(&[7]));
    let gate = case
        .raw(&format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: crl}}\ntype: Opaque\nstringData:\n  crl.pem: |\n{list}"
        ))
        .start()
        .await;
    let request = "/a/ host=a.test";
    let good = presenting(authority.issue_serial(&["client.test"], 8));
    assert_eq!(https(&gate, &good, request).await.as_deref(), Ok("a:/"));
    let revoked = presenting(authority.issue_serial(&["client.test"], 7));
    assert!(https(&gate, &revoked, request).await.is_err());
}

#[tokio::test]
async fn tl_13() {
    let gate = with_a(empty().l8443())
        .tls_host("h", "a.test", "tls: {ca_secret: missing}")
        .start()
        .await;
    assert!(is_unrecognized_name(
        &refused(&gate, &TlsOptions::sni("a.test")).await
    ));
    gate.diagnoses(&["E-SECRET-MISSING"]);
}

#[tokio::test]
async fn tl_14() {
    let gate = with_a(empty().l8443())
        .tls_host("h", "a.test", "tls: {min_tls_version: v1.3}")
        .start()
        .await;
    let old = TlsOptions {
        versions: vec![&TLS12],
        ..TlsOptions::sni("a.test")
    };
    let text = refused(&gate, &old).await;
    assert!(text.contains("ProtocolVersion"), "{text}");
    let new = TlsOptions {
        versions: vec![&TLS13],
        ..TlsOptions::sni("a.test")
    };
    assert_eq!(
        https(&gate, &new, "/a/ host=a.test").await.as_deref(),
        Ok("a:/")
    );
}

#[tokio::test]
async fn tl_15() {
    for spec in ["tls: {alpn_protocols: \"h2,http/1.1\"}", ""] {
        let gate = with_a(empty().l8443())
            .tls_host("h", "a.test", spec)
            .start()
            .await;
        let options = TlsOptions {
            alpn: vec!["h2".into(), "http/1.1".into()],
            ..TlsOptions::sni("a.test")
        };
        let client = Client::connect_tls(gate.address(8443), &options)
            .await
            .unwrap();
        assert!(client.is_http2(), "{spec}");
        assert_eq!(
            https(&gate, &options, "/a/ host=a.test").await.as_deref(),
            Ok("a:/")
        );
    }
}

#[tokio::test]
async fn tl_16() {
    let gate = with_a(empty().l8443())
        .host("h", "hostname: a.test\ntlsSecret: {name: s}")
        .start()
        .await;
    let rotate = async |pair: &Pair| {
        let mut changes = gate.running.changes();
        changes.mark_unchanged();
        std::fs::write(
            gate.folder.path().join("s.yaml"),
            pair.secret("default", "s"),
        )
        .unwrap();
        changes.changed().await.unwrap();
    };
    rotate(&Pair::self_signed(&["a.test"])).await;
    let options = TlsOptions::sni("a.test");
    let mut old = Client::connect_tls(gate.address(8443), &options)
        .await
        .unwrap();
    let request = Request::parse("/a/ host=a.test");
    assert_eq!(short(&gate.send_on(&mut old, &request).await), "a:/");
    rotate(&Pair::self_signed(&["a.test"])).await;
    assert_eq!(
        short(&gate.send_on(&mut old, &request).await),
        "a:/",
        "the old one continues"
    );
    let new = Client::connect_tls(gate.address(8443), &options)
        .await
        .unwrap();
    let leaf = |client: &Client| client.tls().map(|TlsInfo { leaf, .. }| leaf.clone());
    assert_ne!(leaf(&old), leaf(&new));
}

#[tokio::test]
async fn tl_17() {
    let pair = Pair::self_signed(&["foo.dev"]);
    let gate = with_a(empty().l8443())
        .raw(&pair.secret("default", "s"))
        .host("h", "hostname: \"foo.*\"\ntlsSecret: {name: s}")
        .start()
        .await;
    assert_eq!(
        https(&gate, &TlsOptions::sni("foo.dev"), "/a/ host=foo.dev")
            .await
            .as_deref(),
        Ok("a:/")
    );
}

/// Issue 3: a ClientHello of version 0x0302 gets alert 70.
#[tokio::test]
async fn old_tls_versions_get_protocol_version() {
    let gate = with_a(empty().l8443())
        .tls_host("h", "a.test", "")
        .start()
        .await;
    // A minimal TLS 1.1 ClientHello with one cipher suite and SNI a.test.
    let sni = [
        0, 0, 0, 11, 0, 9, 0, 0, 6, b'a', b'.', b't', b'e', b's', b't',
    ];
    let mut body = vec![3, 2];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0xc0, 0x13, 1, 0]);
    body.extend([0, 15]);
    body.extend(sni);
    let mut hello = vec![
        0x16,
        3,
        1,
        0,
        u8::try_from(body.len() + 4).unwrap(),
        1,
        0,
        0,
    ];
    hello.push(u8::try_from(body.len()).unwrap());
    hello.extend(body);
    let answer = raw(gate.address(8443), &hello).await.unwrap();
    assert_eq!(answer.first(), Some(&0x15), "an alert: {answer:?}");
    assert_eq!(
        answer.get(5..7),
        Some(&[2, 70][..]),
        "fatal protocol_version: {answer:?}"
    );
}

/// Bad input: plaintext on a TLS-only port is closed, and others are not bothered.
#[tokio::test]
async fn plaintext_on_a_tls_port() {
    let case = with_a(empty())
        .listener(
            "l",
            8443,
            "protocolStack: [TLS, HTTP, TCP]\nsecurityModel: SECURE",
        )
        .tls_host("h", "a.test", "");
    let gate = case
        .raw(&manifest(
            "Mapping",
            "default",
            "z",
            "hostname: a.test\nprefix: /z/\nservice: a",
        ))
        .start()
        .await;
    let _ = raw(gate.address(8443), b"\x00\x01\x02garbage\r\n\r\n").await;
    assert_eq!(
        https(&gate, &TlsOptions::sni("a.test"), "/a/ host=a.test")
            .await
            .as_deref(),
        Ok("a:/")
    );
}
