use std::time::{Duration, SystemTime};

use legate_config::template::Template;

use super::*;
use crate::reply::Flag;
use crate::request::captured::Captured;
use crate::request::client::ClientAddress;
use crate::request::tests_support::{headers, lasting};
use crate::tls::TlsInfo;

fn tls() -> TlsInfo {
    TlsInfo {
        version: "TLSv1.3",
        cipher: "TLS_AES_128_GCM_SHA256",
        sni: Some("a.test".into()),
        http2: true,
        peer: Some(Box::new(PeerCertificate {
            subject: "CN=me".into(),
            issuer: "CN=ca".into(),
            fingerprint_256: "00ff".into(),
            principal: String::new(),
        })),
    }
}

fn full(tls: &TlsInfo) -> Facts<'_> {
    let mut flags = Flags::from(Flag::UpstreamTimeout);
    flags.insert(Flag::RetryLimit);
    let ms = |ms| Some(Duration::from_millis(ms));
    Facts {
        started: SystemTime::UNIX_EPOCH + Duration::from_millis(1_735_787_045_678),
        version: Version::HTTP_2,
        method: "GET",
        path: "/b?q=1",
        authority: "a.test",
        scheme: "https",
        client: Some(lasting(ClientAddress {
            peer: "192.0.2.5:4711".parse().unwrap(),
            trusted: "203.0.113.1".parse().unwrap(),
        })),
        local: Some(lasting("[2001:db8::1]:8443".parse().unwrap())),
        tls: Some(tls),
        connection_id: 17,
        status: 504,
        details: "upstream_response_timeout",
        flags,
        bytes_received: 3,
        bytes_sent: u64::MAX,
        duration: ms(12),
        request_duration: ms(1),
        response_duration: ms(10),
        response_tx_duration: ms(2),
        upstream: Some(lasting("10.8.1.7:8080".parse().unwrap())),
        upstream_local: Some(lasting("10.8.0.1:4000".parse().unwrap())),
        cluster: Some("a_default"),
        attempts: 2,
        transport_failure: Some("TLS_error"),
        route: Some("default/a"),
        hostname: "node-1",
        grpc_status: Some(14),
        metadata: None,
    }
}

