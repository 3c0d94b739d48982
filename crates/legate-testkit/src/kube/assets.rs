//! Where the programs are.

use std::path::{Path, PathBuf};

use crate::client::Error;

/// A program that `cargo xtask assets` found or built: `etcd`, `kube-apiserver`,
/// `kube-controller-manager` or `kubectl`.
///
/// # Errors
/// It is not there; the text names the command that helps.
pub fn program(name: &str) -> Result<PathBuf, Error> {
    let this = std::env::current_exe()?;
    // target/<profile>/deps/<test> or target/<profile>/<binary>.
    let found = this
        .ancestors()
        .skip(2)
        .take(3)
        .map(|folder| folder.join("assets/bin").join(name))
        .find(|path| path.is_file());
    found.ok_or_else(|| {
        format!("{name} is missing: run `cargo xtask assets`, which finds or builds it").into()
    })
}

/// The `legate` binary: `LEGATE_BIN`, else that of the same build.
pub(crate) fn legate() -> Result<PathBuf, Error> {
    if let Some(path) = std::env::var_os("LEGATE_BIN") {
        return Ok(path.into());
    }
    let this = std::env::current_exe()?;
    this.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("legate"))
        .find(|path| Path::is_file(path))
        .ok_or_else(|| "the legate binary is missing: run `cargo build -p legate`".into())
}
