//! One route, small answers, keep-alive: the proxy's own cost per request.

use anyhow::Result;

use crate::process;
use crate::versus::{self, Options, legate, peer};

/// Runs the comparison and prints its table.
pub(crate) fn run(options: &Options) -> Result<()> {
    let _origin = versus::origin()?;
    let envoy = [
        "-c",
        "benches/one-route/envoy.yaml",
        "--concurrency",
        "1",
        "-l",
        "error",
    ];
    let mut peers = [
        legate(
            "Legate",
            18080,
            "benches/one-route/legate.yaml",
            "127.0.0.1:18900",
        )?,
        peer("Envoy 1.40", 18081, &process::envoy()?, &envoy)?,
    ];
    versus::run(&mut peers, options)
}
