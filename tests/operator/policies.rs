//! Traffic policies from a real API server: what a folder with the same manifests does.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use legate_testkit::client::{Answer, Error};
use legate_testkit::kube::{Launch, Legate, Namespace, condition, eventually, netns};
use legate_testkit::{Behaviour, Origin, Redis};
use libtest_mimic::Trial;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::bench::Bench;
use crate::instance;

const PATIENCE: Duration = Duration::from_secs(20);
const ACCEPTED: (&str, &str) = ("Accepted", "True");

pub(crate) fn trials(bench: &Arc<Bench>) -> Vec<Trial> {
    vec![
        bench.trial("policies_limits_are_kept_and_changed", limits),
        bench.trial("policies_a_store_that_dies_is_told", store),
        bench.trial("policies_who_does_not_answer_is_told", reach),
        bench.trial("policies_authorisation_guards", authorisation),
        bench.trial("policies_balancing_retries_and_checks", upstreams),
    ]
}

/// Listener and Host, and the instance once it is ready.
async fn ready(space: &Namespace) -> Result<Legate, Error> {
    let account = instance::account(space).await?;
    space.cleartext().await?;
    Launch::new(space, account.kubeconfig()).ready().await
}

async fn get(legate: &Legate, path: &str, user: &str) -> Result<Answer, Error> {
    let mut client = legate_testkit::Client::connect(legate.listener(8080)).await?;
    client
        .request(
            "GET",
            "any.example",
            path,
            &[("x-user", user)],
            bytes::Bytes::new(),
        )
        .await
}

/// A RateLimitPolicy and an Edge Stack RateLimit, each limiting a user of its own domain.
async fn limits(space: Namespace) -> Result<(), Error> {
    let legate = ready(&space).await?;
    let _shop = space.backend("shop").await?;
    space
        .apply(
            "apiVersion: legate.dev/v1alpha1\nkind: RateLimitPolicy\nmetadata: {name: users}\n\
             spec: {domain: one, descriptors: [{key: user, rate_limit: {unit: day, requests_per_unit: 2}}]}\n---\n\
             apiVersion: getambassador.io/v3alpha1\nkind: RateLimit\nmetadata: {name: users}\n\
             spec: {domain: two, limits: [{pattern: [{user: \"*\"}], rate: 1, unit: hour}]}\n",
        )
        .await?;
    for domain in ["one", "two"] {
        space
            .apply(&format!(
                "apiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {{name: {domain}}}\n\
                 spec: {{hostname: \"*\", prefix: /{domain}/, service: shop, labels: {{{domain}: \
                 [{{user: [{{request_headers: {{key: user, header_name: x-user}}}}]}}]}}}}\n"
            ))
            .await?;
        space
            .wait_for("Mapping", domain, ("Programmed", "True"), PATIENCE)
            .await?;
    }
    space
        .wait_for("RateLimitPolicy", "users", ACCEPTED, PATIENCE)
        .await?;
    space
        .wait_for("RateLimit", "users", ACCEPTED, PATIENCE)
        .await?;
    for (path, expected) in [("/one/", [200, 200, 429]), ("/two/", [200, 429, 429])] {
        for status in expected {
            let answer = get(&legate, path, "ann").await?;
            assert_eq!(answer.status, status, "{path}");
        }
        assert_eq!(get(&legate, path, "bob").await?.status, 200, "{path}");
    }
    // A larger limit keeps what was counted; a limit that is gone limits nobody.
    space
        .apply(
            "apiVersion: legate.dev/v1alpha1\nkind: RateLimitPolicy\nmetadata: {name: users}\n\
             spec: {domain: one, descriptors: [{key: user, value: ann, rate_limit: {unit: second, requests_per_unit: 0}}]}\n",
        )
        .await?;
    eventually("another limit is in force", PATIENCE, async || {
        let mut answers = Vec::new();
        for user in ["ann", "eve", "eve", "eve"] {
            answers.push(get(&legate, "/one/", user).await.ok()?.status.as_u16());
        }
        (answers == [429, 200, 200, 200]).then_some(())
    })
    .await?;
    space.delete("RateLimitPolicy", "users").await?;
    legate.serves("any.example", "/one/", 200, PATIENCE).await?;
    eventually("nobody is limited", PATIENCE, async || {
        (get(&legate, "/one/", "ann").await.ok()?.status == 200).then_some(())
    })
    .await
}

