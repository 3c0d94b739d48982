//! External authorisation over HTTP: the worked examples of spec/services §1.10, and bad answers.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use legate_testkit::{Answer, Client};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::harness::{Case, Gate, base, empty, service, short, upstream_header};
use crate::wire::{Log, within};

/// An authorisation service: answers every check with the same text, and remembers the checks.
pub(crate) struct Judge {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Judge {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Judge {
    /// Answers with this status line and these header lines, and a body.
    pub(crate) async fn says(status: &str, headers: &[&str], body: &str) -> Self {
        let mut text = format!("HTTP/1.1 {status}\r\n");
        if !status.starts_with("204") {
            text.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        for header in headers {
            text.push_str(header);
            text.push_str("\r\n");
        }
        Self::answers(format!("{text}\r\n{body}"), Duration::ZERO).await
    }

    /// Answers with these bytes after a while.
    async fn answers(answer: String, after: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, seen) = (answer.clone(), Arc::clone(&seen));
                tokio::spawn(converse(stream, answer, after, seen));
            }
        });
        Self {
            address,
            asked,
            task,
        }
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// The only check.
    pub(crate) fn check(&self) -> String {
        let asked = self.asked();
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked[0].clone()
    }
}

async fn converse(
    mut stream: TcpStream,
    answer: String,
    after: Duration,
    seen: Arc<Mutex<Vec<String>>>,
) {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let complete = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            body.len() >= length
        });
        if complete {
            seen.lock().unwrap().push(text);
            bytes.clear();
            tokio::time::sleep(after).await;
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
            if answer.contains("content-length: 999") {
                return;
            }
            continue;
        }
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer).await {
            Ok(count) if count > 0 => bytes.extend_from_slice(&buffer[..count]),
            _ => return,
        }
    }
}

/// Adds an AuthService that is this judge, with further fields.
pub(crate) fn asks(case: Case, name: &str, judge: &Judge, spec: &str) -> Case {
    let spec = format!("auth_service: {}\n{spec}", judge.address);
    case.object("AuthService", name, &spec)
}

/// A guarded Mapping `/` with backend `a`.
pub(crate) async fn guarded(judge: &Judge, spec: &str) -> Gate {
    let case = base().map("a", "prefix: /\nrewrite: \"\"");
    asks(case, "auth", judge, spec).start().await
}

pub(crate) async fn post(gate: &Gate, path: &str, body: &str) -> Answer {
    let mut client = Client::connect(gate.address(8080)).await.unwrap();
    let body = Bytes::from(body.to_owned());
    within(client.request("POST", "t", path, &[], body))
        .await
        .unwrap()
}

pub(crate) fn has(check: &str, line: &str) -> bool {
    check.lines().any(|other| other == line)
}

#[tokio::test]
async fn a_01_path_prefix() {
    let judge = Judge::says("200 OK", &[], "").await;
    let gate = guarded(&judge, "path_prefix: /extauth").await;
    gate.rows(8080, &[("/a/b?x=1", "a:/a/b?x=1")]).await;
    let check = judge.check();
    assert!(
        check.starts_with("GET /extauth/a/b?x=1 HTTP/1.1\r\n"),
        "{check}"
    );
    assert!(
        has(&check, "host: t") && has(&check, "content-length: 0"),
        "{check}"
    );
}

#[tokio::test]
async fn a_02_request_headers() {
    let judge = Judge::says("200 OK", &[], "").await;
    let gate = guarded(
        &judge,
        "allowed_request_headers: [X-Tenant]\nadd_auth_headers: {x-from: gate, cookie: none}",
    )
    .await;
    let request = "/ x-tenant:t x-other:o cookie:c peer=192.0.2.5 accept:a content-type:b";
    gate.rows(8080, &[(request, "a:/")]).await;
    let check = judge.check();
    for line in [
        "x-tenant: t",
        "x-from: gate",
        "cookie: none",
        "x-forwarded-for: 192.0.2.5",
        "x-forwarded-proto: http",
    ] {
        assert!(has(&check, line), "{line}: {check}");
    }
    for name in [
        "x-other",
        "cookie: c",
        "accept",
        "content-type",
        "x-request-id",
    ] {
        assert!(!check.contains(&format!("\r\n{name}")), "{name}: {check}");
    }
}

