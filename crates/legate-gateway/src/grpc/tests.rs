//! What is taken for an answer.

use std::collections::BTreeMap;

use super::auth::{CheckRequest, CheckResponse};
use super::health::{HealthCheckRequest, HealthCheckResponse};
use super::*;

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        })
        .collect()
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut frame = vec![0, 0, 0, 0, u8::try_from(message.len()).unwrap()];
    frame.extend_from_slice(message);
    frame
}

#[test]
fn a_question_is_framed() {
    let message = HealthCheckRequest {
        service: "ab".to_owned(),
    };
    let question = Question::new(health::CHECK, &message);
    assert_eq!(&*question.frame, b"\0\0\0\0\x04\x0a\x02ab");
    let request = question.request(HeaderValue::from_static("up"), Duration::from_millis(250));
    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
    for (name, value) in [
        ("host", "up"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-timeout", "250m"),
    ] {
        assert_eq!(request.headers()[name], value);
    }
}

#[test]
fn timeouts_have_eight_digits() {
    for (millis, text) in [
        (0, "1m"),
        (20, "20m"),
        (99_999_999, "99999999m"),
        (100_000_000, "100000S"),
        (u64::MAX, "99999999S"),
    ] {
        assert_eq!(timeout_value(Duration::from_millis(millis)), text);
    }
}

#[test]
fn answers_are_told_from_garbage() {
    let found: Result<HealthCheckResponse, _> = message(&framed(b"\x08\x01"));
    assert_eq!(found.unwrap().status, health::SERVING);
    let found: HealthCheckResponse = message(&framed(b"")).unwrap();
    assert_eq!(found.status, 0);
    // Two messages, half a message, a compressed one, no message, and no protobuf.
    let mut two = framed(b"\x08\x01");
    two.extend(framed(b""));
    let mut compressed = framed(b"\x08\x01");
    compressed[0] = 1;
    let half = framed(b"\x08\x01")[..6].to_vec();
    for data in [
        two,
        compressed,
        half,
        Vec::new(),
        framed(b"\x08"),
        framed(b"\xff\xff"),
    ] {
        let found: Result<HealthCheckResponse, _> = message(&data);
        assert!(matches!(found, Err(CallError::Garbage(_))), "{data:?}");
    }
}

#[test]
fn fields_without_a_name_here_are_skipped() {
    // Field 99, a string; then the status with code 7 and details.
    let bytes = b"\x9a\x06\x01x\x0a\x06\x08\x07\x1a\x02\x0a\x00";
    let found: CheckResponse = message(&framed(bytes)).unwrap();
    assert_eq!(found.status.unwrap().code, 7);
}

#[test]
fn maps_and_choices_are_encoded_as_the_protocol_says() {
    let extensions = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
    let attributes = auth::AttributeContext {
        context_extensions: extensions,
        ..auth::AttributeContext::default()
    };
    let message = CheckRequest {
        attributes: Some(attributes),
    };
    assert_eq!(
        message.encode_to_vec(),
        b"\x0a\x08\x52\x06\x0a\x01k\x12\x01v"
    );
    let found = CheckResponse::decode(&b"\x12\x05\x0a\x03\x08\x91\x03"[..]).unwrap();
    match found.http_response {
        Some(auth::HttpResponse::Denied(denied)) => assert_eq!(denied.status.unwrap().code, 401),
        other => panic!("{other:?}"),
    }
}

#[test]
fn statuses() {
    let grpc = ("content-type", "application/grpc+proto");
    assert_eq!(open(StatusCode::OK, &headers(&[grpc])), Ok(()));
    assert!(matches!(
        open(StatusCode::OK, &headers(&[("content-type", "text/html")])),
        Err(CallError::Garbage(_))
    ));
    assert!(matches!(
        open(StatusCode::SERVICE_UNAVAILABLE, &headers(&[])),
        Err(CallError::Status(Code::Unavailable, _))
    ));
    let told = headers(&[grpc, ("grpc-status", "12"), ("grpc-message", "no%20such")]);
    assert_eq!(
        open(StatusCode::OK, &told),
        Err(CallError::Status(Code::Unimplemented, "no such".to_owned()))
    );
    assert_eq!(close(&headers(&[("grpc-status", "0")])), Ok(()));
    assert!(matches!(close(&headers(&[])), Err(CallError::Garbage(_))));
    assert!(matches!(
        close(&headers(&[("grpc-status", "x")])),
        Err(CallError::Status(Code::Unknown, _))
    ));
}
