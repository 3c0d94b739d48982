//! The tasks, against an API server that cuts, stalls and refuses.

use serde_json::{Value, json};

use super::super::*;
use super::fake::{Fake, next, status_object};
use super::options;

fn mapping(name: &str, version: &str) -> Value {
    json!({
        "apiVersion": "getambassador.io/v3alpha1", "kind": "Mapping",
        "metadata": {"namespace": "x", "name": name, "uid": name, "resourceVersion": version},
        "spec": {"prefix": "/", "service": "s", "hostname": "*"},
    })
}

fn names(update: &Update) -> Vec<&str> {
    update
        .upserts
        .iter()
        .map(|o| o.meta.name.as_str())
        .collect()
}

fn quick() -> KubeOptions {
    let mut options = options();
    options.timing.backoff_first = Duration::from_millis(10);
    options.timing.backoff_most = Duration::from_millis(100);
    options
}

/// A source that runs, its first update taken.
async fn running(options: KubeOptions) -> (Fake, KubeSource, KubeWatch) {
    let (fake, client) = Fake::start();
    fake.put("mappings", mapping("a", "3"));
    let (source, mut watch) = KubeSource::start(client, options, &Handle::current());
    let first = next(&mut watch).await;
    assert_eq!(names(&first), ["a"]);
    assert!(source.state().synced);
    (fake, source, watch)
}

#[tokio::test]
async fn a_cut_watch_goes_on_where_it_was() {
    let (mut fake, source, mut watch) = running(quick()).await;
    fake.request(&["/mappings", "watch=true", "resourceVersion=5"])
        .await;
    fake.send(
        "mappings",
        &json!({"type": "ADDED", "object": mapping("b", "7")}),
    );
    assert_eq!(names(&next(&mut watch).await), ["b"]);
    fake.fail_once("mappings?&watch=true", 500);
    fake.fail_once("mappings?&watch=true", 403);
    fake.cut("mappings");
    for _ in 0..3 {
        fake.request(&["/mappings", "watch=true", "resourceVersion=7"])
            .await;
    }
    fake.send(
        "mappings",
        &json!({"type": "ADDED", "object": mapping("c", "9")}),
    );
    assert_eq!(names(&next(&mut watch).await), ["c"]);
    let state = source.state();
    assert_eq!(state.restarts[&Kind::Mapping], 2);
    assert_eq!(state.kinds[&Kind::Mapping], KindState::Live);
    assert!(state.last_contact.is_some());
}

#[tokio::test]
async fn a_version_that_is_too_old_lists_again() {
    let (mut fake, _source, mut watch) = running(quick()).await;
    fake.request(&["/mappings", "watch=true"]).await;
    fake.put("mappings", mapping("b", "6"));
    fake.send(
        "mappings",
        &json!({"type": "ERROR", "object": status_object(410)}),
    );
    let update = next(&mut watch).await;
    assert_eq!(names(&update), ["b"]);
    assert_eq!(update.removals, []);
    // Answered by a status, not within the stream, the watcher by itself would try for ever.
    fake.request(&["/mappings", "watch=true"]).await;
    fake.put("mappings", mapping("c", "6"));
    fake.fail_once("mappings?&watch=true", 410);
    fake.cut("mappings");
    assert_eq!(names(&next(&mut watch).await), ["c"]);
}

#[tokio::test]
async fn silence_renews_a_watch() {
    let mut options = quick();
    options.timing.silence = Duration::from_millis(100);
    let (mut fake, source, mut watch) = running(options).await;
    fake.request(&["/mappings", "watch=true", "resourceVersion=5"])
        .await;
    // Half open: neither an event nor an end.
    fake.request(&["/mappings", "watch=true", "resourceVersion=5"])
        .await;
    // There may just be nothing to say: bookmarks come only where etcd tells of its progress.
    let state = source.state();
    assert_eq!(state.kinds[&Kind::Mapping], KindState::Live);
    assert!(state.restarts.is_empty(), "{:?}", state.restarts);
    fake.send(
        "mappings",
        &json!({"type": "ADDED", "object": mapping("b", "7")}),
    );
    assert_eq!(names(&next(&mut watch).await), ["b"]);
}

#[tokio::test]
async fn a_secret_is_read_when_it_is_wanted() {
    let (mut fake, source, mut watch) = running(quick()).await;
    fake.request(&["/secrets", "watch=true", "type%21%3Dhelm.sh"])
        .await;
    let head = json!({"kind": "PartialObjectMetadata",
        "metadata": {"namespace": "x", "name": "tls", "uid": "1", "resourceVersion": "8"}});
    fake.send("secrets", &json!({"type": "ADDED", "object": head}));
    let wanted = BTreeSet::from([("x".to_owned(), "tls".to_owned())]);
    // Whether the head has arrived is not told; without it the Secret does not exist.
    while source.want_secrets(wanted.clone()) {
        tokio::task::yield_now().await;
        let _ = source.want_secrets(BTreeSet::new());
    }
    fake.request(&["/api/v1/namespaces/x/secrets/tls"]).await;
    let update = next(&mut watch).await;
    // This server answers with a list, which is no Secret.
    let codes: Vec<&str> = update.diagnostics.iter().map(|d| d.code.as_str()).collect();
    assert_eq!(codes, ["W-SECRET-UNREADABLE"]);
    assert!(source.want_secrets(wanted));
}

#[tokio::test]
async fn the_end() {
    let (fake, source, watch) = running(quick()).await;
    let other = source.clone();
    drop(source);
    drop(watch);
    assert!(other.state().synced);
    drop(other);
    fake.ended().await;
}

#[test]
fn without_a_runtime_the_watch_ends() {
    let one = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (_fake, _source, mut watch) = one.block_on(running(quick()));
    drop(one);
    let two = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    two.block_on(async { while watch.recv().await.is_some() {} });
}