#[tokio::test]
async fn a_03_allowed() {
    let judge = Judge::says("200 OK", &["x-secret: s"], "ignored").await;
    let gate = guarded(&judge, "proto: http").await;
    let answer = gate.send(8080, "/x").await;
    assert_eq!(short(&answer), "a:/x");
    assert_eq!(answer.header("x-secret"), None);
    gate.rows(8080, &[("/y", "a:/y")]).await;
    assert_eq!(judge.asked().len(), 2);
}

#[tokio::test]
async fn a_04_anything_but_200_denies() {
    for status in ["204 No Content", "201 Created", "202 Accepted"] {
        let judge = Judge::says(status, &[], "").await;
        let gate = guarded(&judge, "").await;
        gate.rows(8080, &[("/", &status[..3])]).await;
        assert_eq!(judge.asked().len(), 1);
    }
}

#[tokio::test]
async fn a_05_the_denial_reaches_the_client() {
    let headers = [
        "www-authenticate: Basic",
        "content-type: application/json",
        "x-why: z",
        "set-cookie: a=1",
        "set-cookie: b=2",
    ];
    let judge = Judge::says("401 Unauthorized", &headers, "no").await;
    let mut log = Log::new();
    let settings = log.with("");
    let case = base().module(&settings).map(
        "a",
        "prefix: /\nadd_response_headers: {x-added: {value: extra}}",
    );
    let gate = asks(case, "auth", &judge, "").start().await;
    let answer = gate.send(8080, "/").await;
    assert_eq!(
        (short(&answer).as_str(), answer.text().as_str()),
        ("401", "no")
    );
    assert_eq!(answer.header("www-authenticate"), Some("Basic"));
    assert_eq!(answer.header("x-why"), None);
    assert_eq!(answer.header("content-type"), Some("text/plain"));
    assert_eq!(answer.header("x-added"), Some("extra"));
    assert_eq!(answer.header("x-envoy-upstream-service-time"), None);
    let cookies = answer.headers.get_all("set-cookie").iter().count();
    assert_eq!(cookies, 2);
    let line = log.line().await;
    assert!(line.contains(" 401 UAEX "), "{line}");

    // Listed, they come through; HTTP/2 is the same, and gRPC learns it in its own way.
    let case = base().map("a", "prefix: /");
    let listed = "allowed_authorization_headers: [Content-Type, x-why]";
    let gate = asks(case, "auth", &judge, listed).start().await;
    let mut client = Client::connect_h2c(gate.address(8080)).await.unwrap();
    let answer = within(client.get("t", "/")).await.unwrap();
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-why"), Some("z"));
    assert_eq!(answer.text(), "no");
    let answer = gate
        .send(8080, "POST / content-type:application/grpc")
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("grpc-status"), Some("16"));
    assert_eq!(answer.header("grpc-message"), Some("no"));
    assert_eq!(answer.header("content-type"), Some("application/grpc"));
}

#[tokio::test]
async fn a_06_an_answers_header_replaces_the_clients() {
    let judge = Judge::says("200 OK", &["x-user: ann"], "").await;
    let gate = guarded(&judge, "allowed_authorization_headers: [x-user]").await;
    let answer = gate.send(8080, "/ x-user:eve").await;
    assert_eq!(upstream_header(&answer, "x-user"), ["ann"]);
}

#[tokio::test]
async fn a_07_a_cookie_of_success_goes_upstream() {
    let judge = Judge::says("200 OK", &["set-cookie: s=1"], "").await;
    let gate = guarded(&judge, "").await;
    let answer = gate.send(8080, "/").await;
    assert_eq!(upstream_header(&answer, "set-cookie"), ["s=1"]);
    assert_eq!(answer.header("set-cookie"), None);
}

