//! Restarts with nothing but the last good config on disk.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use legate_config::cluster::{AddressFamilies, DnsMode, DnsSource};
use legate_config::listener::{ChainTls, TlsVersion};
use legate_config::{EndpointSet, EndpointSetKey, FilterChain, Snapshot, Table};
use legate_gateway::{Gateway, GatewayOptions, Metrics, StateDirOptions};

use crate::client::Client;
use crate::snapshot::{Build, entry};
use crate::tls::{TlsHost, ask, connect, with_tls};
use crate::{options, origin};

const LONG: Duration = Duration::from_secs(20);

/// A state directory and the gateways that use it one after the other.
struct Place {
    parent: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            parent: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.parent.path().join("state")
    }

    fn config(&self) -> PathBuf {
        self.path().join("config")
    }

    fn start(&self) -> Gateway {
        self.start_as("default")
    }

    fn start_as(&self, id: &str) -> Gateway {
        let options = GatewayOptions {
            state_dir: Some(StateDirOptions {
                path: self.path(),
                ambassador_id: id.into(),
            }),
            ..options()
        };
        Gateway::start(options, Metrics::new(2)).unwrap()
    }

    /// A gateway that is given a config and ends in an orderly way.
    fn run(&self, snapshot: Snapshot) {
        let gateway = self.start();
        assert_eq!(gateway.apply(Arc::new(snapshot)).rejected, []);
        end(&gateway);
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn end(gateway: &Gateway) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(gateway.drain(false));
}

fn address(gateway: &Gateway) -> SocketAddr {
    gateway.view().listeners[0].bound.unwrap()
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < LONG, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn host(least: TlsVersion) -> [TlsHost<'static>; 1] {
    [TlsHost {
        host: "a.test",
        names: &["a.test"],
        least,
    }]
}

/// A config with a certificate, which is returned, too.
fn secure(id: u64, least: TlsVersion) -> (Snapshot, Vec<Vec<u8>>) {
    let mut build = Build::new(id).route("/", origin::start("one"));
    let ders = with_tls(&mut build, &host(least));
    (build.build(), ders)
}

fn contains(path: &Path, bytes: &[u8]) -> bool {
    let text = fs::read(path).unwrap();
    text.windows(bytes.len()).any(|window| window == bytes)
}

#[test]
fn a_restart_serves_the_same_certificate_without_anybody() {
    let place = Place::new();
    let (snapshot, ders) = secure(7, TlsVersion::V12);
    let root = snapshot.root;
    place.run(snapshot);

    let gateway = place.start();
    assert_eq!(gateway.ready(), Ok(()));
    assert_eq!(gateway.view().snapshot.unwrap().root, root);
    let loaded = gateway.loaded_from_state().unwrap();
    assert_eq!(loaded.root, root);
    assert!(loaded.stored.unwrap().elapsed().unwrap() < LONG);
    let mut client = connect(address(&gateway), &ders, "a.test");
    assert_eq!(ask(&mut client, "a.test"), 200);
    let presented = client.stream.conn.peer_certificates().unwrap();
    assert_eq!(presented[0].as_ref(), ders[0].as_slice());
    // Nothing was stored again.
    let written = fs::metadata(place.config()).unwrap().ino();
    end(&gateway);
    assert_eq!(fs::metadata(place.config()).unwrap().ino(), written);
}

#[test]
fn a_killed_gateway_leaves_its_last_config() {
    let place = Place::new();
    let (snapshot, ders) = secure(1, TlsVersion::V12);
    let gateway = place.start();
    let _ = gateway.apply(Arc::new(snapshot));
    until("not stored", || place.config().exists());
    // As after a kill: nothing of the first one's end has happened yet.
    let again = place.start();
    let mut client = connect(address(&again), &ders, "a.test");
    assert_eq!(ask(&mut client, "a.test"), 200);
    drop(gateway);
}

#[test]
fn the_key_is_in_one_file_that_is_closed_to_others() {
    let place = Place::new();
    let (snapshot, _) = secure(1, TlsVersion::V12);
    let (_, certificate) = snapshot.certificates.iter().next().unwrap();
    let certificate = certificate.clone();
    place.run(snapshot);
    assert_eq!(place.names(), ["config"]);
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&place.path()), 0o700);
    assert_eq!(mode(&place.config()), 0o600);
    let hex: String = (certificate.value.key.der().iter())
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert!(contains(&place.config(), hex.as_bytes()));
}

#[test]
fn a_truncated_file_leaves_it_unready_until_a_config_comes() {
    let place = Place::new();
    place.run(secure(1, TlsVersion::V12).0);
    let whole = fs::read(place.config()).unwrap();
    fs::write(place.config(), &whole[..whole.len() - 1]).unwrap();

    let gateway = place.start();
    assert_eq!(gateway.ready().unwrap_err(), "no config is applied yet");
    assert!(!gateway.view().ready);
    assert_eq!(gateway.loaded_from_state(), None);
    assert_eq!(gateway.view().listeners, []);
    assert_eq!(place.names(), ["config.bad"]);

    let (snapshot, ders) = secure(1, TlsVersion::V12);
    let _ = gateway.apply(Arc::new(snapshot));
    assert_eq!(gateway.ready(), Ok(()));
    let mut client = connect(address(&gateway), &ders, "a.test");
    assert_eq!(ask(&mut client, "a.test"), 200);
    end(&gateway);
    assert_eq!(place.names(), ["config", "config.bad"]);
    assert!(place.start().loaded_from_state().is_some());
}

