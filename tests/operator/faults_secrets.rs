//! Secrets that cannot be had: which, and why, is said; what they hold never is.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use legate_operator::rbac::{Scope, SecretScope};
use legate_testkit::Pair;
use legate_testkit::client::{Client, Error, TlsOptions};
use legate_testkit::kube::{Injection, Launch, Legate, Namespace, Rule, eventually};
use libtest_mimic::Trial;

use crate::bench::Bench;
use crate::faults::{PATIENCE, Scene, tells_no_secret};
use crate::instance;
use crate::load::Load;

const LISTENER: &str = "apiVersion: getambassador.io/v3alpha1\nkind: Listener\n\
    metadata: {name: https}\nspec: {port: 8443, protocol: HTTPS, securityModel: XFP, \
    hostBinding: {namespace: {from: ALL}}}\n";

pub(crate) fn trials(bench: &Arc<Bench>) -> Vec<Trial> {
    vec![
        bench.trial("fault_secret_has_three_reasons", reasons),
        bench.trial("fault_secrets_of_listed_namespaces", namespaces),
        bench.trial("fault_secrets_of_listed_names", names),
        bench.trial("fault_planted_secrets_stay_secret", planted),
    ]
}

/// A Host of a name with a Secret of the same name, in some namespace.
async fn host(space: &Namespace, name: &str, namespace: &str) -> Result<(), Error> {
    let yaml = format!(
        "apiVersion: getambassador.io/v3alpha1\nkind: Host\nmetadata: {{name: {name}}}\n\
         spec: {{hostname: {name}.example, tlsSecret: {{name: {name}, namespace: {namespace}}}}}\n"
    );
    space.apply(&yaml).await.map(|_objects| ())
}

/// The Secret of that Host.
async fn secret(space: &Namespace, name: &str) -> Result<Pair, Error> {
    let pair = Pair::self_signed(&[&format!("{name}.example")]);
    space.tls_secret(name, &pair).await?;
    Ok(pair)
}

/// Status of a GET by TLS of a Host; an error if there is no certificate for it.
async fn tls(legate: &Legate, name: &str, path: &str) -> Result<u16, Error> {
    let host = format!("{name}.example");
    let options = TlsOptions::sni(&host);
    let mut client = Client::connect_tls(legate.listener(8443), &options).await?;
    Ok(client.get(&host, path).await?.status.as_u16())
}

/// Waits until a Host is served.
async fn serves(legate: &Legate, name: &str, path: &str) -> Result<(), Error> {
    eventually(&format!("{name} is served"), PATIENCE, async || {
        let status = tls(legate, name, path).await.ok()?;
        (status == 200).then_some(())
    })
    .await
}

/// Waits for a line of the log with all of these words.
async fn says(legate: &Legate, words: &[&str]) -> Result<(), Error> {
    eventually(&format!("the log has {words:?}"), PATIENCE, async || {
        let log = legate.log();
        let mut lines = log.lines();
        lines
            .any(|line| words.iter().all(|word| line.contains(word)))
            .then_some(())
    })
    .await
    .map_err(|error| format!("{error}:\n{}", legate.log()).into())
}

async fn reasons(space: Namespace) -> Result<(), Error> {
    let scene = Scene::start(space).await?;
    let (space, legate) = (&scene.space, &scene.legate);
    space.apply(LISTENER).await?;
    let refused = Injection::Status(StatusCode::FORBIDDEN);
    let garbage = Injection::Body("{\"kind\": \"Secret\", planted-".to_owned());
    for (name, injection) in [("locked", refused), ("torn", garbage)] {
        let rule = Rule::new(injection).method(Method::GET);
        scene.proxy.place(rule.path(&format!("/secrets/{name}")));
        secret(space, name).await?;
    }
    let no = ("TLSReady", "False");
    for (name, code, reason) in [
        ("locked", "W-SECRET-FORBIDDEN", "SecretForbidden"),
        ("torn", "W-SECRET-UNREADABLE", "SecretUnreadable"),
        ("missing", "E-SECRET-MISSING", "SecretNotFound"),
    ] {
        host(space, name, space.name()).await?;
        says(legate, &[code, name]).await?;
        let object = space.wait_for("Host", name, no, PATIENCE).await?;
        assert_eq!(object["status"]["reason"], reason, "{object}");
        assert!(tls(legate, name, "/shop/").await.is_err());
        scene.goes_on().await?;
    }
    scene.proxy.clear();
    secret(space, "missing").await?;
    let yes = ("TLSReady", "True");
    for name in ["locked", "torn", "missing"] {
        space.wait_for("Host", name, yes, PATIENCE).await?;
        serves(legate, name, "/shop/").await?;
    }
    tells_no_secret(legate, &scene.account, &["planted-"]).await?;
    scene.end().await
}