/// An object once its condition `Reachable` is this. What is found out by asking only is found out by
/// `ask`.
async fn told(
    space: &Namespace,
    (kind, name): (&str, &str),
    status: &str,
    mut ask: impl AsyncFnMut() -> Option<()>,
) -> Result<Value, Error> {
    let what = format!("Reachable of {kind} {name} is {status}");
    eventually(&what, PATIENCE, async || {
        ask().await?;
        let object = space.get(kind, name).await.ok()??;
        (condition(&object, "Reachable") == Some(status)).then_some(object)
    })
    .await
}

/// Services that nobody runs at first: asking tells, and for gRPC the connection does.
async fn reach(space: Namespace) -> Result<(), Error> {
    let legate = ready(&space).await?;
    let _shop = space.backend("shop").await?;
    let away = TcpListener::bind("127.0.0.1:0").await?;
    let address = away.local_addr()?;
    drop(away);
    space
        .apply(&format!(
            "apiVersion: getambassador.io/v3alpha1\nkind: AuthService\nmetadata: {{name: auth}}\n\
             spec: {{auth_service: \"{address}\", proto: http}}\n---\n\
             apiVersion: getambassador.io/v3alpha1\nkind: RateLimitService\nmetadata: {{name: limits}}\n\
             spec: {{service: \"{address}\", protocol_version: v3}}\n---\n\
             apiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {{name: one}}\n\
             spec: {{hostname: \"*\", prefix: /one/, service: shop, labels: {{ambassador: \
             [{{user: [{{request_headers: {{key: user, header_name: x-user}}}}]}}]}}}}\n"
        ))
        .await?;
    legate.serves("any.example", "/one/", 403, PATIENCE).await?;
    let nobody = async || Some(());
    told(&space, ("RateLimitService", "limits"), "False", nobody).await?;
    let ask = async |status| {
        let answer = get(&legate, "/one/", "ann").await.ok()?;
        (answer.status == status).then_some(())
    };
    let auth = ("AuthService", "auth");
    let object = told(&space, auth, "False", async || ask(403).await).await?;
    assert_eq!(condition(&object, "Accepted"), Some("True"));
    let listener = TcpListener::bind(address).await?;
    let _allows = Origin::serve("allows", listener, Behaviour::default(), None);
    told(&space, auth, "True", async || ask(200).await.or(Some(()))).await?;
    Ok(())
}

/// Limits in a Redis that dies and comes back: they hold on their own meanwhile, and the status says so.
async fn store(space: Namespace) -> Result<(), Error> {
    let mut redis = Redis::start().await?;
    let legate = ready(&space).await?;
    let _shop = space.backend("shop").await?;
    space
        .apply(&format!(
            "apiVersion: legate.dev/v1alpha1\nkind: RateLimitPolicy\nmetadata: {{name: users}}\n\
             spec: {{domain: one, enforcement: shared, store: {{service: \"{}\", timeout_ms: 1000}}, \
             descriptors: [{{key: user, rate_limit: {{unit: day, requests_per_unit: 1000}}}}]}}\n---\n\
             apiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {{name: one}}\n\
             spec: {{hostname: \"*\", prefix: /one/, service: shop, labels: {{one: \
             [{{user: [{{request_headers: {{key: user, header_name: x-user}}}}]}}]}}}}\n",
            redis.address()
        ))
        .await?;
    legate.serves("any.example", "/one/", 200, PATIENCE).await?;
    let told = async |status: &str| {
        told(&space, ("RateLimitPolicy", "users"), status, async || {
            assert_eq!(get(&legate, "/one/", "ann").await.ok()?.status, 200);
            Some(())
        })
        .await
    };
    told("True").await?;
    redis.kill();
    let object = told("False").await?;
    assert_eq!(condition(&object, "Accepted"), Some("True"));
    assert_eq!(object["status"]["state"], "Running");
    let reason = object["status"]["reason"].as_str().unwrap_or_default();
    assert!(reason.starts_with("Unreachable: gateway "), "{reason}");
    redis.restart().await?;
    let object = told("True").await?;
    assert_eq!(object["status"]["reason"], "");
    Ok(())
}

