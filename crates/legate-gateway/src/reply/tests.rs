use super::*;

/// Reply, status, body, flag, details, whether it closes.
type Row = (Reply, u16, &'static str, &'static str, &'static str, bool);

#[rustfmt::skip] // One row per line.
fn rows() -> Vec<Row> { vec![
    (Reply::route_not_found(), 404, "", "NR", "route_not_found", false),
    (Reply::misdirected(), 421, "", "NR", "misdirected_request", false),
    (Reply::cluster_not_found(), 503, "", "NC", "cluster_not_found", false),
    (Reply::withheld(503, "E-X"), 503, "", "", "E-X", false),
    (Reply::withheld(99, "E-X"), 503, "", "", "E-X", false),
    (Reply::route_timeout(), 504, "upstream request timeout", "UT", "upstream_response_timeout", false),
    (Reply::stream_idle(true), 504, "stream timeout", "SI", "stream_idle_timeout", false),
    (Reply::stream_idle(false), 408, "stream timeout", "SI", "stream_idle_timeout", true),
    (Reply::bad_request("x"), 400, "Bad Request", "DPE", "x", true),
    (Reply::missing_host(), 400, "", "", "missing_host_header", false),
    (Reply::bad_path(), 400, "", "", "path_normalization_failed", false),
    (Reply::low_version(), 426, "", "DPE", "low_version", true),
    (Reply::upgrade_refused(), 403, "", "", "upgrade_failed", false),
    (Reply::ip_denied(), 403, "RBAC: access denied", "", "rbac_access_denied_matched_policy[none]", false),
] }

#[test]
fn every_situation_has_its_status_body_flag_and_details() {
    for (reply, status, body, flag, details, close) in rows() {
        assert_eq!(reply.status.as_u16(), status, "{details}");
        assert_eq!(reply.body, body, "{details}");
        let flags: Vec<_> = reply.flags.iter().map(Flag::as_str).collect();
        assert_eq!(flags.join(","), flag, "{details}");
        assert_eq!(reply.details, details);
        assert_eq!(reply.close, close, "{details}");
        let response = reply.into_response(false);
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(response.headers()[CONTENT_LENGTH], body.len().to_string());
        assert_eq!(
            response
                .headers()
                .get(CONTENT_TYPE)
                .map(HeaderValue::as_bytes),
            (!body.is_empty()).then_some(&b"text/plain"[..])
        );
    }
}

#[test]
fn failures_of_grpc_requests_are_trailers_only() {
    for (status, code) in [
        (400, "13"),
        (401, "16"),
        (403, "7"),
        (404, "12"),
        (429, "14"),
        (502, "14"),
        (503, "14"),
        (504, "14"),
        (413, "2"),
        (500, "2"),
    ] {
        let reply = Reply::new(
            StatusCode::from_u16(status).unwrap(),
            "50% gone\n",
            Flags::NONE,
            "",
        );
        let response = reply.into_response(true);
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/grpc");
        assert_eq!(response.headers()["grpc-status"], code, "{status}");
        assert_eq!(response.headers()["grpc-message"], "50%25 gone%0A");
        assert!(response.body().is_empty());
        assert!(!response.headers().contains_key(CONTENT_LENGTH));
    }
}

#[test]
fn redirects_and_probes_are_never_translated() {
    let redirect = Reply::redirect(308, HeaderValue::from_static("https://a/"));
    let response = redirect.into_response(true);
    assert_eq!(response.status(), 308);
    assert_eq!(response.headers()[LOCATION], "https://a/");
    assert_eq!(
        Reply::redirect(200, HeaderValue::from_static("/")).status,
        301
    );
    let probe = Reply::probe(StatusCode::OK, "alive").into_response(true);
    assert_eq!(probe.body().as_ref(), b"alive");
}

#[test]
fn grpc_is_told_by_the_content_type() {
    for (value, expected) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("application/grpc-web", false),
        ("application/grpcx", false),
        ("text/plain", false),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(value));
        assert_eq!(is_grpc(&headers), expected, "{value}");
    }
    assert!(!is_grpc(&HeaderMap::new()));
}

#[test]
fn flags_are_distinct_and_listed_in_order() {
    let mut flags = Flags::from(Flag::UpstreamTimeout);
    flags.insert(Flag::RetryLimit);
    let text: Vec<_> = flags.iter().map(Flag::as_str).collect();
    assert_eq!(text, ["URX", "UT"]);
    for flag in Flag::ALL {
        assert_eq!(Flag::parse(flag.as_str()), Some(*flag));
    }
    assert!(Flags::NONE.is_empty());
}
