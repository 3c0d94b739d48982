//! Labels of requests, with and without what they name.

use http::Request;
use legate_config::limit::{Label, LabelGroup, Labels};

use super::*;
use crate::request::tests_support::settings;

fn labels(groups: Vec<LabelGroup>) -> CompiledLabels {
    let labels = Labels {
        domains: [("d".to_owned(), groups)].into(),
    };
    CompiledLabels::build(&labels).unwrap()
}

fn head(request: http::request::Builder) -> Parts {
    request.body(()).unwrap().into_parts().0
}

/// The descriptors as texts, `key=value` with commas.
fn found(labels: &CompiledLabels, head: &Parts, honour: bool) -> Vec<String> {
    let settings = settings();
    let facts = LabelFacts {
        client: "10.0.0.9".parse().unwrap(),
        cluster: "up",
        scheme: "https",
        settings: &settings,
        strip_ports: Some(&[8443]),
    };
    let sources = labels.sources(head, facts);
    let domain = labels.domain("d").unwrap();
    let mut all = Vec::new();
    domain.descriptors(&sources, honour, |descriptor| {
        let entries = descriptor.iter();
        let entries = entries.map(|entry| format!("{}={}", entry.key, entry.value));
        all.push(entries.collect::<Vec<_>>().join(","));
    });
    all
}

fn header(key: &str, header: &str) -> Label {
    Label::RequestHeader {
        key: key.into(),
        header: header.into(),
    }
}

#[test]
fn every_kind_has_its_key_and_value() {
    let written_key = Some("mine".to_owned());
    let labels = labels(vec![
        vec![
            Label::SourceCluster {
                written_key: written_key.clone(),
                value: "ambassador-default".into(),
            },
            Label::DestinationCluster { written_key: None },
        ],
        vec![Label::RemoteAddress { written_key }],
        vec![
            Label::Generic {
                key: "k".into(),
                value: "v".into(),
            },
            header("user", "x-user"),
        ],
    ]);
    let request = Request::get("/")
        .header("x-user", "u")
        .header("x-user", "w");
    let head = head(request);
    assert_eq!(
        found(&labels, &head, false),
        [
            "source_cluster=ambassador-default,destination_cluster=up",
            "remote_address=10.0.0.9",
            "k=v,user=u",
        ]
    );
    assert_eq!(
        found(&labels, &head, true),
        [
            "mine=ambassador-default,destination_cluster=up",
            "mine=10.0.0.9",
            "k=v,user=u",
        ]
    );
}

#[test]
fn a_group_without_one_of_its_values_is_left_out() {
    let address = Label::RemoteAddress { written_key: None };
    let groups = vec![vec![address.clone()], vec![address, header("u", "x-user")]];
    let labels = labels(groups);
    for request in [Request::get("/"), Request::get("/").header("x-user", "")] {
        let found = found(&labels, &head(request), false);
        assert_eq!(found, ["remote_address=10.0.0.9"]);
    }
}

#[test]
fn values_that_are_no_text_count_all_the_same() {
    let labels = labels(vec![vec![header("u", "x-user")]]);
    let value = http::HeaderValue::from_bytes(b"a\xff").unwrap();
    let found = found(
        &labels,
        &head(Request::get("/").header("x-user", value)),
        false,
    );
    assert_eq!(found, ["u=a\u{fffd}"]);
}

#[test]
fn parts_of_the_request_line() {
    let line = [":authority", ":method", ":path", ":scheme"].map(|name| header(name, name));
    let labels = labels(vec![line.to_vec()]);
    for (uri, path) in [
        ("/a/b?c=/../d", "/a/b?c=/../d"),
        ("/a/../b?c", "/b?c"),
        ("/", "/"),
    ] {
        let request = Request::put(uri).header("host", "A.test:8443");
        assert_eq!(
            found(&labels, &head(request), false),
            [format!(
                ":authority=a.test,:method=PUT,:path={path},:scheme=https"
            )]
        );
    }
    // Without a usable host nothing is known of the line.
    assert!(found(&labels, &head(Request::get("/")), false).is_empty());
}

#[test]
fn the_longest_address_fits() {
    let address: IpAddr = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap();
    assert_eq!(AddressText::new(address).as_str(), address.to_string());
}
