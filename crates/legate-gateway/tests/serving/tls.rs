//! The accept stage: TLS by server name, and what may be asked for on such a connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use legate_config::http::HttpSettings;
use legate_config::listener::{ChainMatch, ChainTls, DownstreamTls, TlsVersion};
use legate_config::secret::{Certificate, KeyForm, PrivateKey};
use legate_config::{
    CertificateKey, ChainKey, FilterChain, HostPattern, ListenerKey, VirtualHostKey,
};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::client::Client;
use crate::snapshot::{Build, LISTENER, entry};
use crate::{Served, origin, serve};

/// One host of a TLS listener: its name, the names of its certificate, and its least version.
pub(crate) struct TlsHost<'a> {
    pub(crate) host: &'a str,
    pub(crate) names: &'a [&'a str],
    pub(crate) least: TlsVersion,
}

/// Adds TLS chains to the listener; its cleartext chain goes. Returns the certificates.
pub(crate) fn with_tls(build: &mut Build, hosts: &[TlsHost<'_>]) -> Vec<Vec<u8>> {
    let snapshot = &mut build.snapshot;
    let key = ListenerKey::new(LISTENER);
    let mut listener = (**snapshot.listeners.get(&key).unwrap()).clone();
    listener.tls = true;
    snapshot.listeners.insert(key.clone(), entry(listener));
    snapshot.chains.remove(format!("{LISTENER}/plain").as_str());
    let any = VirtualHostKey::new(format!("{LISTENER}/*"));
    let template = (*snapshot.virtual_hosts.remove(&any).unwrap().value).clone();
    let mut ders = Vec::new();
    for tls in hosts {
        let names: Vec<String> = tls.names.iter().map(|&name| name.to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names.clone()).unwrap();
        let certificate = CertificateKey::new(format!("default/{}", tls.host));
        ders.push(made.cert.der().to_vec());
        snapshot.certificates.insert(
            certificate.clone(),
            entry(Certificate {
                chain: vec![made.cert.der().to_vec()],
                key: PrivateKey::new(made.signing_key.serialize_der(), KeyForm::Pkcs8, &[0; 32]),
                names,
                not_before: 0,
                not_after: i64::MAX,
            }),
        );
        let mut virtual_host = template.clone();
        virtual_host.host = HostPattern::Exact(tls.host.to_owned());
        let virtual_key = VirtualHostKey::new(format!("{LISTENER}/{}", tls.host));
        snapshot
            .virtual_hosts
            .insert(virtual_key.clone(), entry(virtual_host));
        snapshot.chains.insert(
            ChainKey::new(format!("{LISTENER}/sni:{}", tls.host)),
            entry(FilterChain {
                listener: key.clone(),
                matches: ChainMatch::Sni(HostPattern::Exact(tls.host.to_owned())),
                tls: Some(ChainTls::Terminate(DownstreamTls {
                    certificate,
                    min_version: tls.least,
                    max_version: TlsVersion::V13,
                    cipher_suites: Vec::new(),
                    ecdh_curves: Vec::new(),
                    alpn: vec!["h2".into(), "http/1.1".into()],
                    client_auth: None,
                })),
                virtual_hosts: vec![virtual_key],
            }),
        );
    }
    ders
}

/// A client that trusts these certificates.
pub(crate) fn client_config(ders: &[Vec<u8>], alpn: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for der in ders {
        roots.add(CertificateDer::from(der.clone())).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

pub(crate) type TlsClient = Client<StreamOwned<ClientConnection, TcpStream>>;

pub(crate) fn connect(address: SocketAddr, ders: &[Vec<u8>], name: &str) -> TlsClient {
    let stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let session = ClientConnection::new(client_config(ders, &[]), name).unwrap();
    Client::over(StreamOwned::new(session, stream))
}

fn served(hosts: &[TlsHost<'_>], change: fn(&mut HttpSettings)) -> (Served, Vec<Vec<u8>>) {
    let origin = origin::start("one");
    let mut build = Build::new(1).route("/", origin).http(change);
    let ders = with_tls(&mut build, hosts);
    (serve(build.build()), ders)
}

fn hosts() -> [TlsHost<'static>; 3] {
    let host = |host, names, least| TlsHost { host, names, least };
    [
        host("a.test", &["a.test", "b.test"], TlsVersion::V12),
        host("b.test", &["b.test"], TlsVersion::V12),
        host("c.test", &["c.test", "a.test"], TlsVersion::V13),
    ]
}

pub(crate) fn ask(client: &mut TlsClient, host: &str) -> u16 {
    client.send(&format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"));
    client.answer().status
}

#[test]
fn the_server_name_chooses_the_chain_and_the_certificate_what_else_is_served() {
    let (served, ders) = served(&hosts(), |_| {});
    let mut a = connect(served.address(), &ders[..1], "a.test");
    a.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
    let answer = a.answer();
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("x-forwarded-proto: https"));
    // The certificate covers b.test too, under an equal policy; c.test is another policy.
    assert_eq!(ask(&mut a, "b.test"), 200);
    assert_eq!(ask(&mut a, "c.test"), 404);
    assert_eq!(ask(&mut a, "d.test"), 404);
    let mut c = connect(served.address(), &ders[2..], "c.test");
    assert_eq!(ask(&mut c, "c.test"), 200);
    assert_eq!(ask(&mut c, "a.test"), 404);
}

#[test]
fn a_matching_port_is_stripped_from_the_host() {
    let (served, ders) = served(&hosts(), |http| http.strip_matching_host_port = true);
    let mut a = connect(served.address(), &ders, "a.test");
    assert_eq!(ask(&mut a, "a.test:8080"), 200);
    assert_eq!(
        ask(&mut a, &format!("a.test:{}", served.address().port())),
        200
    );
    assert_eq!(ask(&mut a, "a.test:1"), 404);
}

#[test]
fn strangers_get_an_alert_and_cleartext_is_closed() {
    let (served, ders) = served(&hosts(), |_| {});
    let mut unknown = connect(served.address(), &ders, "nobody.test");
    let error = unknown.stream.write_all(b"x").unwrap_err().to_string();
    assert!(
        error.contains("UnrecognizedName") || error.contains("UnrecognisedName"),
        "{error}"
    );
    let mut plain = Client::connect(served.address());
    plain.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
    assert!(plain.is_closed());
    // A handshake that never goes on ends with the accept stage's patience.
    let mut stalled = TcpStream::connect(served.address()).unwrap();
    stalled.write_all(&[0x16, 3, 1, 2, 0]).unwrap();
    stalled
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    assert_eq!(stalled.read(&mut [0; 8]).unwrap_or(0), 0);
}
