use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::logging::{Format, Level, build};

#[derive(Default)]
struct Fake {
    unready: AtomicBool,
    quit: AtomicBool,
}

impl AdminState for Fake {
    fn ready(&self) -> Result<(), String> {
        if self.unready.load(Ordering::SeqCst) {
            Err("draining".to_owned())
        } else {
            Ok(())
        }
    }

    fn config_dump(&self) -> Value {
        json!({"configs": []})
    }

    fn clusters_text(&self) -> String {
        "a::b\n".to_owned()
    }

    fn clusters_json(&self) -> Value {
        json!({"cluster_statuses": []})
    }

    fn listeners_text(&self) -> String {
        "http::0.0.0.0:8080\n".to_owned()
    }

    fn listeners_json(&self) -> Value {
        panic!("on purpose")
    }

    fn server_info(&self) -> Value {
        json!({"state": "LIVE"})
    }

    fn quit(&self) {
        self.quit.store(true, Ordering::SeqCst);
    }
}

struct Run {
    server: AdminServer,
    state: Arc<Fake>,
    log: LogHandle,
}

fn start() -> Run {
    let state = Arc::new(Fake::default());
    let (_, log) = build(Format::Text, Level::Info, false, std::io::sink);
    let address = ([127, 0, 0, 1], 0).into();
    let server = AdminServer::start(
        &[address, address],
        Arc::clone(&state) as Arc<dyn AdminState>,
        Registry::new(),
        Some(log.clone()),
    )
    .unwrap();
    Run { server, state, log }
}

impl Run {
    /// Sends a request and returns status, head and body.
    fn ask(&self, method: &str, path: &str, headers: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.server.addresses().last().unwrap()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        (code, head.to_owned(), body.to_owned())
    }

    fn get(&self, path: &str) -> (u16, String) {
        let (code, _, body) = self.ask("GET", path, "");
        (code, body)
    }
}

#[test]
fn probes_answer_with_the_words_that_scripts_look_for() {
    let run = start();
    let alive = run.get("/ambassador/v0/check_alive");
    assert_eq!(alive, (200, "Ambassador is alive and well\n".to_owned()));
    let ready = run.get("/ambassador/v0/check_ready");
    assert_eq!(ready, (200, "Ambassador is ready and waiting\n".to_owned()));
    assert_eq!(run.get("/ready"), (200, "LIVE\n".to_owned()));
    run.state.unready.store(true, Ordering::SeqCst);
    assert_eq!(
        run.get("/ambassador/v0/check_ready"),
        (503, "draining\n".to_owned())
    );
    assert_eq!(run.get("/ready").0, 503);
    assert_eq!(run.get("/ambassador/v0/check_alive").0, 200);
}

#[test]
fn views_are_shown() {
    let run = start();
    assert!(run.get("/").1.contains("/config_dump"));
    assert_eq!(run.get("/clusters"), (200, "a::b\n".to_owned()));
    assert!(
        run.get("/clusters?format=json")
            .1
            .contains("cluster_statuses")
    );
    assert_eq!(run.get("/listeners").1, "http::0.0.0.0:8080\n");
    assert!(
        run.get("/config_dump?include_eds")
            .1
            .contains("\"configs\": []")
    );
    assert!(run.get("/server_info").1.contains("LIVE"));
    let (code, head, body) = run.ask("GET", "/metrics", "");
    assert_eq!(code, 200);
    assert!(
        head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    assert!(body.contains("process_resident_memory_bytes"));
    let (_, head, body) = run.ask(
        "GET",
        "/metrics",
        "accept: application/openmetrics-text\r\n",
    );
    assert!(
        head.contains("content-type: application/openmetrics-text"),
        "{head}"
    );
    assert!(body.ends_with("# EOF\n"), "{body}");
}

#[test]
fn a_failing_view_fails_alone() {
    let run = start();
    assert_eq!(run.get("/listeners?format=json").0, 500);
    assert_eq!(run.get("/listeners").0, 200);
}

#[test]
fn changes_need_post() {
    let run = start();
    assert_eq!(run.get("/quitquitquit").0, 405);
    assert_eq!(run.ask("POST", "/clusters", "content-length: 0\r\n").0, 405);
    assert_eq!(run.ask("DELETE", "/ready", "").0, 405);
    assert_eq!(run.get("/runtime").0, 404);
    assert_eq!(run.ask("HEAD", "/ready", "").0, 200);
    assert!(!run.state.quit.load(Ordering::SeqCst));
    assert_eq!(
        run.ask("POST", "/quitquitquit", "origin: http://evil.example\r\n")
            .0,
        403
    );
    assert!(!run.state.quit.load(Ordering::SeqCst));
    assert_eq!(
        run.ask("POST", "/quitquitquit", "content-length: 0\r\n").0,
        200
    );
    assert!(run.state.quit.load(Ordering::SeqCst));
}

#[test]
fn the_log_level_is_shown_and_changed() {
    let run = start();
    assert!(run.get("/logging").1.contains("info"));
    assert_eq!(run.ask("POST", "/logging?level=loud", "").0, 400);
    assert_eq!(run.ask("POST", "/logging", "").0, 400);
    // The subscriber is gone in this test, so the level cannot change; the path answers.
    assert_eq!(run.ask("POST", "/logging?level=debug", "").0, 200);
    assert_eq!(run.log.level(), Level::Info);
}

#[test]
fn nonsense_is_refused_and_the_server_goes_on() {
    let run = start();
    let address = run.server.addresses().first().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .write_all(b"\x16\x03\x01\x02\x00\x01garbage\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    let long = "x".repeat(100_000);
    // The server may close before all of it is written.
    let _ = write!(stream, "GET /{long} HTTP/1.1\r\n\r\n");
    drop(stream);
    assert_eq!(run.get("/ready").0, 200);
}

#[test]
fn a_busy_address_is_named() {
    let run = start();
    let address = *run.server.addresses().first().unwrap();
    let again = AdminServer::start(
        &[address],
        Arc::clone(&run.state) as Arc<dyn AdminState>,
        Registry::new(),
        None,
    );
    assert!(
        again
            .unwrap_err()
            .to_string()
            .contains(&address.to_string())
    );
}