/// Two Secrets of which one may be read, with such flags and rights.
async fn narrow(
    (space, other): (&Namespace, &Namespace),
    flags: [&str; 2],
    scope: SecretScope,
    why: &str,
) -> Result<(), Error> {
    let account = instance::account_with(space, Scope::Cluster, scope).await?;
    space.cleartext().await?;
    space.apply(LISTENER).await?;
    let _origin = space.backend("shop").await?;
    space.mapping("shop", "/shop/", "shop").await?;
    secret(space, "mine").await?;
    secret(other, "theirs").await?;
    host(space, "mine", space.name()).await?;
    host(space, "theirs", other.name()).await?;
    let launch = Launch::new(space, account.kubeconfig()).args(flags);
    let legate = launch.ready().await?;
    let yes = ("TLSReady", "True");
    space.wait_for("Host", "mine", yes, PATIENCE).await?;
    serves(&legate, "mine", "/shop/").await?;
    let load = Load::start(
        legate.listener(8443),
        Some("mine.example"),
        "mine.example",
        "/shop/",
    );
    says(&legate, &["W-SECRET-FORBIDDEN", "theirs", why]).await?;
    let no = ("TLSReady", "False");
    let object = space.wait_for("Host", "theirs", no, PATIENCE).await?;
    let status = &object["status"];
    assert_eq!(status["reason"], "SecretForbidden", "{object}");
    let message = status["errorReason"].as_str().unwrap_or_default();
    assert!(message.contains(why), "{object}");
    // It is followed, too.
    let first = leaf(&legate).await.ok_or("no certificate")?;
    secret(space, "mine").await?;
    eventually("the new certificate serves", PATIENCE, async || {
        (leaf(&legate).await? != first).then_some(())
    })
    .await?;
    load.more(20).await?;
    load.end().await?;
    tells_no_secret(&legate, &account, &[]).await
}

/// The certificate of the Host that may be read.
async fn leaf(legate: &Legate) -> Option<Vec<u8>> {
    let options = TlsOptions::sni("mine.example");
    let client = Client::connect_tls(legate.listener(8443), &options).await;
    Some(client.ok()?.tls()?.leaf.clone())
}

async fn namespaces(space: Namespace) -> Result<(), Error> {
    let other = space.sibling("other").await?;
    let names = vec![space.name().to_owned()];
    let flags = ["--secret-namespaces", space.name()];
    let scope = SecretScope::Namespaces(names);
    narrow((&space, &other), flags, scope, "--secret-namespaces").await
}

async fn names(space: Namespace) -> Result<(), Error> {
    let other = space.sibling("other").await?;
    let names = vec![(space.name().to_owned(), "mine".to_owned())];
    let name = format!("{}/mine", space.name());
    let flags = ["--secret-names", &name];
    let scope = SecretScope::Names(names);
    narrow((&space, &other), flags, scope, "--secret-names").await
}

/// With all that it ever logs.
async fn planted(space: Namespace) -> Result<(), Error> {
    const PLANTED: &str = "planted-5eb0a1";
    let flags = ["--log-level", "trace", "--drain-delay", "0"];
    let mut scene = Scene::start_with(space, &flags).await?;
    let space = &scene.space;
    space.apply(LISTENER).await?;
    let pair = secret(space, "safe").await?;
    host(space, "safe", space.name()).await?;
    serves(&scene.legate, "safe", "/shop/").await?;
    // One that is read and cannot be used, with a copy of its data as kubectl leaves it.
    let bad = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: bad, namespace: {}, annotations: \
         {{kubectl.kubernetes.io/last-applied-configuration: '{PLANTED}'}}}}\n\
         stringData: {{tls.crt: {PLANTED}, tls.key: {PLANTED}, {PLANTED}: {PLANTED}}}\n",
        space.name()
    );
    space.server().apply_yaml(&bad).await?;
    host(space, "bad", space.name()).await?;
    let no = ("TLSReady", "False");
    let object = space.wait_for("Host", "bad", no, PATIENCE).await?;
    assert!(!object["status"].to_string().contains(PLANTED), "{object}");
    // One whose answer is no JSON.
    let torn = format!("{{\"data\": {{\"tls.key\": \"{PLANTED}\"");
    let torn = Rule::new(Injection::Body(torn)).method(Method::GET);
    scene.proxy.place(torn.path("/secrets/torn"));
    secret(space, "torn").await?;
    host(space, "torn", space.name()).await?;
    says(&scene.legate, &["W-SECRET-UNREADABLE", "torn"]).await?;
    scene.goes_on().await?;
    let key = pair.key.lines().nth(1).ok_or("no key")?;
    let words = [PLANTED, "cGxhbnRlZC01ZWIwYTE", key];
    tells_no_secret(&scene.legate, &scene.account, &words).await?;
    let metrics = scene.legate.admin("/metrics").await?.text();
    assert!(words.iter().all(|word| !metrics.contains(word)));
    assert!(scene.legate.log().len() > 10_000, "it logs all it can");
    let ended = scene.legate.terminate(Duration::from_secs(20))?;
    assert!(ended.success());
    let log = scene.legate.log();
    assert!(words.iter().all(|word| !log.contains(word)));
    Ok(())
}
