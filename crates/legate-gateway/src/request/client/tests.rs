use super::*;
use crate::request::tests_support::{headers, settings, values};

fn peer(address: &str) -> Peer {
    Peer::new((address.parse::<IpAddr>().unwrap(), 4711).into())
}

/// `use_remote_address`, hops, peer, incoming lines, trusted, towards the upstream.
type AddressRow = (
    bool,
    u32,
    &'static str,
    &'static [&'static str],
    &'static str,
    &'static str,
);

// H-10 to H-14 of the specification first.
#[rustfmt::skip] // One row per line.
const ADDRESSES: &[AddressRow] = &[
    (true, 0, "192.0.2.5", &[], "192.0.2.5", "192.0.2.5"),
    (true, 0, "192.0.2.5", &["203.0.113.128, 203.0.113.10"], "192.0.2.5", "203.0.113.128, 203.0.113.10,192.0.2.5"),
    (true, 1, "192.0.2.11", &["203.0.113.128, 203.0.113.10, 203.0.113.1"], "203.0.113.1", "203.0.113.128, 203.0.113.10, 203.0.113.1,192.0.2.11"),
    (true, 2, "192.0.2.11", &["203.0.113.10"], "192.0.2.11", "203.0.113.10,192.0.2.11"),
    (true, 1, "192.0.2.5", &["garbage"], "192.0.2.5", "garbage,192.0.2.5"),
    (true, 1, "192.0.2.5", &[], "192.0.2.5", "192.0.2.5"),
    (true, 0, "192.0.2.5", &[""], "192.0.2.5", "192.0.2.5"),
    (true, 2, "9.9.9.9", &["1.1.1.1", "2.2.2.2"], "1.1.1.1", "1.1.1.1,2.2.2.2,9.9.9.9"),
    (true, 1, "9.9.9.9", &["1.1.1.1,"], "9.9.9.9", "1.1.1.1,,9.9.9.9"),
    (false, 0, "9.9.9.9", &["1.1.1.1, 2.2.2.2"], "2.2.2.2", "1.1.1.1, 2.2.2.2"),
    (false, 1, "9.9.9.9", &["1.1.1.1, 2.2.2.2"], "1.1.1.1", "1.1.1.1, 2.2.2.2"),
    (false, 2, "9.9.9.9", &["1.1.1.1, 2.2.2.2"], "9.9.9.9", "1.1.1.1, 2.2.2.2"),
    (false, 0, "9.9.9.9", &[], "9.9.9.9", ""),
    (true, 1, "::ffff:9.9.9.9", &["::ffff:1.2.3.4"], "1.2.3.4", "::ffff:1.2.3.4,9.9.9.9"),
    (true, 1, "2001:db8::1", &["2001:db8::3, 2001:db8::2"], "2001:db8::2", "2001:db8::3, 2001:db8::2,2001:db8::1"),
    (true, 4_294_967_295, "9.9.9.9", &["1.1.1.1"], "9.9.9.9", "1.1.1.1,9.9.9.9"),
    (false, 4_294_967_295, "9.9.9.9", &["1.1.1.1"], "9.9.9.9", "1.1.1.1"),
];

#[test]
fn the_trusted_address_depends_on_the_hops_in_front() {
    for (use_remote_address, hops, address, incoming, trusted, upstream) in ADDRESSES {
        let mut settings = settings();
        settings.use_remote_address = *use_remote_address;
        settings.trusted_hops = *hops;
        let peer = peer(address);
        let mut map = headers(&[]);
        for line in *incoming {
            map.append(X_FORWARDED_FOR, HeaderValue::from_static(line));
        }
        let client = decide(&map, &peer, &settings);
        assert_eq!(client.trusted.to_string(), *trusted, "{incoming:?}");
        apply_forwarded(&mut map, &peer, &client, false, &settings);
        assert_eq!(
            values(&map, "x-forwarded-for").join("|").trim(),
            upstream.trim()
        );
        assert_eq!(values(&map, "x-envoy-external-address"), [*trusted]);
        let port = if client.trusted == peer.address.ip() {
            4711
        } else {
            0
        };
        assert_eq!(client.remote(), SocketAddr::new(client.trusted, port));
    }
}

