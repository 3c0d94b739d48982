//! The CRDs on a real API server: what applies, comes back whole, is refused or shown.

use std::sync::Arc;

use legate_testkit::client::Error;
use legate_testkit::kube::{Namespace, documents};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::bench::{Bench, crds, crds_folder};
use crate::samples::{V2, V3};

const VERSIONS: [&str; 2] = ["v3alpha1", "v2"];

pub(crate) fn trials(bench: &Arc<Bench>) -> Vec<Trial> {
    vec![
        bench.bare("crds_apply_without_warnings", |server| async move {
            let output = server.kubectl(&["apply", "--server-side", "-f", &crds_folder()], "")?;
            assert_eq!(output.stderr, "");
            let lines = output.success()?.lines().count();
            assert_eq!(lines, crds().len());
            Ok(())
        }),
        bench.bare("crds_list_v1_without_serving_it", |server| async move {
            let listed = server.kubectl(&["get", "--raw", "/apis/getambassador.io"], "")?;
            let group: Value = serde_json::from_str(&listed.success()?)?;
            let served: Vec<&str> = group["versions"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|version| version["version"].as_str())
                .collect();
            // A stable version outranks an alpha one: kubectl reads and edits v2 unless it is told.
            assert_eq!(served, ["v2", "v3alpha1"]);
            let (version, kind) = ("apiextensions.k8s.io/v1", "CustomResourceDefinition");
            let crd = server
                .get(version, kind, "", "mappings.getambassador.io")
                .await?;
            let crd = crd.ok_or("no CRD")?;
            let v1 = crd["spec"]["versions"]
                .as_array()
                .and_then(|versions| versions.iter().find(|v| v["name"] == "v1"))
                .ok_or("v1 is not listed")?;
            assert_eq!(
                (&v1["served"], &v1["storage"]),
                (&json!(false), &json!(false))
            );
            assert_eq!(crd["status"]["storedVersions"], json!(["v3alpha1"]));
            Ok(())
        }),
        bench.trial(
            "crds_v3alpha1_samples_come_back_whole",
            |space| async move { come_back_whole(&space, "v3alpha1", V3).await },
        ),
        bench.trial("crds_v2_samples_come_back_whole", |space| async move {
            come_back_whole(&space, "v2", V2).await
        }),
        bench.trial("crds_refuse_unknown_fields", |space| async move {
            for (kind, _, spec) in V3 {
                let mut object = object("v3alpha1", kind, space.name(), spec)?;
                // A Module's config is free; everything else is not.
                object["spec"]["no_such_field"] = json!(1);
                let refused = space.server().apply(&[object]).await.unwrap_err();
                let words = refused.to_string();
                assert!(words.contains("no_such_field"), "{kind}: {words}");
            }
            Ok(())
        }),
        bench.trial("crds_print_columns", columns),
        bench.trial("crds_status_merges_by_key", status_merges),
        bench.trial("crds_status_is_a_subresource", status_is_apart),
    ]
}

fn object(version: &str, kind: &str, namespace: &str, spec: &str) -> Result<Value, Error> {
    let yaml = format!(
        "apiVersion: getambassador.io/{version}\nkind: {kind}\n\
         metadata: {{name: sample, namespace: {namespace}}}\nspec: {spec}\n"
    );
    documents(&yaml)?.pop().ok_or_else(|| "no document".into())
}

/// Applies each sample, and reads it in both versions: no field is pruned or turned.
async fn come_back_whole(
    space: &Namespace,
    version: &str,
    samples: &[(&str, &str, &str)],
) -> Result<(), Error> {
    let server = space.server();
    for (kind, _, spec) in samples {
        let object = object(version, kind, space.name(), spec)?;
        server.apply(std::slice::from_ref(&object)).await?;
        let versions = if *kind == "Listener" {
            &VERSIONS[..1]
        } else {
            &VERSIONS
        };
        for read in versions {
            let full = format!("getambassador.io/{read}");
            let found = server.get(&full, kind, space.name(), "sample").await?;
            let found = found.ok_or("gone")?;
            assert_eq!(found["spec"], object["spec"], "{kind} read as {read}");
            assert_eq!(found["apiVersion"], full.as_str());
        }
    }
    Ok(())
}

