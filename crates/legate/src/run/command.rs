//! The command: flags to options, signals to drain.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use legate_compiler::{MissingRefs, Mode, Options};
use legate_gateway::{GatewayOptions, LimitOptions, PortMap, StateDirOptions};
use legate_operator::identity::Identity;
use legate_runtime::logging::{self, Format, Level};
use legate_runtime::signals::{Kind, Signals};

use super::{KubeRun, RunOptions, Running, StartError};
use crate::args::RunArgs;
use crate::output::{Exit, say};
use crate::settings::{self, Environment, ProcessEnvironment};
use legate_source::kube::{KubeOptions, Timing};
use legate_source::selector::LabelSelector;

/// The admin port unless told otherwise.
const ADMIN_PORT: u16 = 8877;

/// Seconds to keep accepting after SIGTERM in a cluster: as long as it takes until nobody sends new
/// connections here any more.
const KUBE_DRAIN_DELAY: u64 = 5;

/// Runs the command.
#[must_use]
pub fn command(args: RunArgs) -> Exit {
    let environment = ProcessEnvironment;
    let level: Level = match settings::log_level(&args.log_level, &environment).parse() {
        Ok(level) => level,
        Err(error) => {
            say(&format!("error: --log-level: {error}"));
            return Exit::Usage;
        }
    };
    let json = settings::json_log(args.log_format, &environment);
    let format = if json { Format::Json } else { Format::Text };
    let log = match logging::init(format, level) {
        Ok(log) => log,
        Err(error) => {
            say(&format!("error: {error}"));
            return Exit::Environment;
        }
    };
    if let Some(notice) = settings::notice(&environment, args.kube) {
        tracing::info!("{notice}");
    }
    let (quit, mut asked) = tokio::sync::mpsc::unbounded_channel();
    let options = match options(args, &environment) {
        Ok(options) => RunOptions {
            log: Some(log),
            quit: Some(quit),
            ..options
        },
        Err(message) => {
            say(&format!("error: {message}"));
            return Exit::Usage;
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("error: {error}"));
            return Exit::Environment;
        }
    };
    // Before anything can be killed: a signal must never find nobody who listens.
    let signals = runtime.block_on(async { Signals::listen() });
    let mut signals = match signals {
        Ok(signals) => signals,
        Err(error) => {
            say(&format!("error: cannot listen for signals: {error}"));
            return Exit::Environment;
        }
    };
    let demo = options.demo;
    let running = match Running::start(options) {
        Ok(running) => running,
        Err(error) => {
            say(&format!("error: {error}"));
            if let StartError::Listener { .. } = error {
                say("help: another process listens there; try `--port-offset 10000`");
            }
            return Exit::Environment;
        }
    };
    if demo {
        say(&demo_text(&running));
    }
    runtime.block_on(async {
        let mut delay = true;
        tokio::select! {
            // Neither branch loses anything: what came stays pending.
            signal = signals.recv() => delay = signal.kind == Kind::Terminate,
            _ = asked.recv() => {}
        }
        tracing::info!("Draining");
        tokio::select! {
            // A second signal ends the wait; what is still open is cut.
            _ = signals.recv() => tracing::info!("Not waiting any longer"),
            () = running.drain(delay) => {}
        }
    });
    Exit::Fine
}

fn options(args: RunArgs, environment: &dyn Environment) -> Result<RunOptions, String> {
    let selector = LabelSelector::parse(args.compile.label_selector.as_deref().unwrap_or_default())
        .map_err(|message| format!("--label-selector: {message}"))?;
    let mut admin = args.admin_addr.clone();
    if admin.is_empty() {
        let port = ADMIN_PORT
            .checked_add(args.port_offset)
            .ok_or_else(|| "--port-offset is too large".to_owned())?;
        admin = match settings::health_address(environment)? {
            Some(address) => vec![address],
            None => vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)],
        };
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut compile = settings::compile_options(&args.compile, environment, MissingRefs::Error);
    // Fingerprints of keys must not be comparable between processes that share nothing; the
    // replicas of a cluster share a key that they read there.
    compile.hash_key = rand::random();
    if args.kube {
        compile.mode = Mode::Cluster;
    }
    let kube = args.kube.then(|| kube_run(&args, &compile, environment));
    let default_delay = if args.kube { KUBE_DRAIN_DELAY } else { 0 };
    let ambassador_id = compile.ambassador_id.clone();
    Ok(RunOptions {
        paths: args.paths,
        selector,
        compile,
        gateway: GatewayOptions {
            workers: args.workers.unwrap_or(cores).max(1),
            bind: args.bind,
            port_map: PortMap {
                offset: args.port_offset,
                overrides: args.port_map.into_iter().collect::<BTreeMap<u16, u16>>(),
            },
            drain_time: settings::drain_time(environment, args.kube),
            drain_delay: Duration::from_secs(args.drain_delay.unwrap_or(default_delay)),
            hostname: settings::hostname(),
            limits: LimitOptions {
                cells: args.ratelimit_cells,
                store: args.ratelimit_store,
                instance: ambassador_id.clone(),
            },
            state_dir: args.state_dir.map(|path| StateDirOptions {
                path,
                ambassador_id,
            }),
            ..GatewayOptions::default()
        },
        admin,
        demo: args.demo,
        kube,
        ..RunOptions::default()
    })
}

fn kube_run(args: &RunArgs, compile: &Options, environment: &dyn Environment) -> KubeRun {
    let flags = &args.kubernetes;
    let namespace = compile.namespace.clone();
    let watch_namespaces = if compile.single_namespace {
        vec![namespace.clone()]
    } else {
        flags.watch_namespaces.clone()
    };
    let identity = Identity {
        ambassador_id: compile.ambassador_id.clone(),
        namespace: namespace.clone(),
        pod_name: flags.pod_name.clone().unwrap_or_else(settings::hostname),
    };
    let set = |name: &str| environment.var(name).filter(|value| !value.is_empty());
    KubeRun {
        kubeconfig: flags.kubeconfig.clone(),
        context: flags.context.clone(),
        identity,
        source: KubeOptions {
            secrets: settings::secret_access(flags, &namespace, environment),
            cluster_scoped: watch_namespaces.is_empty(),
            watch_namespaces,
            label_selector: args.compile.label_selector.clone(),
            field_selector: set("AMBASSADOR_FIELD_SELECTOR"),
            endpoints: !settings::truthy(environment, "AMBASSADOR_DISABLE_ENDPOINTS"),
            timing: Timing::default(),
        },
        status: settings::writes_status(flags.status, environment),
    }
}

/// What the demo put in place, and what to try.
fn demo_text(running: &Running) -> String {
    let mut lines = vec!["demo:".to_owned()];
    for item in running.substitutions() {
        lines.push(format!("  {item}"));
    }
    let tries = super::demo::curl_lines(running);
    if !tries.is_empty() {
        lines.push("try:".to_owned());
        lines.extend(tries.into_iter().map(|line| format!("  {line}")));
    }
    lines.push("Ctrl-C ends it.".to_owned());
    lines.join("\n")
}