fn eval(text: &str, values: &Values<'_>) -> Option<String> {
    let template = Template::parse(text).unwrap();
    let compiled = Compiled::build(&template, &mut Captures::default());
    compiled
        .header_value(values)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

#[test]
fn every_operator_finds_its_value() {
    let tls = tls();
    let facts = full(&tls);
    let request = headers(&[("x-a", "1"), ("x-a", "2"), ("user-agent", "curl/8")]);
    let response = headers(&[("x-envoy-upstream-service-time", "3")]);
    let trailers = headers(&[("x-t", "end")]);
    let values = Values {
        facts: &facts,
        request: Headers::Live(&request),
        response: Headers::Live(&response),
        trailers: Headers::Live(&trailers),
    };
    let rows = [
        ("%PROTOCOL%", "HTTP/2"),
        ("%RESPONSE_CODE%", "504"),
        ("%RESPONSE_CODE_DETAILS%", "upstream_response_timeout"),
        ("%RESPONSE_FLAGS%", "URX,UT"),
        ("%BYTES_RECEIVED%/%BYTES_SENT%", "3/18446744073709551615"),
        ("%DURATION%", "12"),
        ("%REQUEST_DURATION%", "1"),
        ("%RESPONSE_DURATION%", "10"),
        ("%RESPONSE_TX_DURATION%", "2"),
        ("%UPSTREAM_HOST%", "10.8.1.7:8080"),
        ("%UPSTREAM_REMOTE_ADDRESS%", "10.8.1.7:8080"),
        ("%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "10.8.1.7"),
        ("%UPSTREAM_CLUSTER%", "a_default"),
        ("%UPSTREAM_LOCAL_ADDRESS%", "10.8.0.1:4000"),
        ("%UPSTREAM_REQUEST_ATTEMPT_COUNT%", "2"),
        ("%UPSTREAM_TRANSPORT_FAILURE_REASON%", "TLS_error"),
        ("%DOWNSTREAM_REMOTE_ADDRESS%", "203.0.113.1:0"),
        ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "203.0.113.1"),
        ("%DOWNSTREAM_REMOTE_PORT%", "0"),
        ("%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%", "192.0.2.5:4711"),
        (
            "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
            "192.0.2.5",
        ),
        ("%DOWNSTREAM_LOCAL_ADDRESS%", "[2001:db8::1]:8443"),
        ("%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%", "2001:db8::1"),
        ("%DOWNSTREAM_LOCAL_PORT%", "8443"),
        ("%CONNECTION_ID%", "17"),
        ("%REQUESTED_SERVER_NAME%", "a.test"),
        ("%ROUTE_NAME%", "default/a"),
        ("%HOSTNAME%", "node-1"),
        ("%DOWNSTREAM_TLS_VERSION%", "TLSv1.3"),
        ("%DOWNSTREAM_TLS_CIPHER%", "TLS_AES_128_GCM_SHA256"),
        ("%DOWNSTREAM_PEER_SUBJECT%", "CN=me"),
        ("%DOWNSTREAM_PEER_ISSUER%", "CN=ca"),
        ("%DOWNSTREAM_PEER_FINGERPRINT_256%", "00ff"),
        ("%GRPC_STATUS%", "Unavailable"),
        (
            "%REQ(:METHOD)% %REQ(:PATH)% %REQ(:AUTHORITY)% %REQ(:SCHEME)%",
            "GET /b?q=1 a.test https",
        ),
        ("%REQ(Host)%", "a.test"),
        ("%REQ(X-A)%", "1"),
        ("%REQ(X-NONE?X-A)%", "1"),
        ("%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "/b?q=1"),
        ("%REQ(USER-AGENT):4%", "curl"),
        ("%REQ(USER-AGENT):0%x", "x"),
        ("%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%", "3"),
        ("%RESP(:STATUS)%", "504"),
        ("%TRAILER(X-T)%", "end"),
        ("%START_TIME%", "2025-01-02T03:04:05.678Z"),
        ("%START_TIME(%s.%3f)%", "1735787045.678"),
        ("%START_TIME(%H:%M:%S.%f)%", "03:04:05.678000000"),
        ("%START_TIME(%Y/%m/%d)%", "2025/01/02"),
        ("%START_TIME(%Y/%m/%d):4%", "2025"),
        ("100%%", "100%"),
        ("a%DYNAMIC_METADATA(x:y)%b", "ab"),
    ];
    for (text, expected) in rows {
        assert_eq!(eval(text, &values).as_deref(), Some(expected), "{text}");
    }
}

#[test]
fn what_is_missing_is_empty() {
    let facts = Facts::default();
    let values = Values {
        facts: &facts,
        request: Headers::None,
        response: Headers::None,
        trailers: Headers::None,
    };
    for text in [
        "%RESPONSE_CODE_DETAILS%",
        "%DURATION%",
        "%UPSTREAM_HOST%",
        "%UPSTREAM_CLUSTER%",
        "%DOWNSTREAM_REMOTE_ADDRESS%",
        "%DOWNSTREAM_LOCAL_PORT%",
        "%REQUESTED_SERVER_NAME%",
        "%DOWNSTREAM_PEER_SUBJECT%",
        "%GRPC_STATUS%",
        "%REQ(x)%",
        "%RESP(x)%",
        "%TRAILER(x)%",
        "%REQ(:path)%",
        "%REQ(:nonsense)%",
    ] {
        assert_eq!(eval(text, &values), None, "{text}");
    }
    assert_eq!(eval("%RESPONSE_FLAGS%", &values).as_deref(), Some("-"));
}

#[test]
fn captured_headers_stand_for_live_ones() {
    let mut captures = Captures::default();
    let first = Template::parse("%REQ(a)%%REQ(b)%").unwrap();
    let second = Template::parse("%REQ(b)%%REQ(c?a)%").unwrap();
    let first = Compiled::build(&first, &mut captures);
    let second = Compiled::build(&second, &mut captures);
    let map = headers(&[("a", "1"), ("b", "2"), ("d", "4")]);
    let captured: Captured = captures.request.capture(&map);
    let facts = Facts::default();
    let values = Values {
        facts: &facts,
        request: Headers::Captured(&captured),
        response: Headers::None,
        trailers: Headers::None,
    };
    assert_eq!(first.header_value(&values).unwrap(), "12");
    assert_eq!(second.header_value(&values).unwrap(), "21");
}

#[test]
fn a_value_that_is_no_header_value_is_dropped() {
    let facts = Facts {
        route: Some("a\nb"),
        ..Facts::default()
    };
    let values = Values {
        facts: &facts,
        request: Headers::None,
        response: Headers::None,
        trailers: Headers::None,
    };
    assert_eq!(eval("%ROUTE_NAME%", &values), None);
}

#[test]
fn times_of_a_new_second_are_formatted_anew() {
    let at = |ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms);
    let other = TimeFormat::build(Some("%S"));
    let another = TimeFormat::build(Some("[%S]"));
    for (ms, expected) in [
        (0, "1970-01-01T00:00:00.000Z00[00]"),
        (999, "1970-01-01T00:00:00.999Z00[00]"),
        (1000, "1970-01-01T00:00:01.000Z01[01]"),
        (86_399_007, "1970-01-01T23:59:59.007Z59[59]"),
    ] {
        let mut out = Vec::new();
        TimeFormat::Default.push(&mut out, at(ms));
        other.push(&mut out, at(ms));
        another.push(&mut out, at(ms));
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
    assert_eq!(TimeFormat::build(Some("%!")), TimeFormat::Default);
}

proptest::proptest! {
    #[test]
    fn numbers_and_addresses_read_as_anywhere(number: u64, small in 0_u64..2000, ip: std::net::Ipv4Addr, port: u16) {
        for number in [number, small] {
            let mut out = Vec::new();
            push_number(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
        let address = SocketAddr::from((ip, port));
        let mut out = Vec::new();
        Value::Address(&address).push(&mut out, None);
        assert_eq!(String::from_utf8(out).unwrap(), address.to_string());
    }
}
