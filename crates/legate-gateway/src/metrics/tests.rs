use prometheus_client::encoding::text::encode;

use super::*;

fn scrape(metrics: &Arc<Metrics>) -> String {
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    text
}

fn line<'a>(text: &'a str, start: &str) -> &'a str {
    text.lines()
        .find(|line| line.starts_with(start))
        .unwrap_or_else(|| panic!("no {start} in\n{text}"))
}

#[rustfmt::skip] // One row per line.
const LINES: &[(&str, &str)] = &[
    ("legate_downstream_connections_total{listener=\"default/http\"}", "2"),
    ("legate_downstream_connections_active{listener=\"default/http\"}", "1"),
    ("legate_requests_total{listener=\"default/http\",code_class=\"2xx\"}", "4000"),
    ("legate_requests_total{listener=\"default/http\",code_class=\"5xx\"}", "2"),
    ("legate_requests_total{listener=\"default/http\",code_class=\"0\"}", "1"),
    ("legate_request_duration_seconds_bucket{le=\"0.0005\",listener=\"default/http\"}", "2"),
    ("legate_request_duration_seconds_bucket{le=\"0.001\",listener=\"default/http\"}", "4002"),
    ("legate_request_duration_seconds_bucket{le=\"60.0\",listener=\"default/http\"}", "4002"),
    ("legate_request_duration_seconds_bucket{le=\"+Inf\",listener=\"default/http\"}", "4003"),
    ("legate_request_duration_seconds_count{listener=\"default/http\"}", "4003"),
    ("legate_request_duration_seconds_sum{listener=\"default/http\"}", "1002.8"),
    ("legate_upstream_requests_total{code_class=\"2xx\"}", "4000"),
    ("legate_local_replies_total{flag=\"NR\"}", "1"),
    ("legate_local_replies_total{flag=\"UH\"}", "0"),
    ("legate_local_replies_total{flag=\"-\"}", "1"),
    ("legate_tls_handshakes_total{result=\"unrecognized_name\"}", "1"),
    ("legate_access_log_dropped_total", "7"),
    ("legate_config_generation", "12"),
    ("legate_config_info{hash=", "1"),
    ("legate_config_from_state", "1"),
    ("legate_state_writes_total{result=\"ok\"}", "2"),
    ("legate_state_writes_total{result=\"failed\"}", "1"),
];

#[test]
fn counts_of_all_threads_are_summed() {
    let metrics = Metrics::new(2);
    let listener = metrics.listener("default/http");
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let listener = metrics.listener("default/http");
            let metrics = Arc::clone(&metrics);
            std::thread::spawn(move || {
                for _ in 0..1000 {
                    listener.request(200, Duration::from_micros(700));
                    metrics.upstream_response(200);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    listener.request(503, Duration::from_secs(1000));
    listener.request(0, Duration::ZERO);
    listener.request(999, Duration::ZERO);
    let open = listener.connection();
    drop(listener.connection());
    metrics.local_reply(Flags::from(Flag::NoRoute));
    metrics.local_reply(Flags::NONE);
    metrics.tls_handshake(HandshakeResult::UnknownName);
    metrics.access_log_dropped(7);
    metrics.config_applied(12, Hash128::of_bytes(b"x"));
    metrics.config_from_state(true);
    for ok in [true, false, true] {
        metrics.state_write(ok);
    }
    let text = scrape(&metrics);
    for (start, value) in LINES {
        let found = line(&text, start);
        assert_eq!(found.rsplit(' ').next(), Some(*value), "{found}");
    }
    drop(open);
    let text = scrape(&metrics);
    assert!(line(&text, "legate_downstream_connections_active").ends_with(" 0"));
}

#[test]
fn a_returning_listener_continues_its_counters() {
    let metrics = Metrics::new(1);
    metrics.listener("a").request(200, Duration::ZERO);
    metrics.listener("a").request(200, Duration::ZERO);
    let text = scrape(&metrics);
    assert!(
        line(
            &text,
            "legate_requests_total{listener=\"a\",code_class=\"2xx\"}"
        )
        .ends_with(" 2")
    );
}
