use super::*;
use crate::request::tests_support::{headers, values};

#[test]
fn some_connection_headers_are_refused() {
    let long = "x".repeat(256);
    let rows: &[(&[(&str, &str)], bool)] = &[
        (&[], true),
        (&[("connection", "keep-alive")], true),
        (&[("connection", "close, x-a, x-b")], true),
        (&[("connection", "X-Forwarded-For")], false),
        (&[("connection", "close, x-forwarded-host")], false),
        (&[("connection", "x-forwarded-proto")], false),
        (&[("connection", ":path")], false),
        (&[("connection", "a,b,c,d,e,f,g,h,i")], true),
        (&[("connection", "a,b,c,d,e,f,g,h,i,j")], false),
        (
            &[("connection", "a,b,c,d,e"), ("connection", "f,g,h,i,j")],
            false,
        ),
        (&[("connection", ",,,,,,,,,,,,")], true),
        (&[("connection", "te"), ("te", "trailers")], true),
        (&[("connection", "te"), ("te", &long)], false),
        (&[("connection", "close"), ("te", &long)], true),
    ];
    for (pairs, accepted) in rows {
        let result = check_connection_header(&headers(pairs));
        assert_eq!(result.is_ok(), *accepted, "{pairs:?}");
        if let Err(reply) = result {
            assert_eq!(reply.status, 400);
        }
    }
}

#[test]
fn hop_by_hop_headers_go() {
    type Pairs<'a> = &'a [(&'a str, &'a str)];
    let rows: &[(Pairs<'_>, bool, Pairs<'_>)] = &[
        (&[("x-a", "1")], false, &[("x-a", "1")]),
        (
            &[
                ("connection", "keep-alive, X-Secret"),
                ("keep-alive", "timeout=5"),
                ("proxy-connection", "keep-alive"),
                ("transfer-encoding", "chunked"),
                ("x-secret", "1"),
                ("x-secret", "2"),
                ("x-a", "1"),
            ],
            false,
            &[("x-a", "1")],
        ),
        (
            &[("connection", "Upgrade"), ("upgrade", "websocket")],
            false,
            &[],
        ),
        (
            &[
                ("connection", "keep-alive, Upgrade"),
                ("upgrade", "websocket"),
            ],
            true,
            &[("connection", "upgrade"), ("upgrade", "websocket")],
        ),
        (&[("connection", "close")], true, &[]),
        (
            &[("te", "gzip, Trailers;q=1")],
            false,
            &[("te", "trailers")],
        ),
        (&[("te", "gzip")], false, &[]),
        (
            &[("te", "gzip"), ("te", "trailers")],
            false,
            &[("te", "trailers")],
        ),
        (
            &[
                ("connection", "host, content-length"),
                ("host", "a"),
                ("content-length", "3"),
            ],
            false,
            &[("host", "a"), ("content-length", "3")],
        ),
        (
            &[
                ("connection", "Upgrade, HTTP2-Settings"),
                ("upgrade", "h2c"),
                ("http2-settings", "x"),
            ],
            false,
            &[],
        ),
        (&[("connection", "\u{e4}, x y, close")], false, &[]),
    ];
    for (pairs, keep_upgrade, expected) in rows {
        let mut map = headers(pairs);
        strip_hop_by_hop(&mut map, *keep_upgrade);
        assert_eq!(map.len(), expected.len(), "{pairs:?} -> {map:?}");
        for (name, value) in *expected {
            assert_eq!(values(&map, name), [*value], "{pairs:?}");
        }
    }
}
