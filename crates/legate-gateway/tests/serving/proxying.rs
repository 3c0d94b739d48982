//! One request at a time.

use legate_config::Action;
use legate_config::http::{IpMode, IpPolicy};
use legate_config::listener::InsecureAction;
use legate_config::policy::{HeaderAdd, HeaderEdits, PolicySet};
use legate_config::route::{Fail, ProbeKind, Redirect, RedirectPath};
use legate_config::template::Template;

use crate::client::Client;
use crate::snapshot::{Build, entry, policies};
use crate::{origin, serve};

#[test]
fn a_request_goes_to_its_route_and_back() {
    let origin = origin::start("one");
    let served = serve(Build::new(1).route("/api/", origin).build());
    let mut client = Client::connect(served.address());
    client.send(
        "GET /api/x?q=1 HTTP/1.1\r\nHost: A.test\r\nConnection: keep-alive\r\nX-A: 1\r\n\r\n",
    );
    let answer = client.answer();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("server"), Some("envoy"));
    assert!(answer.header("date").is_some());
    assert!(answer.header("x-envoy-upstream-service-time").is_some());
    let seen: Vec<&str> = answer.body.lines().collect();
    assert_eq!(seen[..2], ["one", "GET /x?q=1 HTTP/1.1"]);
    for header in [
        "host: A.test",
        "x-a: 1",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: http",
        "x-envoy-original-path: /api/x?q=1",
        "x-envoy-expected-rq-timeout-ms: 3000",
        "x-envoy-external-address: 127.0.0.1",
    ] {
        assert!(seen.contains(&header), "{header} in {seen:?}");
    }
    assert!(!answer.body.contains("connection:"));
    assert!(answer.body.contains("x-request-id: "));
}

