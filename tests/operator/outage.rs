//! The API server goes away and comes back; the gateway goes on (operator.md §§2, 6, 7).

use std::sync::Arc;
use std::time::Duration;

use legate_testkit::Pair;
use legate_testkit::client::{Client, Error, TlsOptions};
use legate_testkit::kube::{ApiServer, Launch, Legate, Namespace};
use libtest_mimic::Trial;

use crate::bench::{self, Bench};
use crate::instance;
use crate::load::Load;

const PATIENCE: Duration = Duration::from_secs(30);

/// How long the API server is unreachable; the long run takes a minute.
const SHORT: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_secs(60);

pub(crate) fn trials(bench: &Arc<Bench>) -> Vec<Trial> {
    vec![
        bench.alone("outage_serves_on_and_restarts_from_disk", outage),
        bench.alone("outage_of_crds_loses_no_request", crds_deleted),
        bench.trial("last_good_survives_a_new_process", last_good),
        bench.trial("a_secret_that_goes_or_breaks_serves_on", secrets),
    ]
}

const HTTPS: &str = "apiVersion: getambassador.io/v3alpha1\nkind: Listener\nmetadata: {name: https}\n\
    spec: {port: 8443, protocol: HTTPS, securityModel: XFP, \
    hostBinding: {namespace: {from: ALL}}}\n---\n\
    apiVersion: getambassador.io/v3alpha1\nkind: Host\nmetadata: {name: safe}\n\
    spec: {hostname: safe.example, tlsSecret: {name: cert}}\n";

/// Status of a GET by TLS, and the certificate's names were checked by nobody: the first bytes of
/// the certificate say which one it is.
async fn tls(legate: &Legate, path: &str) -> Result<(u16, Vec<u8>), Error> {
    let options = TlsOptions::sni("safe.example");
    let mut client = Client::connect_tls(legate.listener(8443), &options).await?;
    let info = client.tls().ok_or("no TLS")?;
    let certificate = info.leaf.clone();
    let answer = client.get("safe.example", path).await?;
    Ok((answer.status.as_u16(), certificate))
}

async fn outage(server: Arc<ApiServer>) -> Result<(), Error> {
    let space = Namespace::create(&server, "outage").await?;
    let account = instance::account(&space).await?;
    let pair = Pair::self_signed(&["safe.example"]);
    space.tls_secret("cert", &pair).await?;
    space.cleartext().await?;
    space.apply(HTTPS).await?;
    let _origin = space.backend("shop").await?;
    space.mapping("shop", "/shop/", "shop").await?;
    let state = tempfile::tempdir()?;
    let folder = state.path().to_string_lossy().into_owned();
    let launch = Launch::new(&space, account.kubeconfig()).args(["--state-dir", &folder]);
    let mut first = launch.ready().await?;
    let (status, certificate) = tls(&first, "/shop/").await?;
    assert_eq!(status, 200);

    let load = Load::start(first.listener(8080), None, "any.example", "/shop/");
    load.more(50).await?;
    server.kill();
    tokio::time::sleep(if bench::long() { LONG } else { SHORT }).await;
    load.more(50).await?;
    assert!(first.is_ready().await, "losing the API server is no reason");

    // Another process, which never saw the API server, serves from what the first one left.
    let copy = tempfile::tempdir()?;
    std::fs::copy(state.path().join("config"), copy.path().join("config"))?;
    let from_copy = copy.path().to_string_lossy().into_owned();
    let second = Launch::new(&space, account.kubeconfig()).args(["--state-dir", &from_copy]);
    let mut second = second.ready().await?;
    assert_eq!(tls(&second, "/shop/").await?, (200, certificate.clone()));

    // A third finds half a file: it waits, unready, and keeps what it found aside.
    let broken = tempfile::tempdir()?;
    let whole = std::fs::read(state.path().join("config"))?;
    std::fs::write(broken.path().join("config"), &whole[..whole.len() / 2])?;
    let from_broken = broken.path().to_string_lossy().into_owned();
    let third = Launch::new(&space, account.kubeconfig()).args(["--state-dir", &from_broken]);
    let mut third = third.start()?;
    legate_testkit::kube::eventually("it is set aside", PATIENCE, async || {
        broken.path().join("config.bad").exists().then_some(())
    })
    .await?;
    assert!(!third.is_ready().await);
    assert!(third.process().ended()?.is_none(), "it crashed");

    // Everything converges, and nothing failed meanwhile.
    server.start().await?;
    space.mapping("late", "/late/", "shop").await?;
    for legate in [&first, &second, &third] {
        legate
            .serves("any.example", "/late/", 200, PATIENCE)
            .await?;
    }
    third.wait_ready().await?;
    assert_eq!(tls(&third, "/shop/").await?, (200, certificate));
    let yes = ("Programmed", "True");
    space.wait_for("Mapping", "late", yes, PATIENCE).await?;
    load.more(20).await?;
    load.end().await?;
    for legate in [&mut first, &mut second, &mut third] {
        legate.kill();
    }
    Ok(())
}

