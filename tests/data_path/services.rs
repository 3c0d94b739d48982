//! SV: services, resolvers, pools (spec/routing §8). Controller namespace `default`.
//!
//! The dialled address is read from the compiled config: it names what the gateway dials, and the
//! other tables show that it does.

use legate_config::cluster::UpstreamProtocol;
use legate_config::{Cluster, EndpointSet};
use legate_testkit::Origin;

use crate::harness::{Case, Gate, base, service, short};

/// The only cluster whose stats name is not a probe's, and its endpoint set's key.
async fn dialled(case: Case) -> (Gate, Cluster, String) {
    let gate = case.start().await;
    let snapshot = gate.running.snapshot();
    let clusters: Vec<Cluster> = snapshot
        .clusters
        .iter()
        .map(|(_, entry)| (*entry.value).clone())
        .collect();
    assert_eq!(
        clusters.len(),
        1,
        "{clusters:#?} {:#?}",
        gate.running.diagnostics()
    );
    let cluster = clusters[0].clone();
    let key = cluster.endpoints.as_str().to_owned();
    let key = match &**snapshot.endpoint_sets.get(&*key).unwrap() {
        EndpointSet::Dns(source) => format!("{}:{}", source.name, source.port),
        EndpointSet::Static { .. } => key,
    };
    (gate, cluster, key)
}

fn in_apps(spec: &str) -> Case {
    base().bare_in("apps", "a", &format!("hostname: \"*\"\nprefix: /\n{spec}"))
}

#[tokio::test]
async fn sv_01() {
    let (_gate, cluster, key) = dialled(base().map("a", "prefix: /\nservice: quote")).await;
    assert_eq!(key, "quote:80");
    assert!(cluster.tls.is_none());
}

#[tokio::test]
async fn sv_02() {
    assert_eq!(dialled(in_apps("service: quote")).await.2, "quote.apps:80");
}

#[tokio::test]
async fn sv_03() {
    let case =
        in_apps("service: quote").module("use_ambassador_namespace_for_service_resolution: true");
    assert_eq!(dialled(case).await.2, "quote:80");
}

#[tokio::test]
async fn sv_04() {
    let (_gate, cluster, key) = dialled(in_apps("service: https://quote")).await;
    assert_eq!(key, "quote.apps:443");
    let tls = cluster.tls.unwrap();
    assert_eq!(
        (tls.sni, tls.ca, tls.client_certificate),
        (None, None, None)
    );
}

#[tokio::test]
async fn sv_05() {
    let (gate, _, key) = dialled(in_apps("service: Quote.Other:8080/path")).await;
    assert_eq!(key, "quote.other:8080");
    gate.diagnoses(&["W-IGNORED"]);
}

#[tokio::test]
async fn sv_06() {
    assert_eq!(
        dialled(in_apps("service: localhost:9000")).await.2,
        "localhost:9000"
    );
}

#[tokio::test]
async fn sv_07() {
    let gate = base()
        .map("a", "prefix: /a/\nservice: ftp://quote")
        .map("g", "prefix: /g/")
        .check(&[("/a/", "500"), ("/g/", "g:/")])
        .await;
    gate.diagnoses(&["E-MAP-SERVICE"]);
}

#[tokio::test]
async fn sv_08() {
    let gate = base()
        .map("a", "prefix: /a/\nservice: quote:http")
        .map("g", "prefix: /g/")
        .check(&[("/a/", "500"), ("/g/", "g:/")])
        .await;
    gate.diagnoses(&["E-MAP-SERVICE"]);
}

#[tokio::test]
async fn sv_09() {
    let gate = base()
        .map("a", "prefix: /\nservice: \"[2001:db8::1]:81\"")
        .start()
        .await;
    let snapshot = gate.running.snapshot();
    let (_, entry) = snapshot.endpoint_sets.iter().next().unwrap();
    let EndpointSet::Static { endpoints } = &*entry.value else {
        panic!("{:?}", entry.value)
    };
    assert_eq!(endpoints[0].address.to_string(), "[2001:db8::1]:81");
}

fn with_context(service: &str) -> Case {
    let pair = legate_testkit::Pair::self_signed(&["client.test"]);
    base()
        .raw(&pair.secret("default", "s"))
        .object("TLSContext", "c", "secret: s")
        .map("a", &format!("prefix: /\nservice: {service}\ntls: c"))
}

#[tokio::test]
async fn sv_10() {
    let (_gate, cluster, key) = dialled(with_context("up.test")).await;
    assert_eq!(key, "up.test:443");
    assert!(cluster.tls.unwrap().client_certificate.is_some());
}

#[tokio::test]
async fn sv_11() {
    let (gate, cluster, key) = dialled(with_context("http://up.test")).await;
    assert_eq!(key, "up.test:443");
    assert!(cluster.tls.is_some());
    gate.diagnoses(&["E-TLS-ORIGINATION"]);
}