#[tokio::test]
async fn a_08_a_redirect_to_the_login() {
    let judge = Judge::says("302 Found", &["location: /login"], "").await;
    let gate = guarded(&judge, "").await;
    gate.rows(8080, &[("/", "302 /login")]).await;
}

#[tokio::test]
async fn a_09_the_check_fails() {
    let judge = Judge::says("503 Service Unavailable", &[], "down").await;
    for (spec, expected) in [
        ("", "403"),
        ("status_on_error: {code: 503}", "503"),
        ("failure_mode_allow: true", "a:/"),
    ] {
        let gate = guarded(&judge, spec).await;
        let answer = gate.send(8080, "/").await;
        assert_eq!(short(&answer), expected);
        if expected != "a:/" {
            assert_eq!(answer.text(), "");
        }
    }
}

#[tokio::test]
async fn a_10_the_route_is_selected_again() {
    let judge = Judge::says("200 OK", &["x-tier: gold"], "").await;
    let case = base()
        .map("a", "prefix: /")
        .map("gold", "prefix: /\nheaders: {x-tier: gold}");
    let listed = "allowed_authorization_headers: [x-tier]";
    let gate = asks(case, "auth", &judge, listed).start().await;
    gate.rows(8080, &[("/", "gold:/")]).await;
    assert_eq!(judge.asked().len(), 1, "the second selection does not ask");
    // Nothing matches any more.
    let case = base().map("only", "prefix: /\nregex_headers: {x-tier: \"silver\"}");
    let gate = asks(case, "auth", &judge, listed).start().await;
    gate.rows(8080, &[("/ x-tier:silver", "404")]).await;
}

