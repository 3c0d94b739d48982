//! The command line as typed. What it means is decided in [`crate::settings`].

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Legate: a Kubernetes API gateway that reads getambassador.io manifests unchanged.
#[derive(Debug, Parser)]
#[command(
    name = "legate",
    version,
    max_term_width = 100,
    propagate_version = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve manifests from files, folders or standard input (-), or from Kubernetes, and follow
    /// their changes
    #[command(
        after_help = "Examples: legate run examples/quickstart --demo\n          legate run --kube --ambassador-id public"
    )]
    Run(Box<RunArgs>),
    /// Compile manifests and report what is wrong with them; exit 1 on errors
    Check(CheckArgs),
    /// Print the data-plane config, the diagnostics and the status that manifests compile to
    Compile(CompileArgs),
    /// Say which route wins for a request, what would be done, and why each rival lost
    #[command(
        after_help = "Example: legate explain manifests/ --url https://shop.example.com/cart -X POST"
    )]
    Explain(ExplainArgs),
    /// Print the routes, TLS settings and policies that differ between two sets of manifests; exit 1
    /// when any does
    Diff(DiffArgs),
    /// Print the CRDs
    Crds(CrdsArgs),
    /// The demo backend: answers every request with a JSON description of it
    Echo(EchoArgs),
    /// Print a shell completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Flags that decide which objects belong to this instance and how they compile.
#[derive(Debug, Clone, Args)]
pub struct CompileFlags {
    /// The instance: only objects whose `ambassador_id` holds it are taken
    #[arg(
        long,
        env = "AMBASSADOR_ID",
        default_value = "default",
        hide_env_values = true
    )]
    pub ambassador_id: String,
    /// The controller's namespace; also the namespace of objects that name none
    #[arg(
        long,
        env = "AMBASSADOR_NAMESPACE",
        default_value = "default",
        hide_env_values = true
    )]
    pub namespace: String,
    /// Take only objects of the controller's namespace
    #[arg(long)]
    pub single_namespace: bool,
    /// Take only objects with these labels, e.g. `team=a,tier!=test`
    #[arg(long, env = "AMBASSADOR_LABEL_SELECTOR", hide_env_values = true)]
    pub label_selector: Option<String>,
}

/// `legate run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Files, folders (recursive) or - for standard input
    #[arg(required_unless_present = "kube", conflicts_with = "kube")]
    pub paths: Vec<PathBuf>,
    /// Take resources from Kubernetes instead, and write their status
    #[arg(long)]
    pub kube: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a flattened group would show this as its help")]
    pub compile: CompileFlags,
    /// Start echo backends for what the manifests name and certificates for what is missing
    #[arg(long, conflicts_with = "kube")]
    pub demo: bool,
    /// Log level: error, warn, info, debug, trace
    #[arg(
        long,
        env = "AES_LOG_LEVEL",
        default_value = "info",
        hide_env_values = true
    )]
    pub log_level: String,
    /// Form of log lines on standard error
    #[arg(long, value_enum)]
    pub log_format: Option<LogFormat>,
    /// Worker threads [default: one per core]
    #[arg(long, env = "ENVOY_CONCURRENCY", hide_env_values = true)]
    pub workers: Option<usize>,
    /// Address of the admin server; may be repeated [default: 127.0.0.1:8877]
    #[arg(long)]
    pub admin_addr: Vec<SocketAddr>,
    /// IP address that Listeners bind to [default: all, IPv6 and IPv4]
    #[arg(long, env = "AMBASSADOR_ENVOY_BIND_ADDRESS", hide_env_values = true)]
    pub bind: Option<IpAddr>,
    /// Bind the Listener port DECLARED at ACTUAL instead; may be repeated
    #[arg(long, value_name = "DECLARED=ACTUAL", value_parser = port_pair)]
    pub port_map: Vec<(u16, u16)>,
    /// Bind every Listener port, and the default admin port, this much higher
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub port_offset: u16,
    /// Seconds to keep accepting after SIGTERM before connections are wound down [default: 0; with
    /// --kube 5]
    #[arg(long, value_name = "SECONDS")]
    pub drain_delay: Option<u64>,
    /// Keep the last good config, private keys included, in this folder, and serve it after a restart
    /// until a newer one is there; give it a memory-backed volume
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Redis or Valkey for rate limits that are shared and name no store: a URL, or host:port
    #[arg(long, env = "REDIS_URL", hide_env_values = true, value_name = "URL", value_parser = store_url)]
    pub ratelimit_store: Option<String>,
    /// Counters of rate limits to keep at a time; 32 bytes each
    #[arg(long, default_value_t = legate_gateway::limit::DEFAULT_CELLS, value_name = "N")]
    pub ratelimit_cells: usize,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a flattened group would show this as its help")]
    pub kubernetes: KubeFlags,
}

