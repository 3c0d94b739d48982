//! Licences of all dependencies against the allow list of `deny.toml`.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail};

use crate::shell;

/// Compares `cargo metadata` with the allow list.
pub(crate) fn run() -> Result<()> {
    let deny = fs::read_to_string(shell::root().join("deny.toml")).context("deny.toml")?;
    let allowed = allow_list(&deny)?;
    let metadata = shell::metadata(true)?;
    let mut faults = BTreeMap::new();
    let packages = metadata["packages"].as_array().cloned().unwrap_or_default();
    for package in &packages {
        let name = package["name"].as_str().unwrap_or_default();
        let version = package["version"].as_str().unwrap_or_default();
        match package["license"].as_str() {
            Some(expression) if satisfied(expression, &allowed) => {}
            Some(expression) => {
                faults.insert(format!("{name} {version}"), expression.to_owned());
            }
            None => {
                faults.insert(format!("{name} {version}"), "no licence".to_owned());
            }
        }
    }
    if !faults.is_empty() {
        let lines: Vec<_> = faults
            .iter()
            .map(|(name, text)| format!("{name}: {text}"))
            .collect();
        bail!(
            "licences not allowed by deny.toml:\n  {}",
            lines.join("\n  ")
        );
    }
    shell::say(&format!(
        "licences: {} packages, all allowed",
        packages.len()
    ));
    Ok(())
}

/// The strings of `[licenses] allow = [...]`.
fn allow_list(deny: &str) -> Result<Vec<String>> {
    let section = deny
        .split("[licenses]")
        .nth(1)
        .context("deny.toml has no [licenses]")?;
    let list = section
        .split("allow = [")
        .nth(1)
        .context("[licenses] has no allow list")?;
    let list = list.split(']').next().unwrap_or_default();
    Ok(list
        .split('"')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect())
}

/// Whether an SPDX expression can be met with allowed licences only.
fn satisfied(expression: &str, allowed: &[String]) -> bool {
    // Cargo's old form of "or".
    let text = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let tokens: Vec<&str> = text.split_whitespace().collect();
    let mut at = 0;
    any_of(&tokens, &mut at, allowed) && at == tokens.len()
}

fn any_of(tokens: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut met = all_of(tokens, at, allowed);
    while tokens.get(*at) == Some(&"OR") {
        *at += 1;
        met |= all_of(tokens, at, allowed);
    }
    met
}

fn all_of(tokens: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut met = term(tokens, at, allowed);
    while tokens.get(*at) == Some(&"AND") {
        *at += 1;
        met &= term(tokens, at, allowed);
    }
    met
}

fn term(tokens: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let Some(token) = tokens.get(*at) else {
        return false;
    };
    *at += 1;
    if *token == "(" {
        let met = any_of(tokens, at, allowed);
        *at += 1;
        return met;
    }
    let mut name = (*token).to_owned();
    if tokens.get(*at) == Some(&"WITH") {
        name = format!(
            "{name} WITH {}",
            tokens.get(*at + 1).copied().unwrap_or_default()
        );
        *at += 2;
    }
    allowed.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions() {
        let allowed = vec![
            "MIT".to_owned(),
            "ISC".to_owned(),
            "Apache-2.0 WITH LLVM-exception".to_owned(),
        ];
        for good in [
            "MIT",
            "MIT OR GPL-3.0",
            "MIT/GPL-2.0",
            "(MIT OR X) AND ISC",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert!(satisfied(good, &allowed), "{good}");
        }
        for bad in [
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "(MIT AND X) OR Y",
            "Apache-2.0",
            "MIT MIT",
        ] {
            assert!(!satisfied(bad, &allowed), "{bad}");
        }
    }
}
