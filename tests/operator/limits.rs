//! Limits without a service, from Kubernetes: both kinds are watched, counted, and have a status.

use std::sync::Arc;
use std::time::Duration;

use legate_testkit::Client;
use legate_testkit::client::Error;
use legate_testkit::kube::{Launch, Namespace, eventually};
use libtest_mimic::Trial;

use crate::bench::Bench;
use crate::instance;

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn trials(bench: &Arc<Bench>) -> Vec<Trial> {
    vec![
        bench.trial("limits_are_counted_and_have_a_status", counted),
        bench.trial("limits_crd_refuses_what_it_must", refused),
    ]
}

/// A policy and a limit of Edge Stack's kind, for two Mappings.
const OBJECTS: &str = "
apiVersion: legate.dev/v1alpha1
kind: RateLimitPolicy
metadata: {name: policy}
spec:
  headers: draft03
  descriptors:
  - key: generic_key
    value: one
    rate_limit: {unit: day, requests_per_unit: 3}
---
apiVersion: getambassador.io/v3alpha1
kind: RateLimit
metadata: {name: limit}
spec:
  domain: ambassador
  limits:
  - pattern: [{generic_key: two}]
    rate: 2
    unit: day
";

async fn counted(space: Namespace) -> Result<(), Error> {
    let account = instance::account(&space).await?;
    let legate = Launch::new(&space, account.kubeconfig()).ready().await?;
    space.cleartext().await?;
    let _origin = space.backend("shop").await?;
    for value in ["one", "two"] {
        space
            .apply(&format!(
                "apiVersion: getambassador.io/v3alpha1\nkind: Mapping\nmetadata: {{name: {value}}}\n\
                 spec: {{hostname: \"*\", prefix: /{value}/, service: shop, \
                 labels: {{ambassador: [{{g: [{{generic_key: {{value: {value}}}}}]}}]}}}}\n"
            ))
            .await?;
        let programmed = ("Programmed", "True");
        space
            .wait_for("Mapping", value, programmed, PATIENCE)
            .await?;
    }
    space.apply(OBJECTS).await?;
    for (kind, name) in [("RateLimitPolicy", "policy"), ("RateLimit", "limit")] {
        let accepted = ("Accepted", "True");
        space.wait_for(kind, name, accepted, PATIENCE).await?;
    }
    for value in ["one", "two"] {
        let path = format!("/{value}/");
        let mut client = Client::connect(legate.listener(8080)).await?;
        // From the moment on that the limit is there it holds for the rest of the day.
        eventually("requests are refused", PATIENCE, async || {
            let answer = client.get("shop", &path).await.ok()?;
            (answer.status == 429).then_some(())
        })
        .await?;
        let answer = client.get("shop", &path).await?;
        assert_eq!(answer.status, 429);
    }
    // Without the policy everything passes again.
    space.delete("RateLimitPolicy", "policy").await?;
    let mut client = Client::connect(legate.listener(8080)).await?;
    eventually("the policy is gone", PATIENCE, async || {
        let answer = client.get("shop", "/one/").await.ok()?;
        (answer.status == 200).then_some(())
    })
    .await
}

/// What the schema says holds on the API server, down to the last level of the tree.
async fn refused(space: Namespace) -> Result<(), Error> {
    let tree = |leaf: &str| {
        let mut tree = format!("[{{key: k, rate_limit: {{{leaf}}}}}]");
        for _ in 1..8 {
            tree = format!("[{{key: k, descriptors: {tree}}}]");
        }
        format!(
            "apiVersion: legate.dev/v1alpha1\nkind: RateLimitPolicy\nmetadata: {{name: deep}}\n\
             spec: {{descriptors: {tree}}}\n"
        )
    };
    space
        .apply(&tree("unit: week, requests_per_unit: 5"))
        .await?;
    for wrong in [
        "unit: fortnight, requests_per_unit: 5",
        "unit: week, requests_per_unit: -1",
    ] {
        let result = space.apply(&tree(wrong)).await;
        assert!(result.is_err(), "{wrong}");
    }
    Ok(())
}