#[tokio::test]
async fn sv_12() {
    let gate = base()
        .map("a", "prefix: /a/\nservice: up.test\ntls: nosuch")
        .map("g", "prefix: /g/")
        .check(&[("/a/", "500"), ("/g/", "g:/")])
        .await;
    gate.diagnoses(&["E-TLS-CONTEXT"]);
}

#[tokio::test]
async fn sv_13() {
    let origin = Origin::start("quote").await;
    let case = in_apps("service: quote:8080\nresolver: endpoint").raw(&service(
        "apps",
        "quote",
        8080,
        &[origin.address()],
    ));
    let (gate, _, key) = dialled(case).await;
    assert_eq!(key, "k8s/apps/quote/8080");
    gate.rows(8080, &[("/", "quote:/")]).await;
}

#[tokio::test]
async fn sv_14() {
    let origin = Origin::start("quote").await;
    let case = base()
        .map(
            "a",
            "prefix: /\nservice: quote.apps.svc.cluster.local\nresolver: endpoint",
        )
        .raw(&service("apps", "quote", 80, &[origin.address()]));
    let (gate, _, key) = dialled(case).await;
    assert_eq!(key, "k8s/apps/quote/80");
    gate.rows(8080, &[("/", "quote:/")]).await;
}

#[tokio::test]
async fn sv_15() {
    let gate = base()
        .map("a", "prefix: /\nresolver: nosuch")
        .check(&[("/", "500")])
        .await;
    gate.diagnoses(&["E-MAP-RESOLVER"]);
}

#[tokio::test]
async fn sv_20() {
    let ready = Origin::start("e1").await;
    let unready = Origin::start("e2").await;
    let slice = |name: &str, origin: &Origin, ready: bool| {
        format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}, labels: {{kubernetes.io/service-name: s}}}}\n\
             addressType: IPv4\nports: [{{name: http, port: {}}}]\nendpoints: [{{addresses: [127.0.0.1], conditions: {{ready: {ready}}}}}]\n",
            origin.address().port()
        )
    };
    let gate = base()
        .map("a", "prefix: /\nservice: s\nresolver: endpoint")
        .raw("apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {ports: [{name: http, port: 80}]}")
        .raw(&slice("s-1", &ready, true))
        .raw(&slice("s-2", &unready, false))
        .start()
        .await;
    for _ in 0..6 {
        assert_eq!(short(&gate.send(8080, "/").await), "e1:/");
    }
}

#[tokio::test]
async fn sv_21() {
    let gate = base()
        .map("a", "prefix: /\nservice: nosuch\nresolver: endpoint")
        .start()
        .await;
    let answer = gate.send(8080, "/").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.text(), "no healthy upstream");
}

#[tokio::test]
async fn sv_23() {
    let gate = base()
        .backend("default", "s")
        .map("a", "prefix: /a/\nservice: s\ngrpc: true")
        .map("b", "prefix: /b/\nservice: s")
        .start()
        .await;
    let protocols = [UpstreamProtocol::Http1, UpstreamProtocol::Http2];
    let snapshot = gate.running.snapshot();
    for protocol in protocols {
        let count = snapshot
            .clusters
            .iter()
            .filter(|(_, c)| c.value.protocol == protocol)
            .count();
        assert_eq!(count, 1, "{:#?}", snapshot.clusters);
    }
    assert_eq!(gate.send(8080, "/a/").await.json()["protocol"], "HTTP/2.0");
    assert_eq!(gate.send(8080, "/b/").await.json()["protocol"], "HTTP/1.1");
}

#[tokio::test]
async fn sv_24() {
    let origin = Origin::start("quote").await;
    let gate = in_apps("service: quote\nresolver: endpoint")
        .raw(&service("apps", "quote", 8080, &[origin.address()]))
        .check(&[("/", "quote:/")])
        .await;
    let all = gate.running.diagnostics();
    assert!(
        all.iter()
            .any(|item| item.path == "spec.service" && !item.code.as_str().starts_with('E')),
        "a notice: {all:#?}"
    );
}

#[tokio::test]
async fn sv_25() {
    let gate = base()
        .map("a", "prefix: /a/\nconnect_timeout_ms: 0")
        .map("g", "prefix: /g/")
        .check(&[("/a/", "500"), ("/g/", "g:/")])
        .await;
    gate.diagnoses(&["E-MAP-DURATION"]);
}

/// Not a row: three addresses rotate, one cursor for the cluster.
#[tokio::test]
async fn addresses_rotate() {
    let origins = [
        Origin::start("e1").await,
        Origin::start("e2").await,
        Origin::start("e3").await,
    ];
    let addresses = origins.each_ref().map(Origin::address);
    let gate = base()
        .map("a", "prefix: /\nservice: s\nresolver: endpoint")
        .raw(&service("default", "s", 80, &addresses))
        .start()
        .await;
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..30 {
        *counts
            .entry(short(&gate.send(8080, "/").await))
            .or_insert(0) += 1;
    }
    assert_eq!(
        counts.values().copied().collect::<Vec<_>>(),
        [10, 10, 10],
        "{counts:?}"
    );
}
