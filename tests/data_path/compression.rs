//! Compression of responses (spec/services §3.10).

use std::io::Read;

use bytes::Bytes;
use legate_testkit::{Answer, Behaviour, Client, Fault, Step};

use crate::harness::{Gate, base, upstream_header};
use crate::wire::{Wire, within};

fn says(headers: &[(&str, &str)]) -> Behaviour {
    Behaviour {
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..Behaviour::default()
    }
}

async fn gate(module: &str, headers: &[(&str, &str)]) -> Gate {
    let gate = base()
        .module(module)
        .backend_with("default", "a", says(headers))
        .map("a", "prefix: /")
        .start()
        .await;
    gate.diagnoses(&[]);
    gate
}

fn unzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    // What is cut off gives what is there.
    let _ = flate2::read::GzDecoder::new(bytes).read_to_end(&mut out);
    out
}

/// The coding of an answer, its length if it has one, and its `vary`.
fn shape(answer: &Answer) -> [Option<&str>; 3] {
    ["content-encoding", "content-length", "vary"].map(|name| answer.header(name))
}

const VARIES: Option<&str> = Some("Accept-Encoding");

#[tokio::test]
async fn gzip() {
    let gate = gate("gzip: {}", &[("content-type", "text/plain; charset=utf-8")]).await;
    let answer = gate
        .send(8080, "/ accept-encoding:gzip x-test-bytes:5000")
        .await;
    assert_eq!(shape(&answer), [Some("gzip"), None, VARIES]);
    assert!(answer.body.len() < 200, "{}", answer.body.len());
    assert_eq!(unzip(&answer.body), vec![b'x'; 5000]);
    let mut client = Client::connect_h2c(gate.address(8080)).await.unwrap();
    let answer = client
        .request(
            "GET",
            "t",
            "/",
            &[("accept-encoding", "gzip"), ("x-test-bytes", "200000")],
            Bytes::new(),
        )
        .await
        .unwrap();
    assert_eq!(shape(&answer), [Some("gzip"), None, VARIES]);
    assert_eq!(unzip(&answer.body), vec![b'x'; 200_000]);
}

#[tokio::test]
async fn what_the_client_accepts() {
    let gate = gate("gzip: {}", &[("content-type", "text/plain")]).await;
    let rows = [
        ("gzip", Some("gzip")),
        ("gzip,_deflate,_br,_zstd", Some("gzip")),
        ("gzip;q=0.5,_br", Some("br")),
        ("gzip;q=0.5,_br;q=0.5,_zstd;q=0.9", Some("zstd")),
        ("gzip;q=0", None),
        ("identity,_gzip;q=0.5", None),
        ("deflate", None),
    ];
    for (accepts, expected) in rows {
        let request = format!("/ accept-encoding:{accepts} x-test-bytes:300");
        let answer = gate.send(8080, &request).await;
        let length = expected.is_none().then_some("300");
        assert_eq!(shape(&answer), [expected, length, VARIES], "{accepts}");
    }
    let answer = gate.send(8080, "/ x-test-bytes:300").await;
    assert_eq!(shape(&answer), [None, Some("300"), VARIES]);
}

/// Types that are not listed, what is too small, encoded already, not to be transformed, or a part.
#[tokio::test]
async fn what_is_left_as_it_is() {
    for (headers, bytes) in [
        (&[("content-type", "image/png")][..], 300),
        (&[], 300),
        (&[("content-type", "application/grpc+json")], 300),
        (&[("content-type", "text/plain")], 29),
        (
            &[
                ("content-type", "text/plain"),
                ("cache-control", "public, no-transform"),
            ],
            300,
        ),
        (
            &[
                ("content-type", "text/plain"),
                ("content-range", "bytes 0-299/900"),
            ],
            300,
        ),
    ] {
        let gate = gate("gzip: {}", headers).await;
        let request = format!("/ accept-encoding:gzip x-test-bytes:{bytes}");
        let answer = gate.send(8080, &request).await;
        let length = bytes.to_string();
        assert_eq!(shape(&answer), [None, Some(&*length), None], "{headers:?}");
    }
    let encoded = [("content-type", "text/plain"), ("content-encoding", "br")];
    let gate = gate("gzip: {}", &encoded).await;
    let answer = gate
        .send(8080, "/ accept-encoding:gzip x-test-bytes:300")
        .await;
    assert_eq!(shape(&answer), [Some("br"), Some("300"), None]);
}

