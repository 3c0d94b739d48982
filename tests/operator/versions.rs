//! Objects keep the meaning of the version that they were written as, whatever kubectl does with
//! them, and no webhook is involved (operator.md §2).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use legate_testkit::client::{Client, Error};
use legate_testkit::kube::{Launch, Legate, Namespace};
use libtest_mimic::Trial;

use crate::bench::Bench;
use crate::instance;

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn trials(bench: &Arc<Bench>) -> Vec<Trial> {
    vec![bench.trial("versions_keep_their_meaning", meanings)]
}

/// v2 without `host` takes every host; v3alpha1 without `hostname` is taken by no Host; with one it
/// takes that.
fn documents(id: &str) -> String {
    format!(
        "apiVersion: getambassador.io/v2\nkind: Mapping\nmetadata: {{name: old}}\n\
         spec: {{ambassador_id: {id}, prefix: /old/, service: shop, headers: {{x-any: true}}}}\n---\n\
         apiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {{name: new}}\n\
         spec: {{ambassador_id: [{id}], prefix: /new/, service: shop}}\n---\n\
         apiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {{name: named}}\n\
         spec: {{ambassador_id: [{id}], hostname: a.example, prefix: /named/, service: shop}}\n"
    )
}

async fn meanings(space: Namespace) -> Result<(), Error> {
    let server = Arc::clone(space.server());
    let account = instance::account(&space).await?;
    space.cleartext().await?;
    let _origin = space.backend("shop").await?;
    let namespace = space.name().to_owned();
    server
        .kubectl(
            &["apply", "-n", &namespace, "-f", "-"],
            &documents(space.id()),
        )?
        .success()?;
    let legate = Launch::new(&space, account.kubeconfig()).ready().await?;
    check(&legate, "").await?;

    // An edit is written as v2, the version that kubectl prefers.
    for name in ["old", "new", "named"] {
        edit(&space, name)?;
    }
    check(&legate, "e").await?;

    // So is a restored backup. What tells it from v2 is a field that only v3alpha1 has.
    for name in ["old", "named"] {
        let object = format!("mapping/{name}");
        let yaml = server
            .kubectl(&["get", "-n", &namespace, "-o", "yaml", &object], "")?
            .success()?;
        server
            .kubectl(&["delete", "-n", &namespace, &object], "")?
            .success()?;
        legate
            .serves("a.example", &format!("/{name}e/"), 404, PATIENCE)
            .await?;
        server
            .kubectl(&["create", "-n", &namespace, "-f", "-"], &yaml)?
            .success()?;
    }
    check(&legate, "e").await?;

    for kind in [
        "validatingwebhookconfigurations",
        "mutatingwebhookconfigurations",
    ] {
        let all = server
            .kubectl(&["get", kind, "-o", "name"], "")?
            .success()?;
        assert_eq!(all.trim(), "", "{kind}");
    }
    Ok(())
}

/// `kubectl edit` with an editor that makes the prefix longer.
fn edit(space: &Namespace, name: &str) -> Result<(), Error> {
    let object = format!("mapping/{name}");
    let script = format!("sed -i s#prefix:.*/{name}/#prefix:\\ /{name}e/#");
    let args = ["edit", "-n", space.name(), &object];
    space
        .server()
        .kubectl_env(&args, &[("KUBE_EDITOR", &script)])?
        .success()?;
    Ok(())
}

/// What each Mapping serves; `suffix` is what edits made of the prefixes.
async fn check(legate: &Legate, suffix: &str) -> Result<(), Error> {
    let old = format!("/old{suffix}/");
    let named = format!("/named{suffix}/");
    legate.serves("a.example", &named, 200, PATIENCE).await?;
    assert_eq!(legate.get("b.example", &named).await?.status, 404);
    let new = format!("/new{suffix}/");
    assert_eq!(legate.get("a.example", &new).await?.status, 404);
    // The v2 Mapping's `true` asks for the header's presence.
    for host in ["a.example", "b.example"] {
        let found = legate_testkit::kube::eventually("old serves", PATIENCE, async || {
            let status = with_header(legate, host, &old).await.ok()?;
            (status == 200).then_some(())
        });
        found.await?;
        assert_eq!(legate.get(host, &old).await?.status, 404);
    }
    Ok(())
}

/// Status of a GET with the header `x-any`.
async fn with_header(legate: &Legate, host: &str, path: &str) -> Result<u16, Error> {
    let mut client = Client::connect(legate.listener(8080)).await?;
    let headers = [("x-any", "1")];
    let answer = client
        .request("GET", host, path, &headers, Bytes::new())
        .await?;
    Ok(answer.status.as_u16())
}