#[test]
fn a_connection_carries_many_requests() {
    let origin = origin::start("one");
    let served = serve(Build::new(1).route("/", origin).build());
    let mut client = Client::connect(served.address());
    for turn in 0..50 {
        assert_eq!(client.get(&format!("/{turn}")).status, 200);
    }
    // Pipelined, with bodies of both kinds.
    client.send("POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabcPOST /b HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\n\r\nGET /chunked HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(client.answer().body.ends_with("abc"));
    assert!(client.answer().body.ends_with("xyz"));
    let chunked = client.answer();
    assert!(chunked.body.contains("GET /chunked"));
    assert_eq!(chunked.header("keep-alive"), None);
}

#[test]
fn local_replies_have_their_status_and_keep_the_connection() {
    let origin = origin::start("one");
    let fail = Fail {
        status: 503,
        reason: "E-TEST".into(),
    };
    let redirect = Redirect {
        scheme: None,
        host: Some("b.test".into()),
        path: RedirectPath::Keep,
        status: 302,
    };
    let served = serve(
        Build::new(1)
            .route("/api/", origin)
            .action("/fail/", Action::Fail(fail))
            .action("/old/", Action::Redirect(redirect))
            .action("/alive", Action::Probe(ProbeKind::Alive))
            .action("/ready", Action::Probe(ProbeKind::Ready))
            .build(),
    );
    let mut client = Client::connect(served.address());
    let missing = client.get("/nowhere");
    assert_eq!((missing.status, missing.body.as_str()), (404, ""));
    assert_eq!(missing.header("server"), Some("envoy"));
    assert_eq!(client.get("/fail/").status, 503);
    let moved = client.get("/old/x?y");
    assert_eq!(moved.status, 302);
    assert_eq!(moved.header("location"), Some("http://b.test/old/x?y"));
    assert_eq!(client.get("/alive").body, "Ambassador is alive and well\n");
    assert_eq!(client.get("/ready").status, 200);
    client.send("GET /%00 HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(client.answer().status, 400);
    client.send("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(client.answer().status, 400);
    client.send("POST /nowhere HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello");
    assert_eq!(client.answer().status, 404);
    assert_eq!(client.get("/api/").status, 200);
}

#[test]
fn old_and_malformed_requests_are_closed() {
    let origin = origin::start("one");
    let served = serve(Build::new(1).route("/", origin).build());
    let rows: &[(&str, u16)] = &[
        ("GET / HTTP/1.0\r\n\r\n", 426),
        ("GET\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost : a\r\n\r\n", 400),
        (
            "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
            400,
        ),
        ("\u{16}\u{3}\u{1}binary\r\n\r\n", 400),
    ];
    for (request, status) in rows {
        let mut client = Client::connect(served.address());
        client.send(request);
        assert_eq!(client.answer().status, *status, "{request:?}");
        assert!(client.is_closed(), "{request:?}");
    }
    let mut client = Client::connect(served.address());
    client.send(&format!(
        "GET / HTTP/1.1\r\nx: {}\r\n\r\n",
        "y".repeat(70_000)
    ));
    assert_eq!(client.answer().status, 431);
    let mut client = Client::connect(served.address());
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    let both = client.answer();
    assert_eq!(both.status, 200);
    assert!(both.body.contains("transfer-encoding: chunked") && both.body.ends_with("ok"));
    assert!(!both.body.contains("content-length"));
    assert!(client.is_closed());
}

#[test]
fn head_and_bodiless_statuses_keep_the_connection() {
    let origin = origin::start("one");
    let served = serve(Build::new(1).route_with("/", origin, policies()).build());
    let mut client = Client::connect(served.address());
    client.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n");
    let head = client.headless_answer();
    assert_eq!(
        (head.status, head.header("content-length")),
        (200, Some("77"))
    );
    assert_eq!(client.get("/304").status, 304);
    client.send("HEAD /404 HTTP/1.1\r\nhost: a\r\n\r\n");
    client.headless_answer();
    assert_eq!(client.get("/").status, 200);
}

#[test]
fn upstream_failures_are_explained() {
    let origin = origin::start("one");
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let quick = PolicySet {
        timeout_ms: 100,
        response_headers: HeaderEdits {
            remove: Vec::new(),
            add: vec![HeaderAdd {
                name: "x-r".into(),
                value: Template::literal("r"),
                append: true,
            }],
        },
        ..policies()
    };
    let served = serve(
        Build::new(1)
            .route_with("/", origin, quick)
            .route("/nobody/", nobody)
            .build(),
    );
    let mut client = Client::connect(served.address());
    let refused = client.get("/nobody/");
    assert_eq!(refused.status, 503);
    assert!(
        refused
            .body
            .ends_with("delayed connect error: Connection refused")
    );
    let late = client.get("/slow");
    assert_eq!(
        (late.status, late.body.as_str()),
        (504, "upstream request timeout")
    );
    assert_eq!(late.header("x-r"), Some("r"));
    let gone = client.get("/gone");
    assert_eq!(gone.status, 503);
    assert!(gone.body.ends_with("reset reason: connection termination"));
    // A limit that is over after the headers cuts the response.
    client.send("GET /endless HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(client.try_answer(false).is_none());
}

#[test]
fn idle_streams_end() {
    let origin = origin::start("one");
    let idle = PolicySet {
        timeout_ms: 0,
        idle_timeout_ms: 150,
        ..policies()
    };
    let served = serve(Build::new(1).route_with("/", origin, idle).build());
    let mut client = Client::connect(served.address());
    let late = client.get("/slow");
    assert_eq!((late.status, late.body.as_str()), (504, "stream timeout"));
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc");
    let half = client.answer();
    assert_eq!((half.status, half.body.as_str()), (408, "stream timeout"));
    assert!(client.is_closed());
}

#[test]
fn denied_clients_are_denied_before_anything_else() {
    let deny = IpPolicy {
        mode: IpMode::Allow,
        rules: Vec::new(),
    };
    let served = serve(
        Build::new(1)
            .action("/alive", Action::Probe(ProbeKind::Alive))
            .http(|http| http.ip_policy = Some(deny))
            .build(),
    );
    let mut client = Client::connect(served.address());
    for path in ["/alive", "/nowhere"] {
        let denied = client.get(path);
        assert_eq!(
            (denied.status, denied.body.as_str()),
            (403, "RBAC: access denied")
        );
    }
}

#[test]
fn insecure_requests_are_redirected() {
    let origin = origin::start("one");
    let mut build = Build::new(1).route("/", origin);
    let hosts = &mut build.snapshot.virtual_hosts;
    let (key, old) = hosts
        .iter()
        .next()
        .map(|(key, it)| (key.clone(), it.clone()))
        .unwrap();
    let mut host = (*old.value).clone();
    host.insecure = InsecureAction::Redirect;
    hosts.insert(key, entry(host));
    let served = serve(build.build());
    let mut client = Client::connect(served.address());
    client.send("GET /x?y HTTP/1.1\r\nhost: a.test:80\r\n\r\n");
    let moved = client.answer();
    assert_eq!(moved.status, 301);
    assert_eq!(moved.header("location"), Some("https://a.test/x?y"));
}