async fn crds_deleted(server: Arc<ApiServer>) -> Result<(), Error> {
    let space = Namespace::create(&server, "crds").await?;
    let account = instance::account(&space).await?;
    space.cleartext().await?;
    let _origin = space.backend("shop").await?;
    for name in ["a", "b", "c"] {
        space.mapping(name, &format!("/{name}/"), "shop").await?;
    }
    let legate = Launch::new(&space, account.kubeconfig()).ready().await?;
    legate.serves("any.example", "/c/", 200, PATIENCE).await?;
    let load = Load::start(legate.listener(8080), None, "any.example", "/a/");
    load.more(20).await?;

    let saved = server
        .kubectl(&["get", "-A", "-o", "yaml", "listeners,hosts,mappings"], "")?
        .success()?;
    let kinds =
        ["mappings", "hosts", "listeners"].map(|kind| format!("crd/{kind}.getambassador.io"));
    let mut delete = vec!["delete"];
    delete.extend(kinds.iter().map(String::as_str));
    server.kubectl(&delete, "")?.success()?;
    load.more(200).await?;
    assert_eq!(legate.get("any.example", "/b/").await?.status, 200);
    assert!(legate.admin("/metrics").await?.status == 200);

    server.apply_crds(&bench::crds()).await?;
    server.kubectl(&["create", "-f", "-"], &saved)?.success()?;
    space.mapping("d", "/d/", "shop").await?;
    legate.serves("any.example", "/d/", 200, PATIENCE).await?;
    // What reappeared is followed again: a deletion is a deletion.
    space.delete("Mapping", "b").await?;
    legate.serves("any.example", "/b/", 404, PATIENCE).await?;
    load.more(20).await?;
    load.end().await?;
    Ok(())
}

/// Good, then a bad edit, then another process: the good version serves, and the status says so.
async fn last_good(space: Namespace) -> Result<(), Error> {
    let account = instance::account(&space).await?;
    space.cleartext().await?;
    let _origin = space.backend("shop").await?;
    space.mapping("shop", "/shop/", "shop").await?;
    let launch = Launch::new(&space, account.kubeconfig());
    let mut first = launch.ready().await?;
    let yes = ("Programmed", "True");
    space.wait_for("Mapping", "shop", yes, PATIENCE).await?;

    space
        .apply(
            "apiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {name: shop}\n\
             spec: {hostname: \"*\", prefix: \"/shop/(\", prefix_regex: true, service: shop}\n",
        )
        .await?;
    let no = ("Accepted", "False");
    space.wait_for("Mapping", "shop", no, PATIENCE).await?;
    assert_eq!(first.get("any.example", "/shop/").await?.status, 200);
    legate_testkit::kube::eventually("it is kept", PATIENCE, async || {
        let kept = first.metric("legate_last_good_objects", &[]).await.ok()?;
        (kept > 0.5).then_some(())
    })
    .await?;
    assert!(first.terminate(PATIENCE)?.success(), "{}", first.log());

    let second = launch.ready().await?;
    assert_eq!(second.get("any.example", "/shop/").await?.status, 200);
    space.wait_for("Mapping", "shop", no, PATIENCE).await?;
    // Mended, it counts again.
    space.mapping("shop", "/mended/", "shop").await?;
    second
        .serves("any.example", "/mended/", 200, PATIENCE)
        .await?;
    second
        .serves("any.example", "/shop/", 404, PATIENCE)
        .await?;
    Ok(())
}

async fn secrets(space: Namespace) -> Result<(), Error> {
    let account = instance::account(&space).await?;
    let pair = Pair::self_signed(&["safe.example"]);
    space.tls_secret("cert", &pair).await?;
    space.apply(HTTPS).await?;
    let _origin = space.backend("shop").await?;
    space.mapping("shop", "/shop/", "shop").await?;
    let legate = Launch::new(&space, account.kubeconfig()).ready().await?;
    let good = tls(&legate, "/shop/").await?;
    assert_eq!(good.0, 200);
    let load = Load::start(
        legate.listener(8443),
        Some("safe.example"),
        "safe.example",
        "/shop/",
    );
    load.more(20).await?;

    let garbage = format!(
        "apiVersion: v1\nkind: Secret\ntype: Opaque\nmetadata: {{name: cert, namespace: {}}}\n\
         stringData: {{tls.crt: planted-garbage, tls.key: planted-garbage}}\n",
        space.name()
    );
    let server = space.server();
    let name = ["delete", "-n", space.name(), "secret/cert"];
    server.kubectl(&name, "")?.success()?;
    let gone = ("TLSReady", "False");
    space.wait_for("Host", "safe", gone, PATIENCE).await?;
    assert_eq!(tls(&legate, "/shop/").await?, good, "a Secret that is gone");
    server.kubectl(&["apply", "-f", "-"], &garbage)?.success()?;
    legate_testkit::kube::eventually("it is told", PATIENCE, async || {
        let host = space.get("Host", "safe").await.ok()??;
        host.to_string().contains("SecretInvalid").then_some(())
    })
    .await?;
    assert_eq!(tls(&legate, "/shop/").await?, good, "garbage in its place");

    let other = Pair::self_signed(&["safe.example"]);
    server.kubectl(&name, "")?.success()?;
    space.tls_secret("cert", &other).await?;
    legate_testkit::kube::eventually("the new one serves", PATIENCE, async || {
        let now = tls(&legate, "/shop/").await.ok()?;
        (now.0 == 200 && now.1 != good.1).then_some(())
    })
    .await?;
    let ready = ("TLSReady", "True");
    space.wait_for("Host", "safe", ready, PATIENCE).await?;
    load.end().await?;
    for text in [legate.log(), legate.admin("/config_dump").await?.text()] {
        assert!(!text.contains("planted-garbage"));
        assert!(!text.contains("PRIVATE KEY"));
    }
    Ok(())
}