async fn columns(space: Namespace) -> Result<(), Error> {
    space.mapping("m", "/m/", "backend").await?;
    space.cleartext().await?;
    let mapping = "NAME  SOURCE HOST  SOURCE PREFIX  DEST SERVICE  STATE  REASON";
    let host = "NAME  HOSTNAME  STATE  PHASE COMPLETED  PHASE PENDING  AGE";
    let listener = "NAME  PORT  PROTOCOL  STACK  STATSPREFIX  SECURITY  L7DEPTH";
    for (resource, columns) in [
        ("mappings.v3alpha1.getambassador.io", mapping),
        ("mappings.v2.getambassador.io", mapping),
        ("hosts.v3alpha1.getambassador.io", host),
        ("hosts.v2.getambassador.io", host),
        ("listeners.v3alpha1.getambassador.io", listener),
    ] {
        let args = ["get", resource, "-n", space.name()];
        let table = space.server().kubectl(&args, "")?.success()?;
        let heading = table.lines().next().unwrap_or_default();
        let found: Vec<&str> = heading
            .split("  ")
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .collect();
        assert_eq!(found.join("  "), columns, "{resource}");
        assert_eq!(table.lines().count(), 2, "{table}");
    }
    Ok(())
}

fn entry(id: &str, status: &str, generation: i64) -> Value {
    json!({
        "ambassadorId": id,
        "controllerNamespace": "gateway",
        "conditions": [{
            "type": "Programmed", "status": status, "reason": "Test", "message": "",
            "observedGeneration": generation, "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
    })
}

/// Two managers own an entry each; neither loses its own.
async fn status_merges(space: Namespace) -> Result<(), Error> {
    let server = space.server();
    for (kind, _, spec) in V3 {
        let plain = object("v3alpha1", kind, space.name(), spec)?;
        server.apply(std::slice::from_ref(&plain)).await?;
        for (id, status) in [("one", "True"), ("two", "False")] {
            let applied = json!({
                "apiVersion": plain["apiVersion"], "kind": plain["kind"],
                "metadata": plain["metadata"],
                "status": {"instances": [entry(id, status, 1)]},
            });
            server.apply_status(id, &applied).await?;
        }
        let found = server
            .get("getambassador.io/v3alpha1", kind, space.name(), "sample")
            .await?;
        let found = found.ok_or("gone")?;
        let instances = json!([entry("one", "True", 1), entry("two", "False", 1)]);
        assert_eq!(found["status"]["instances"], instances, "{kind}");
        assert_eq!(found["metadata"]["generation"], 1, "{kind}");
    }
    Ok(())
}

/// A status in a manifest is ignored, and a status write changes no spec.
async fn status_is_apart(space: Namespace) -> Result<(), Error> {
    let server = space.server();
    let mut object = space.mapping("m", "/m/", "backend").await?;
    object["metadata"] = json!({"name": "m", "namespace": space.name()});
    object["status"] = json!({"state": "Forged"});
    server.apply(std::slice::from_ref(&object)).await?;
    object["spec"]["prefix"] = json!("/other/");
    object["status"] =
        json!({"state": "Running", "conditions": entry("one", "True", 1)["conditions"]});
    server.apply_status("legate", &object).await?;
    let found = space.get("Mapping", "m").await?.ok_or("gone")?;
    assert_eq!(found["status"]["state"], "Running");
    assert_eq!(found["spec"]["prefix"], "/m/");
    let wait = [
        "wait",
        "-n",
        space.name(),
        "--for=condition=Programmed",
        "mapping/m",
    ];
    server.kubectl(&wait, "")?.success()?;
    Ok(())
}