/// An AuthService that refuses, one Mapping that bypasses it, and a service that allows.
async fn authorisation(space: Namespace) -> Result<(), Error> {
    let legate = ready(&space).await?;
    let _shop = space.backend("shop").await?;
    let _allows = space.backend("allows").await?;
    let refuses = Behaviour {
        status: Some(401),
        ..Behaviour::default()
    };
    let listener = TcpListener::bind((netns::address(), 8080)).await?;
    let refuses = Origin::serve("refuses", listener, refuses, None);
    space.service("refuses", &[refuses.address()]).await?;
    let auth = |service: &str| {
        format!(
            "apiVersion: getambassador.io/v3alpha1\nkind: AuthService\nmetadata: {{name: auth}}\n\
             spec: {{auth_service: {service}, proto: http}}\n"
        )
    };
    space.apply(&auth("refuses")).await?;
    space.mapping("guarded", "/guarded/", "shop").await?;
    space
        .apply(
            "apiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {name: open}\n\
             spec: {hostname: \"*\", prefix: /open/, service: shop, bypass_auth: true}\n",
        )
        .await?;
    space
        .wait_for("AuthService", "auth", ACCEPTED, PATIENCE)
        .await?;
    legate
        .serves("any.example", "/guarded/", 401, PATIENCE)
        .await?;
    legate
        .serves("any.example", "/open/", 200, PATIENCE)
        .await?;
    space.apply(&auth("allows")).await?;
    let answer = legate
        .serves("any.example", "/guarded/", 200, PATIENCE)
        .await?;
    assert_eq!(answer.json()["name"], "shop");

    // What cannot be used does not take the place of what was good.
    space
        .apply(
            "apiVersion: getambassador.io/v3alpha1\nkind: AuthService\nmetadata: {name: auth}\n\
             spec: {auth_service: allows, proto: grpc, protocol_version: v2}\n",
        )
        .await?;
    space
        .wait_for("AuthService", "auth", ("Accepted", "False"), PATIENCE)
        .await?;
    assert_eq!(get(&legate, "/guarded/", "ann").await?.status, 200);
    Ok(())
}

/// One endpoint of two that is not well, a key that stays with its endpoint, and a retry.
async fn upstreams(space: Namespace) -> Result<(), Error> {
    let legate = ready(&space).await?;
    let mut origins = Vec::new();
    for (name, status) in [("well", None), ("also-well", None), ("ill", Some(503))] {
        let listener = TcpListener::bind((netns::address(), 8080)).await?;
        let how = Behaviour {
            status,
            ..Behaviour::default()
        };
        origins.push(Origin::serve(name, listener, how, None));
    }
    let addresses: Vec<SocketAddr> = origins.iter().map(Origin::address).collect();
    space.service("shop", &addresses).await?;
    let mapping = |name: &str, spec: &str| {
        format!(
            "apiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {{name: {name}}}\n\
             spec: {{hostname: \"*\", prefix: /{name}/, service: shop, resolver: endpoint, {spec}}}\n"
        )
    };
    let specs = [
        (
            "hashed",
            "load_balancer: {policy: ring_hash, header: x-user}, \
             health_checks: [{interval: 1s, health_check: {http: {path: /}}}]",
        ),
        ("retried", "retry_policy: {retry_on: 5xx, num_retries: 2}"),
        ("plain", "circuit_breakers: [{max_requests: 100}]"),
    ];
    for (name, spec) in specs {
        space.apply(&mapping(name, spec)).await?;
    }
    for (name, _) in specs {
        let yes = ("Programmed", "True");
        space.wait_for("Mapping", name, yes, PATIENCE).await?;
    }
    let names = async |path: &str, users: usize| {
        let mut names = BTreeSet::new();
        for user in 0..users {
            let answer = get(&legate, path, &format!("user-{user}")).await?;
            let name = answer.json()["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            names.insert((answer.status.as_u16(), name));
        }
        Ok::<_, Error>(names)
    };
    // Once it was probed, nobody who asks by this route meets the one that is ill.
    eventually("the probe has spoken", PATIENCE, async || {
        let names = names("/hashed/", 60).await.ok()?;
        names.iter().all(|(status, _)| *status == 200).then_some(())
    })
    .await?;
    let first = get(&legate, "/hashed/", "ann").await?.json()["name"].clone();
    for _ in 0..10 {
        assert_eq!(get(&legate, "/hashed/", "ann").await?.json()["name"], first);
    }
    // Others do not know of that probe: they meet it, and those with retries get over it.
    let plain = names("/plain/", 9).await?;
    assert!(plain.contains(&(503, "ill".to_owned())), "{plain:?}");
    let retried = names("/retried/", 9).await?;
    assert!(
        retried.iter().all(|(status, _)| *status == 200),
        "{retried:?}"
    );
    let ill = origins.last().ok_or("no origin")?;
    assert!(ill.seen().requests.load(Ordering::SeqCst) > 3);
    Ok(())
}
