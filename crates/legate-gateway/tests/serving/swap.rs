//! New snapshots under open connections.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use legate_config::Snapshot;
use legate_gateway::{GatewayOptions, Hooks, PortMap};

use crate::client::Client;
use crate::snapshot::{Build, add_listener};
use crate::{options, origin, serve, serve_with};

#[test]
fn a_swap_changes_the_next_answer_on_open_connections() {
    let (one, two) = (origin::start("one"), origin::start("two"));
    let served = serve(Build::new(1).route("/", one).build());
    let mut clients: Vec<_> = (0..16).map(|_| Client::connect(served.address())).collect();
    for client in &mut clients {
        assert!(client.get("/").body.starts_with("one\n"));
    }
    // One request is under way while the config changes: it keeps the one it started with.
    let mut busy = Client::connect(served.address());
    busy.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
    std::thread::sleep(Duration::from_millis(100));
    let applied = served
        .gateway
        .apply(Arc::new(Build::new(2).route("/", two).build()));
    assert_eq!(applied.snapshot, 2);
    assert_eq!(applied.listeners, served.applied.listeners);
    for client in &mut clients {
        assert!(client.get("/").body.starts_with("two\n"));
    }
    assert!(busy.answer().body.starts_with("one\n"));
    assert!(busy.get("/").body.starts_with("two\n"));
}

#[test]
fn listeners_come_and_go() {
    let origin = origin::start("one");
    let served = serve(Build::new(1).route("/", origin).build());
    let mut build = Build::new(2).route("/", origin);
    add_listener(&mut build.snapshot, "tcp/*/8090", 8090);
    let applied = served.gateway.apply(Arc::new(build.build()));
    let second = applied.listeners[1].bound.unwrap();
    let mut kept = Client::connect(served.address());
    let mut leaving = Client::connect(second);
    assert_eq!(leaving.get("/").status, 200);
    assert_eq!(kept.get("/").status, 200);
    let _ = served
        .gateway
        .apply(Arc::new(Build::new(3).route("/", origin).build()));
    assert!(std::net::TcpStream::connect(second).is_err());
    // The removed listener's connection serves once more and closes; the other one stays.
    let last = leaving.get("/");
    assert_eq!(
        (last.status, last.header("connection")),
        (200, Some("close"))
    );
    assert!(leaving.is_closed());
    assert_eq!(kept.get("/").header("connection"), None);
    assert_eq!(kept.get("/").status, 200);
}

#[test]
fn a_busy_port_is_reported_and_tried_again() {
    let origin = origin::start("one");
    let blocker = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = blocker.local_addr().unwrap().port();
    let options = GatewayOptions {
        hooks: Hooks::default(),
        port_map: PortMap {
            offset: 0,
            overrides: [(8080, port)].into(),
        },
        ..options()
    };
    let served = serve_with(options, Build::new(1).route("/", origin).build());
    let state = &served.applied.listeners[0];
    assert_eq!(state.bound, None);
    assert!(state.error.as_ref().unwrap().contains("in use"));
    drop(blocker);
    let start = Instant::now();
    while served.gateway.view().listeners[0].bound.is_none() {
        assert!(start.elapsed() < Duration::from_secs(5));
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut client = Client::connect(served.gateway.view().listeners[0].bound.unwrap());
    assert_eq!(client.get("/").status, 200);
}

#[test]
fn readiness_follows_the_first_snapshot() {
    let gateway =
        legate_gateway::Gateway::start(options(), legate_gateway::Metrics::new(2)).unwrap();
    assert!(!gateway.view().ready);
    let _ = gateway.apply(Arc::new(Snapshot::default()));
    assert!(gateway.view().ready);
}