/// `use_remote_address`, hops, TLS, incoming lines, towards the upstream, https?, scheme.
type ProtoRow = (
    bool,
    u32,
    bool,
    &'static [&'static str],
    &'static str,
    bool,
    &'static str,
);

#[rustfmt::skip] // One row per line.
const PROTOS: &[ProtoRow] = &[
    (true, 0, false, &["https"], "http", false, "http"),
    (true, 0, true, &["http"], "https", true, "https"),
    (true, 0, true, &[], "https", true, "https"),
    (true, 1, false, &["https"], "https", true, "https"),
    (true, 1, true, &["http"], "http", false, "http"),
    (true, 1, false, &["HTTPS"], "HTTPS", false, "http"),
    (true, 1, false, &["https, http"], "https, http", false, "http"),
    (true, 1, true, &["https", "https"], "https|https", false, "https"),
    (true, 1, true, &[], "https", true, "https"),
    (false, 0, false, &["https"], "https", true, "https"),
    (false, 0, false, &[], "http", false, "http"),
];

#[test]
fn forwarded_proto_is_trusted_only_behind_a_proxy() {
    for (use_remote_address, hops, tls, incoming, upstream, https, scheme) in PROTOS {
        let mut settings = settings();
        settings.use_remote_address = *use_remote_address;
        settings.trusted_hops = *hops;
        let mut map = headers(&[]);
        for line in *incoming {
            map.append(X_FORWARDED_PROTO, HeaderValue::from_static(line));
        }
        let peer = peer("192.0.2.5");
        let client = decide(&map, &peer, &settings);
        let forwarded = apply_forwarded(&mut map, &peer, &client, *tls, &settings);
        assert_eq!(values(&map, "x-forwarded-proto").join("|"), *upstream);
        assert_eq!(forwarded.proto_is_https, *https, "{incoming:?}");
        assert_eq!(forwarded.scheme, *scheme, "{incoming:?}");
    }
}

#[test]
fn clients_cannot_send_what_only_proxies_may() {
    let mut map = headers(&[
        ("x-forwarded-client-cert", "By=me"),
        ("expect", "100-continue"),
        ("x-envoy-peer-metadata", "kept"),
        ("x-envoyage", "kept"),
        ("x-forwarded-host", "kept"),
    ]);
    for name in &FROM_PROXIES_ONLY {
        map.append(name, HeaderValue::from_static("1"));
        map.append(name, HeaderValue::from_static("2"));
    }
    let mut settings = settings();
    settings.suppress_envoy_headers = true;
    let peer = peer("192.0.2.5");
    let client = decide(&map, &peer, &settings);
    apply_forwarded(&mut map, &peer, &client, false, &settings);
    let mut names: Vec<_> = map.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "x-envoy-peer-metadata",
            "x-envoyage",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-request-id"
        ]
    );
}

#[test]
fn request_ids_are_fresh_uuids_unless_kept() {
    let mut settings = settings();
    let peer = peer("192.0.2.5");
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let mut map = headers(&[("x-request-id", "mine")]);
        let client = decide(&map, &peer, &settings);
        apply_forwarded(&mut map, &peer, &client, false, &settings);
        let id = values(&map, "x-request-id").join("|");
        assert_eq!(id.len(), 36);
        let dashes: Vec<_> = id.match_indices('-').map(|(at, _)| at).collect();
        assert_eq!(dashes, [8, 13, 18, 23], "{id}");
        assert_eq!(id.as_bytes()[14], b'4', "{id}");
        assert!(b"89ab".contains(&id.as_bytes()[19]), "{id}");
        assert!(
            id.bytes()
                .all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
        );
        assert!(seen.insert(id));
    }
    settings.preserve_external_request_id = true;
    let mut map = headers(&[("x-request-id", "mine")]);
    let client = decide(&map, &peer, &settings);
    apply_forwarded(&mut map, &peer, &client, false, &settings);
    assert_eq!(values(&map, "x-request-id"), ["mine"]);
}

#[test]
fn numbers_become_values() {
    for number in [0, 7, 10, 12_345, u64::MAX] {
        assert_eq!(value_of_digits(number), number.to_string());
    }
}
