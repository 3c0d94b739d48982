//! What everyday policies cost: a JSON access log, one built-in rate limit and header edits.

use anyhow::Result;

use crate::versus::{self, Options, legate};

/// Runs the comparison and prints its table.
pub(crate) fn run(options: &Options) -> Result<()> {
    let _origin = versus::origin()?;
    let mut peers = [
        legate(
            "with policies",
            18083,
            "benches/policies/full.yaml",
            "127.0.0.1:18903",
        )?,
        legate(
            "plain",
            18082,
            "benches/policies/plain.yaml",
            "127.0.0.1:18902",
        )?,
    ];
    versus::run(&mut peers, options)
}