#[tokio::test]
async fn a_11_the_check_takes_too_long() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned();
    let judge = Judge::answers(answer, Duration::from_secs(3600)).await;
    let gate = guarded(&judge, "timeout_ms: 200").await;
    let began = Instant::now();
    let answer = within(gate.send(8080, "/")).await;
    assert_eq!(short(&answer), "403");
    assert!(began.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_12_misconfigured() {
    let judge = Judge::says("200 OK", &[], "").await;
    let case = base()
        .map("a", "prefix: /")
        .map("open", "prefix: /open/\nbypass_auth: true");
    let spec = "proto: grpc\nprotocol_version: v2";
    let gate = asks(case, "auth", &judge, spec).start().await;
    gate.diagnoses(&["E-AUTH-CONFIG"]);
    let answer = gate.send(8080, "/").await;
    assert_eq!(answer.status, 500);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let json = answer.json();
    assert!(
        json["message"].as_str().unwrap().contains("default/auth"),
        "{json}"
    );
    assert_eq!(json["request_id"].as_str().unwrap().len(), 36, "{json}");
    assert_eq!(json["status_code"], 500, "{json}");
    assert_eq!(json.as_object().unwrap().len(), 3, "{json}");
    let ready = gate.send(8080, "/ambassador/v0/check_ready").await;
    assert_eq!(ready.status, 200);
    gate.rows(8080, &[("/open/", "open:/")]).await;
    assert!(judge.asked().is_empty());
}

#[tokio::test]
async fn a_15_bypass() {
    let judge = Judge::says("401 Unauthorized", &[], "").await;
    let case = base()
        .map("a", "prefix: /")
        .map("open", "prefix: /open/\nbypass_auth: true");
    let gate = asks(case, "auth", &judge, "").start().await;
    gate.rows(8080, &[("/open/", "open:/")]).await;
    assert!(judge.asked().is_empty());
    gate.rows(8080, &[("/", "401")]).await;
}

#[tokio::test]
async fn a_19_headers_to_remove() {
    let remove = "x-envoy-auth-headers-to-remove: authorization, host";
    let judge = Judge::says("200 OK", &[remove], "").await;
    let gate = guarded(&judge, "").await;
    let answer = gate.send(8080, "/ authorization:secret").await;
    assert!(upstream_header(&answer, "authorization").is_empty());
    assert!(upstream_header(&answer, "x-envoy-auth-headers-to-remove").is_empty());
    assert_eq!(answer.json()["host"], "t");
    assert!(has(&judge.check(), "authorization: secret"));
}

#[tokio::test]
async fn a_20_linkerd() {
    let judge = Judge::says("200 OK", &[], "").await;
    let gate = base()
        .map("a", "prefix: /")
        .raw(&service("default", "auth", 3000, &[judge.address]))
        .object(
            "AuthService",
            "auth",
            "auth_service: auth:3000\npath_prefix: /extauth\nadd_linkerd_headers: true",
        )
        .start()
        .await;
    gate.rows(8080, &[("/", "a:/")]).await;
    let check = judge.check();
    assert!(
        has(&check, "l5d-dst-override: auth.default:3000"),
        "{check}"
    );
}

#[tokio::test]
async fn a_21_two_services() {
    let first = Judge::says("200 OK", &[], "").await;
    let second = Judge::says("200 OK", &[], "").await;
    let case = asks(base().map("a", "prefix: /"), "one", &first, "");
    let gate = asks(case, "two", &second, "").start().await;
    gate.diagnoses(&[]);
    let mut client = Client::connect(gate.address(8080)).await.unwrap();
    for _ in 0..100 {
        assert_eq!(short(&client.get("t", "/").await.unwrap()), "a:/");
    }
    assert_eq!((first.asked().len(), second.asked().len()), (50, 50));
    // One that cannot be reached is passed over.
    drop(first);
    for _ in 0..4 {
        assert_eq!(short(&client.get("t", "/").await.unwrap()), "a:/");
    }
}

#[tokio::test]
async fn a_22_redirects_are_not_checked() {
    let judge = Judge::says("401 Unauthorized", &[], "").await;
    let case = empty()
        .l8080()
        .host(
            "any",
            "hostname: \"*\"\nrequestPolicy: {insecure: {action: Redirect}}",
        )
        .map("a", "prefix: /");
    let gate = asks(case, "auth", &judge, "").start().await;
    gate.rows(8080, &[("/x host=t.test", "301 https://t.test/x")])
        .await;
    assert!(judge.asked().is_empty());
}

#[tokio::test]
async fn a_25_an_empty_header_overwrites() {
    let judge = Judge::says("200 OK", &["x-user:"], "").await;
    let gate = guarded(&judge, "allowed_authorization_headers: [x-user]").await;
    let answer = gate.send(8080, "/ x-user:admin").await;
    assert_eq!(upstream_header(&answer, "x-user"), [""]);
}

/// Nobody there, garbage, and an answer that breaks off are errors; too much of it is invalid.
#[tokio::test]
async fn bad_answers() {
    let gate = base()
        .map("a", "prefix: /")
        .object("AuthService", "auth", "auth_service: 127.0.0.1:1")
        .start()
        .await;
    gate.rows(8080, &[("/", "403")]).await;
    let large = format!("x-large: {}", "x".repeat(59 * 1024));
    for (answer, expected) in [
        ("garbage\r\n\r\n".to_owned(), "403"),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\nhalf".to_owned(),
            "403",
        ),
        (
            format!("HTTP/1.1 200 OK\r\n{large}\r\ncontent-length: 0\r\n\r\n"),
            "500",
        ),
    ] {
        let judge = Judge::answers(answer, Duration::ZERO).await;
        let gate = guarded(&judge, "allowed_authorization_headers: [x-large]").await;
        let request = format!("/ x-own:{}", "y".repeat(2048));
        let answer = within(gate.send(8080, &request)).await;
        assert_eq!(short(&answer), expected);
    }
}

/// The time of a check is not the route's, and a check that follows a config change is the new one.
#[tokio::test]
async fn the_routes_timeout_starts_after_the_check() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned();
    let judge = Judge::answers(answer, Duration::from_millis(400)).await;
    let case = base().map("a", "prefix: /\ntimeout_ms: 300");
    let gate = asks(case, "auth", &judge, "").start().await;
    gate.rows(8080, &[("/", "a:/")]).await;
}
