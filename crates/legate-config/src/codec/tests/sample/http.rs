//! HTTP settings.

use crate::http::{
    AccessLog, AccessLogFormat, Compression, GrpcMethod, GrpcMethods, GrpcSettings, GrpcStats,
    HttpSettings, IpMode, IpPolicy, IpRule, IpSource, JsonValue, Underscores,
};
use crate::template::Template;

pub(super) fn settings() -> HttpSettings {
    let template = |text: &str| JsonValue::Template(Template::parse(text).unwrap());
    HttpSettings {
        use_remote_address: false,
        trusted_hops: 3,
        server_name: "s".into(),
        max_request_header_bytes: 1,
        merge_slashes: true,
        reject_escaped_slashes: true,
        strip_matching_host_port: true,
        preserve_external_request_id: true,
        suppress_envoy_headers: true,
        http2_max_concurrent_streams: 7,
        idle_timeout_ms: 0,
        compression: Some(Compression {
            content_types: vec!["text/html".into()],
            min_length: u64::MAX,
            gzip_level: 9,
            gzip_window_bits: 15,
            not_with_etag: true,
            hide_accept_encoding: true,
        }),
        grpc: GrpcSettings {
            web: true,
            http1_bridge: true,
            stats: Some(GrpcStats {
                methods: GrpcMethods::Listed(vec![GrpcMethod {
                    service: "shop.Catalog".into(),
                    name: "List".into(),
                }]),
                upstream_time: true,
            }),
        },
        http10: true,
        underscores: Underscores::Drop,
        max_request_bytes: Some(u64::MAX),
        buffer_limit_bytes: 5,
        ip_policy: Some(IpPolicy {
            mode: IpMode::Deny,
            rules: ["10.1.2.3/8", "fe80::1/64"]
                .map(|range| IpRule {
                    source: IpSource::Peer,
                    range: range.parse().unwrap(),
                })
                .into(),
        }),
        access_log: AccessLog {
            path: "/dev/null".into(),
            format: AccessLogFormat::Json(
                [
                    ("text".to_owned(), template("a%%b %REQ(X-A?:path):12%")),
                    ("empty".to_owned(), template("")),
                    (
                        "list".to_owned(),
                        JsonValue::List(vec![
                            JsonValue::Literal(serde_json::json!(null)),
                            JsonValue::Literal(serde_json::json!(true)),
                            JsonValue::Literal(serde_json::json!(-5)),
                            JsonValue::Literal(serde_json::json!(u64::MAX)),
                            // Is another number after a round trip that is not exact.
                            JsonValue::Literal(serde_json::json!(0.1 + 0.2)),
                            JsonValue::Literal(serde_json::json!(7.038_531e-26)),
                            JsonValue::Object([("in".to_owned(), template("%PROTOCOL%"))].into()),
                        ]),
                    ),
                ]
                .into(),
            ),
        },
    }
}