#[test]
fn the_config_of_another_instance_is_not_served() {
    let place = Place::new();
    place.run(secure(1, TlsVersion::V12).0);
    let gateway = place.start_as("other");
    assert!(gateway.ready().is_err());
    assert_eq!(gateway.view().listeners, []);
    assert_eq!(place.names(), ["config.bad"]);
}

#[test]
fn a_published_config_replaces_the_stored_one() {
    let place = Place::new();
    let (one, two) = (origin::start("one"), origin::start("two"));
    place.run(Build::new(9).route("/", one).build());
    let gateway = place.start();
    let mut client = Client::connect(address(&gateway));
    assert!(client.get("/").body.starts_with("one\n"));
    // Whoever publishes starts again at 1.
    let _ = gateway.apply(Arc::new(Build::new(1).route("/", two).build()));
    assert_eq!(gateway.loaded_from_state(), None);
    assert!(client.get("/").body.starts_with("two\n"));
    end(&gateway);
    let gateway = place.start();
    let mut client = Client::connect(address(&gateway));
    assert!(client.get("/").body.starts_with("two\n"));
}

#[test]
fn an_id_that_comes_again_is_not_taken_for_the_same_config() {
    let place = Place::new();
    let (snapshot, ders) = secure(1, TlsVersion::V12);
    place.run(snapshot);
    let gateway = place.start();
    let mut client = connect(address(&gateway), &ders, "a.test");
    assert_eq!(ask(&mut client, "a.test"), 200);
    let _ = gateway.apply(Arc::new(secure(1, TlsVersion::V13).0));
    // What the chain demands has changed: the connection made under the old demands ends.
    client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
    let answer = client.answer();
    assert_eq!(
        (answer.status, answer.header("connection")),
        (200, Some("close"))
    );
}

#[test]
fn what_was_held_is_held_over_a_restart() {
    let place = Place::new();
    let (snapshot, ders) = secure(1, TlsVersion::V12);
    // The Secret is gone: who serves with it goes on.
    let mut held = snapshot.clone();
    let (key, chain) = snapshot.chains.iter().next().unwrap();
    let chain = FilterChain {
        tls: Some(ChainTls::Hold("the Secret is gone".into())),
        ..FilterChain::clone(&chain.value)
    };
    held.chains.insert(key.clone(), entry(chain));
    held.certificates = Table::default();
    held.root = held.compute_root();
    let held = Arc::new(held);
    let gateway = place.start();
    for snapshot in [Arc::new(snapshot), Arc::clone(&held)] {
        assert_eq!(gateway.apply(Arc::clone(&snapshot)).root, snapshot.root);
    }
    end(&gateway);

    let gateway = place.start();
    let serves = || {
        let mut client = connect(address(&gateway), &ders, "a.test");
        assert_eq!(ask(&mut client, "a.test"), 200);
    };
    serves();
    let _ = gateway.apply(held);
    serves();
}

#[test]
fn names_are_resolved_afresh() {
    let place = Place::new();
    let origin = origin::start("named");
    let mut build = Build::new(1).route("/", origin);
    let set = EndpointSetKey::new(format!("ip/{}/{}", origin.ip(), origin.port()));
    let dns = EndpointSet::Dns(DnsSource {
        name: "localhost".into(),
        port: origin.port(),
        mode: DnsMode::All,
        respect_ttl: false,
        families: AddressFamilies::V4,
    });
    build.snapshot.endpoint_sets.insert(set, entry(dns));
    place.run(build.build());
    assert!(!contains(&place.config(), b"127.0.0.1:"));
    let gateway = place.start();
    let mut client = Client::connect(address(&gateway));
    assert!(client.get("/").body.starts_with("named\n"));
}

#[test]
fn a_directory_that_cannot_be_written_disturbs_nothing() {
    let place = Place::new();
    let origin = origin::start("one");
    let first = Build::new(1).route("/", origin).build();
    let root = first.root;
    place.run(first);
    // For root, who may write anywhere, there is something in the way of the new file.
    fs::create_dir_all(place.path().join("config.new/x")).unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o500)).unwrap();
    let gateway = place.start();
    assert_eq!(gateway.loaded_from_state().unwrap().root, root);
    let mut client = Client::connect(address(&gateway));
    for id in 2..10 {
        let build = Build::new(id).route("/", origin).route("/b/", origin);
        let applied = gateway.apply(Arc::new(build.build()));
        assert_eq!(applied.snapshot, id);
        assert_eq!(client.get("/").status, 200);
    }
    let start = Instant::now();
    drop(client);
    end(&gateway);
    assert!(start.elapsed() < Duration::from_secs(3));
    // The former one is still there.
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(place.start().loaded_from_state().unwrap().root, root);
}

#[test]
fn a_directory_that_cannot_be_made_disturbs_nothing() {
    let place = Place::new();
    fs::write(place.path(), "in the way").unwrap();
    let gateway = place.start();
    assert!(gateway.ready().is_err());
    let origin = origin::start("one");
    let _ = gateway.apply(Arc::new(Build::new(1).route("/", origin).build()));
    assert_eq!(Client::connect(address(&gateway)).get("/").status, 200);
    // Once it can be made, the config is stored without another one coming.
    fs::remove_file(place.path()).unwrap();
    until("not stored", || place.config().exists());
    assert!(place.start().loaded_from_state().is_some());
}