#[tokio::test]
async fn etags() {
    for (module, etag, expected) in [
        ("gzip: {}", "\"strong\"", [Some("gzip"), None]),
        ("gzip: {}", "W/\"weak\"", [Some("gzip"), Some("W/\"weak\"")]),
        (
            "gzip: {disable_on_etag_header: true}",
            "W/\"weak\"",
            [None, Some("W/\"weak\"")],
        ),
        (
            "gzip: {disable_on_etag_header: true}",
            "\"strong\"",
            [None, Some("\"strong\"")],
        ),
    ] {
        let gate = gate(module, &[("content-type", "text/css"), ("etag", etag)]).await;
        let answer = gate
            .send(8080, "/ accept-encoding:gzip x-test-bytes:300")
            .await;
        let found = ["content-encoding", "etag"].map(|name| answer.header(name));
        assert_eq!(found, expected, "{module} {etag}");
        assert_eq!(answer.header("vary"), VARIES);
    }
}

#[tokio::test]
async fn settings() {
    // Another type, another size, and nothing for the upstream to compress.
    let gate = gate(
        "gzip: {content_type: [text/csv], min_content_length: 100, window_bits: 9, compression_level: BEST, remove_accept_encoding_header: true}",
        &[("content-type", "Text/CSV"), ("vary", "Origin, accept-encoding")],
    )
    .await;
    let answer = gate.send(8080, "/ accept-encoding:gzip").await;
    assert_eq!(
        shape(&answer),
        [Some("gzip"), None, Some("Origin, accept-encoding")]
    );
    let told: serde_json::Value = serde_json::from_slice(&unzip(&answer.body)).unwrap();
    assert_eq!(told["headers"]["accept-encoding"], serde_json::Value::Null);
    let answer = gate
        .send(8080, "/ accept-encoding:gzip x-test-bytes:99")
        .await;
    assert_eq!(answer.header("content-encoding"), None);
}

#[tokio::test]
async fn off() {
    for module in ["gzip: {enabled: false}", "gzip: false", "server_name: e"] {
        let gate = base()
            .module(module)
            .backend_with("default", "a", says(&[("content-type", "text/plain")]))
            .map("a", "prefix: /")
            .start()
            .await;
        if module.starts_with("gzip") {
            gate.diagnoses(&["W-MODULE-OFF"]);
        }
        let answer = gate.send(8080, "/ accept-encoding:gzip").await;
        assert_eq!(answer.header("content-encoding"), None, "{module}");
        assert_eq!(answer.header("vary"), None, "{module}");
        assert_eq!(upstream_header(&answer, "accept-encoding"), ["gzip"]);
    }
}

/// Reads a chunk of a chunked body.
async fn chunk(wire: &mut Wire) -> Vec<u8> {
    let mut size = String::new();
    while !size.ends_with("\r\n") {
        size.push(char::from(wire.take(1).await[0]));
    }
    let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
    let mut chunk = wire.take(size + 2).await;
    chunk.truncate(size);
    chunk
}

/// What the upstream sent reaches the client while the upstream is silent, not only at the end.
#[tokio::test]
async fn what_is_there_is_sent() {
    for kind in ["text/event-stream", "text/plain"] {
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n"
        );
        let fault = Fault::start(vec![
            Step::Head,
            Step::say(&head),
            Step::Hold,
            Step::say("9\r\ndata: 2\n\n\r\n0\r\n\r\n"),
            Step::Again,
        ])
        .await;
        let gate = base()
            .module("gzip: {content_type: [text/event-stream, text/plain]}")
            .map("f", &format!("prefix: /\nservice: {}", fault.address()))
            .start()
            .await;
        let mut wire = Wire::connect(gate.address(8080)).await;
        wire.say("GET / HTTP/1.1\r\nhost: t\r\naccept-encoding: gzip\r\n\r\n")
            .await;
        assert!(wire.head().await.contains("content-encoding: gzip\r\n"));
        let mut packed = Vec::new();
        while unzip(&packed) != b"data: 1\n\n" {
            packed.extend(within(chunk(&mut wire)).await);
        }
        fault.release();
        loop {
            let more = within(chunk(&mut wire)).await;
            if more.is_empty() {
                break;
            }
            packed.extend(more);
        }
        assert_eq!(unzip(&packed), b"data: 1\n\ndata: 2\n\n", "{kind}");
    }
}

/// HEAD and responses without a body have nothing to compress.
#[tokio::test]
async fn without_a_body() {
    let fault = Fault::keeps_answering(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 500\r\n\r\n",
    )
    .await;
    let gate = base()
        .module("gzip: {}")
        .map("f", &format!("prefix: /\nservice: {}", fault.address()))
        .start()
        .await;
    let mut wire = Wire::connect(gate.address(8080)).await;
    for _ in 0..2 {
        wire.say("HEAD / HTTP/1.1\r\nhost: t\r\naccept-encoding: gzip\r\n\r\n")
            .await;
        let answer = wire.response_to("HEAD").await;
        assert_eq!(answer.header("content-encoding"), None);
        assert_eq!(answer.header("content-length"), Some("500"));
        assert_eq!(answer.header("vary"), VARIES);
    }
    assert_eq!(fault.tally().connections, 1);
}
