//! The operator against a real API server: `legate run --kube` as its own process, with RBAC.
//!
//! One API server serves the whole binary, in a network namespace of its own; each trial has a
//! namespace and an `ambassador_id` for itself. A trial that breaks the API server starts its own.
//! Filters and `--test-threads` work as in any test.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test stops at the first surprise; the helpers are not marked as tests"
)]

#[path = "operator/bench.rs"]
mod bench;
#[path = "operator/instance.rs"]
mod instance;

#[path = "operator/audit.rs"]
mod audit;
#[path = "operator/crds.rs"]
mod crds;
#[path = "operator/faults.rs"]
mod faults;
#[path = "operator/faults_api.rs"]
mod faults_api;
#[path = "operator/faults_crds.rs"]
mod faults_crds;
#[path = "operator/faults_lease.rs"]
mod faults_lease;
#[path = "operator/faults_objects.rs"]
mod faults_objects;
#[path = "operator/faults_rights.rs"]
mod faults_rights;
#[path = "operator/faults_secrets.rs"]
mod faults_secrets;
#[path = "operator/first.rs"]
mod first;
#[path = "operator/inproc.rs"]
mod inproc;
#[path = "operator/instances.rs"]
mod instances;
#[path = "operator/kit.rs"]
mod kit;
#[path = "operator/lease.rs"]
mod lease;
#[path = "operator/limits.rs"]
mod limits;
#[path = "operator/load.rs"]
mod load;
#[path = "operator/outage.rs"]
mod outage;
#[path = "operator/own_objects.rs"]
mod own_objects;
#[path = "operator/policies.rs"]
mod policies;
#[path = "operator/programmed.rs"]
mod programmed;
#[path = "operator/rights.rs"]
mod rights;
#[path = "operator/samples.rs"]
mod samples;
#[path = "operator/soak.rs"]
mod soak;
#[path = "operator/status.rs"]
mod status;
#[path = "operator/versions.rs"]
mod versions;

use std::process::ExitCode;
use std::sync::Arc;

use legate_testkit::kube::netns;
use libtest_mimic::{Arguments, Trial};

use bench::Bench;

/// Trials that run at once: they mostly wait, and each may start a process or two.
const THREADS: usize = 4;

fn trials(bench: &Arc<Bench>) -> Vec<Trial> {
    [
        crds::trials(bench),
        kit::trials(bench),
        first::trials(bench),
        limits::trials(bench),
        policies::trials(bench),
        programmed::trials(bench),
        instances::trials(bench),
        versions::trials(bench),
        outage::trials(bench),
        faults::trials(bench),
        soak::trials(bench),
        lease::trials(bench),
        own_objects::trials(bench),
        status::trials(bench),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn main() -> ExitCode {
    let mut args = Arguments::from_args();
    args.test_threads.get_or_insert(THREADS);
    let bench = Arc::new(Bench::new());
    if !args.list
        && let Err(error) = netns::enter_or_reexec().and_then(|()| bench.start())
    {
        eprintln!("operator tests: {error}");
        return ExitCode::FAILURE;
    }
    if args.list {
        let all = trials(&bench)
            .into_iter()
            .chain(audit::trials(&bench, &args));
        return libtest_mimic::run(&args, all.collect()).exit_code();
    }
    let conclusion = libtest_mimic::run(&args, trials(&bench));
    // What holds for the run as a whole is looked at when all of it is over.
    let last = libtest_mimic::run(&args, audit::trials(&bench, &args));
    // Ends the API server: exiting would leave it behind.
    bench.stop();
    if conclusion.has_failed() || last.has_failed() {
        return ExitCode::from(101);
    }
    ExitCode::SUCCESS
}
