//! WebSocket and other upgrades.

use std::net::Shutdown;

use legate_config::policy::PolicySet;

use crate::client::Client;
use crate::snapshot::{Build, policies};
use crate::{origin, serve};

const ASK: &str = "Connection: Upgrade\r\nUpgrade: WebSocket\r\nsec-websocket-key: x\r\n\r\n";

fn upgradable() -> PolicySet {
    PolicySet {
        upgrades: vec!["websocket".into()],
        timeout_ms: 300,
        ..policies()
    }
}

#[test]
fn bytes_go_both_ways_after_101() {
    let origin = origin::start("one");
    let served = serve(Build::new(1).route_with("/", origin, upgradable()).build());
    let mut client = Client::connect(served.address());
    client.send(&format!("GET /ws HTTP/1.1\r\nhost: a\r\n{ASK}early"));
    let switched = client.answer();
    assert_eq!(switched.status, 101);
    assert_eq!(switched.header("connection"), Some("upgrade"));
    assert_eq!(client.take(5).unwrap(), "EARLY");
    // The route's timeout is over by now; it ended with the 101.
    std::thread::sleep(std::time::Duration::from_millis(500));
    client.send("hello");
    assert_eq!(client.take(5).unwrap(), "HELLO");
    // A half-close is passed on, and what the other side still says comes back.
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.take(3).unwrap(), "BYE");
    assert!(client.is_closed());
}

#[test]
fn other_answers_are_ordinary_and_refusals_are_403() {
    let origin = origin::start("one");
    let served = serve(
        Build::new(1)
            .route_with("/ws/", origin, upgradable())
            .route("/nows/", origin)
            .build(),
    );
    let mut client = Client::connect(served.address());
    client.send(&format!("GET /nows/ HTTP/1.1\r\nhost: a\r\n{ASK}"));
    let refused = client.answer();
    assert_eq!((refused.status, refused.body.as_str()), (403, ""));
    client.send(&format!("GET /elsewhere HTTP/1.1\r\nhost: a\r\n{ASK}"));
    assert_eq!(client.answer().status, 404);
    client.send(&format!("GET /ws/refuse HTTP/1.1\r\nhost: a\r\n{ASK}"));
    let ordinary = client.answer();
    assert_eq!(ordinary.status, 200);
    assert!(ordinary.body.contains("upgrade: WebSocket"));
    assert_eq!(client.get("/ws/").status, 200);
    // Never tunnelled.
    client.send("CONNECT a.test:443 HTTP/1.1\r\nhost: a.test\r\n\r\n");
    assert_eq!(client.answer().status, 400);
}

#[test]
fn an_upgrade_survives_a_swap() {
    let origin = origin::start("one");
    let served = serve(Build::new(1).route_with("/", origin, upgradable()).build());
    let mut client = Client::connect(served.address());
    client.send(&format!("GET /ws HTTP/1.1\r\nhost: a\r\n{ASK}"));
    assert_eq!(client.answer().status, 101);
    let _ = served
        .gateway
        .apply(std::sync::Arc::new(Build::new(2).build()));
    client.send("still");
    assert_eq!(client.take(5).unwrap(), "STILL");
}
