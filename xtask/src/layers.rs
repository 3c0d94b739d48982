//! Which crate may use which: data flows one way. The table is complete.

use anyhow::{Result, bail};

use crate::shell;

/// Crate, and our own crates that it may use (dev-dependencies are free).
const MAY_USE: &[(&str, &[&str])] = &[
    ("legate-api", &[]),
    ("legate-config", &[]),
    ("legate-compiler", &["legate-api", "legate-config"]),
    ("legate-router", &["legate-config"]),
    ("legate-source", &["legate-api", "legate-compiler"]),
    ("legate-runtime", &[]),
    (
        "legate-gateway",
        &["legate-config", "legate-router", "legate-runtime"],
    ),
    (
        "legate-operator",
        &[
            "legate-api",
            "legate-compiler",
            "legate-config",
            "legate-runtime",
            "legate-source",
        ],
    ),
    (
        "legate",
        &[
            "legate-api",
            "legate-compiler",
            "legate-config",
            "legate-gateway",
            "legate-operator",
            "legate-router",
            "legate-runtime",
            "legate-source",
        ],
    ),
    ("legate-testkit", &[]),
    ("legate-tests", &[]),
    ("legate-benches", &["legate-testkit"]),
    ("xtask", &[]),
];

/// Third-party crates that a crate must not use, because its role excludes what they are for.
const NEVER: &[(&str, &[&str])] = &[
    ("legate-api", &["tokio", "hyper"]),
    ("legate-config", &["kube", "k8s-openapi", "tokio", "hyper"]),
    (
        "legate-compiler",
        &["tokio", "hyper", "rand", "futures-util", "notify"],
    ),
    ("legate-router", &["tokio", "hyper"]),
    ("legate-gateway", &["kube", "k8s-openapi"]),
    ("legate-runtime", &["kube", "k8s-openapi"]),
];

/// Checks every workspace member's normal dependencies.
pub(crate) fn run() -> Result<()> {
    let metadata = shell::metadata(false)?;
    let packages = metadata["packages"].as_array().cloned().unwrap_or_default();
    let mut faults = Vec::new();
    for package in &packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = MAY_USE.iter().find(|(member, _)| *member == name) else {
            faults.push(format!("{name}: not in the table of layers"));
            continue;
        };
        let never = NEVER
            .iter()
            .find(|(member, _)| *member == name)
            .map_or(&[][..], |(_, n)| *n);
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            if dependency["kind"].as_str() == Some("dev") {
                continue;
            }
            let used = dependency["name"].as_str().unwrap_or_default();
            let ours = MAY_USE.iter().any(|(member, _)| *member == used);
            if ours && !allowed.contains(&used) {
                faults.push(format!("{name} must not use {used}"));
            }
            if never.contains(&used) {
                faults.push(format!("{name} must not use {used}: its role excludes it"));
            }
        }
    }
    if !faults.is_empty() {
        bail!("layers:\n  {}", faults.join("\n  "));
    }
    shell::say(&format!("layers: {} crates, one direction", packages.len()));
    Ok(())
}