/// Flags of `legate run --kube`.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "With --kube")]
pub struct KubeFlags {
    /// The kubeconfig file [default: the pod's own account, then KUBECONFIG, then ~/.kube/config]
    #[arg(long, value_name = "FILE", requires = "kube")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig
    #[arg(long, value_name = "NAME", requires = "kube")]
    pub context: Option<String>,
    /// Watch only these namespaces, with rights in these only
    #[arg(
        long,
        value_name = "NS,…",
        value_delimiter = ',',
        requires = "kube",
        conflicts_with = "single_namespace"
    )]
    pub watch_namespaces: Vec<String>,
    /// Read Secrets of these namespaces only
    #[arg(
        long,
        value_name = "NS,…",
        value_delimiter = ',',
        requires = "kube",
        conflicts_with = "secret_names"
    )]
    pub secret_namespaces: Vec<String>,
    /// Read these Secrets only: one list and watch for each name
    #[arg(
        long,
        value_name = "NS/NAME,…",
        value_delimiter = ',',
        value_parser = secret_name,
        requires = "kube"
    )]
    pub secret_names: Vec<(String, String)>,
    /// Write the status of objects [default: on, or as AMBASSADOR_UPDATE_MAPPING_STATUS says]
    #[arg(long, value_enum, requires = "kube")]
    pub status: Option<Switch>,
    /// This replica's name, as it holds the Lease [default: the host's name]
    #[arg(long, env = "POD_NAME", hide_env_values = true, value_name = "NAME")]
    pub pod_name: Option<String>,
}

/// `legate check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Files, folders (recursive) or - for standard input
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a flattened group would show this as its help")]
    pub compile: CompileFlags,
    /// Form of the report
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    pub output: ReportFormat,
    /// Treat warnings, and what the folder lacks, as errors
    #[arg(long)]
    pub strict: bool,
    /// Colours
    #[arg(long, value_enum, default_value_t = ColourChoice::Auto)]
    pub color: ColourChoice,
}

/// `legate compile`
#[derive(Debug, Args)]
pub struct CompileArgs {
    /// Files, folders (recursive) or - for standard input
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a flattened group would show this as its help")]
    pub compile: CompileFlags,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = DataFormat::Yaml)]
    pub output: DataFormat,
}

/// `legate explain`
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Files, folders (recursive) or - for standard input
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a flattened group would show this as its help")]
    pub compile: CompileFlags,
    /// The request's URL; an explicit port picks the Listener, else http = 8080 and https = 8443
    #[arg(long)]
    pub url: String,
    /// The request's method
    #[arg(short = 'X', long, default_value = "GET")]
    pub method: String,
    /// A request header, `name: value`; may be repeated
    #[arg(short = 'H', long = "header")]
    pub headers: Vec<String>,
    /// The weight draw, 0–99
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..100))]
    pub draw: Option<u32>,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = ExplainFormat::Text)]
    pub output: ExplainFormat,
}

/// `legate diff`
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The manifests as they were
    pub before: PathBuf,
    /// The manifests as they are
    pub after: PathBuf,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a flattened group would show this as its help")]
    pub compile: CompileFlags,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = ExplainFormat::Text)]
    pub output: ExplainFormat,
}

/// `legate crds`
#[derive(Debug, Args)]
pub struct CrdsArgs {
    /// Write one file per kind into this folder instead of printing
    #[arg(long)]
    pub output_dir: Option<PathBuf>,
}

/// `legate echo`
#[derive(Debug, Args)]
pub struct EchoArgs {
    /// Address to listen on; may be repeated
    #[arg(long, required = true)]
    pub listen: Vec<SocketAddr>,
    /// The `name` in its answers [default: the address]
    #[arg(long)]
    pub name: Option<String>,
    /// Play a service that the gateway asks, instead of a backend
    #[arg(long = "as", value_name = "SERVICE")]
    pub role: Option<EchoRole>,
    /// How often a descriptor may come, with `--as ratelimit`
    #[arg(long, value_name = "N", default_value_t = crate::echo::PER_MINUTE)]
    pub per_minute: u32,
}

/// A service that the gateway asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EchoRole {
    /// An HTTP AuthService: lets bearer tokens pass and sends them on as `x-user`
    AuthHttp,
    /// The same over gRPC; it also sends on what the Mapping's `auth_context_extensions` say
    AuthGrpc,
    /// A RateLimitService: each descriptor may come `--per-minute` times
    #[value(name = "ratelimit")]
    RateLimit,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object per line
    Json,
}

/// Form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For people
    Text,
    /// A JSON list of diagnostics
    Json,
    /// SARIF 2.1.0, for code-review tools
    Sarif,
}

/// Form of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DataFormat {
    /// YAML
    Yaml,
    /// JSON
    Json,
}

/// Form of an explanation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExplainFormat {
    /// For people
    Text,
    /// JSON
    Json,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// Do
    On,
    /// Do not
    Off,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColourChoice {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

fn secret_name(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        _ => Err(format!("`{text}` is not NAMESPACE/NAME")),
    }
}

fn store_url(text: &str) -> Result<String, String> {
    legate_gateway::limit::check_store_url(text)?;
    Ok(text.to_owned())
}

fn port_pair(text: &str) -> Result<(u16, u16), String> {
    let (declared, actual) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` is not DECLARED=ACTUAL"))?;
    let port = |text: &str| {
        text.trim()
            .parse::<u16>()
            .map_err(|_| format!("`{text}` is not a port number"))
    };
    Ok((port(declared)?, port(actual)?))
}
