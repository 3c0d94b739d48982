//! What flags and environment variables mean together. Flags win over variables.

use std::time::Duration;

use legate_compiler::{MissingRefs, Mode, Options};

use legate_source::kube::SecretAccess;

use crate::args::{CompileFlags, KubeFlags, Switch};

/// The environment, as far as it is asked; tests bring their own.
pub trait Environment {
    /// A variable's value.
    fn var(&self, name: &str) -> Option<String>;

    /// The names of all variables.
    fn names(&self) -> Vec<String>;
}

/// The process's own environment.
#[derive(Debug, Clone, Copy)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn var(&self, name: &str) -> Option<String> {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    }

    fn names(&self) -> Vec<String> {
        std::env::vars_os()
            .map(|(name, _)| name.to_string_lossy().into_owned())
            .collect()
    }
}

/// Whether a variable is set to something true: all but ``, `0`, `false`, `no`, `off`.
#[must_use]
pub fn truthy(environment: &dyn Environment, name: &str) -> bool {
    environment.var(name).is_some_and(|value| {
        !matches!(
            value.to_ascii_lowercase().as_str(),
            "" | "0" | "false" | "no" | "off"
        )
    })
}

/// Compile options from flags and environment.
#[must_use]
pub fn compile_options(
    flags: &CompileFlags,
    environment: &dyn Environment,
    missing: MissingRefs,
) -> Options {
    let id = if flags.ambassador_id.is_empty() {
        "default"
    } else {
        &flags.ambassador_id
    };
    Options {
        ambassador_id: id.to_owned(),
        namespace: flags.namespace.clone(),
        single_namespace: flags.single_namespace
            || truthy(environment, "AMBASSADOR_SINGLE_NAMESPACE"),
        strict_label_selectors: !truthy(environment, "DISABLE_STRICT_LABEL_SELECTORS"),
        mode: Mode::Folder,
        missing,
        endpoints: !truthy(environment, "AMBASSADOR_DISABLE_ENDPOINTS"),
        now: Some(now()),
        ..Options::default()
    }
}

/// Seconds since the epoch.
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since
        .ok()
        .and_then(|since| i64::try_from(since.as_secs()).ok())
        .unwrap_or(0)
}

/// This machine's name; empty where the system does not tell.
#[must_use]
pub fn hostname() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    text.trim().to_owned()
}

/// How long connections may take to end by themselves: `AMBASSADOR_DRAIN_TIME`, else 10 s for a
/// folder and 600 s in a cluster, where the pod's grace period ends it earlier.
#[must_use]
pub fn drain_time(environment: &dyn Environment, kube: bool) -> Duration {
    environment
        .var("AMBASSADOR_DRAIN_TIME")
        .and_then(|text| text.trim().parse().ok())
        .map_or(
            Duration::from_secs(if kube { 600 } else { 10 }),
            Duration::from_secs,
        )
}

/// Variables of Emissary that have no effect here, or not yet; spec/operations §1.6.
const WITHOUT_EFFECT: &[&str] = &[
    "AGENT_CONFIG_RESOURCE_NAME",
    "AMBASSADOR_AMBEX_NO_RATELIMIT",
    "AMBASSADOR_AMBEX_SNAPSHOT_COUNT",
    "AMBASSADOR_CERTS_SINGLE_NAMESPACE",
    "AMBASSADOR_CLUSTER_ID",
    "AMBASSADOR_CONFIG_BASE_DIR",
    "AMBASSADOR_CONFIG_DIR",
    "AMBASSADOR_DISABLE_FEATURES",
    "AMBASSADOR_EDS_BYPASS",
    "AMBASSADOR_ENVOY_BASE_ID",
    "AMBASSADOR_FAST_RECONFIGURE",
    "AMBASSADOR_FIELD_SELECTOR",
    "AMBASSADOR_FORCE_ENDPOINTS",
    "AMBASSADOR_GRPC_METRICS_SINK",
    "AMBASSADOR_HEALTHCHECK_IP_FAMILY",
    "AMBASSADOR_ISTIO_SECRET_DIR",
    "AMBASSADOR_KNATIVE_SUPPORT",
    "AMBASSADOR_LOG_RESOURCES",
    "AMBASSADOR_READY_LOG",
    "AMBASSADOR_READY_PORT",
    "AMBASSADOR_RECONFIG_MAX_DELAY",
    "AMBASSADOR_SNAPSHOT_COUNT",
    "AMBASSADOR_UPDATE_MAPPING_STATUS",
    "AMBASSADOR_VERIFY_SSL_FALSE",
    "DIAGD_ONLY",
    "SCOUT_DISABLE",
];

/// Of those, the ones that have an effect with `--kube`.
const EFFECTIVE_IN_CLUSTERS: &[&str] = &[
    "AMBASSADOR_CERTS_SINGLE_NAMESPACE",
    "AMBASSADOR_FAST_RECONFIGURE",
    "AMBASSADOR_FIELD_SELECTOR",
    "AMBASSADOR_FORCE_ENDPOINTS",
    "AMBASSADOR_RECONFIG_MAX_DELAY",
    "AMBASSADOR_UPDATE_MAPPING_STATUS",
];

/// Beginnings of further such names.
const FAMILIES_WITHOUT_EFFECT: &[&str] = &["AMBASSADOR_APIEXT_", "AMBASSADOR_DIAGD_"];

/// One notice that names every variable that is set and has no effect on this run.
#[must_use]
pub fn notice(environment: &dyn Environment, kube: bool) -> Option<String> {
    let known = |name: &str| {
        let without =
            WITHOUT_EFFECT.contains(&name) && !(kube && EFFECTIVE_IN_CLUSTERS.contains(&name));
        without
            || FAMILIES_WITHOUT_EFFECT
                .iter()
                .any(|family| name.starts_with(family))
    };
    let is_set = |name: &str| environment.var(name).is_some_and(|value| !value.is_empty());
    let mut set: Vec<String> = environment
        .names()
        .into_iter()
        .filter(|name| known(name) && is_set(name))
        .collect();
    set.sort();
    (!set.is_empty()).then(|| format!("These variables have no effect here: {}", set.join(", ")))
}

/// How Secrets are read: the flags, else `AMBASSADOR_CERTS_SINGLE_NAMESPACE`, else everywhere.
#[must_use]
pub fn secret_access(
    flags: &KubeFlags,
    namespace: &str,
    environment: &dyn Environment,
) -> SecretAccess {
    if !flags.secret_names.is_empty() {
        SecretAccess::Names(flags.secret_names.clone())
    } else if !flags.secret_namespaces.is_empty() {
        SecretAccess::Namespaces(flags.secret_namespaces.clone())
    } else if truthy(environment, "AMBASSADOR_CERTS_SINGLE_NAMESPACE") {
        SecretAccess::Namespaces(vec![namespace.to_owned()])
    } else {
        SecretAccess::All
    }
}

/// Whether status is written: the flag, else `AMBASSADOR_UPDATE_MAPPING_STATUS`, else yes.
#[must_use]
pub fn writes_status(flag: Option<Switch>, environment: &dyn Environment) -> bool {
    match flag {
        Some(flag) => flag == Switch::On,
        None => {
            let name = "AMBASSADOR_UPDATE_MAPPING_STATUS";
            environment.var(name).is_none() || truthy(environment, name)
        }
    }
}

/// Whether the process log is JSON: the flag, else `AMBASSADOR_JSON_LOGGING`.
#[must_use]
pub fn json_log(flag: Option<crate::args::LogFormat>, environment: &dyn Environment) -> bool {
    flag.map_or_else(
        || truthy(environment, "AMBASSADOR_JSON_LOGGING"),
        |format| format == crate::args::LogFormat::Json,
    )
}

/// The log level: `AMBASSADOR_DEBUG`, when it names anything, means debug.
#[must_use]
pub fn log_level(flag: &str, environment: &dyn Environment) -> String {
    if flag == "info" && truthy(environment, "AMBASSADOR_DEBUG") {
        return "debug".to_owned();
    }
    flag.to_owned()
}

/// Health-check addresses from `AMBASSADOR_HEALTHCHECK_BIND_ADDRESS` and `_BIND_PORT`, when set.
///
/// # Errors
/// What is set is no address.
pub fn health_address(
    environment: &dyn Environment,
) -> Result<Option<std::net::SocketAddr>, String> {
    let address = environment.var("AMBASSADOR_HEALTHCHECK_BIND_ADDRESS");
    let port = environment.var("AMBASSADOR_HEALTHCHECK_BIND_PORT");
    if address.is_none() && port.is_none() {
        return Ok(None);
    }
    let ip = address.unwrap_or_else(|| "0.0.0.0".to_owned());
    let ip = ip
        .parse()
        .map_err(|_| format!("AMBASSADOR_HEALTHCHECK_BIND_ADDRESS: `{ip}`"))?;
    let port = port.unwrap_or_else(|| "8877".to_owned());
    let port = port
        .parse()
        .map_err(|_| format!("AMBASSADOR_HEALTHCHECK_BIND_PORT: `{port}`"))?;
    Ok(Some(std::net::SocketAddr::new(ip, port)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    impl Environment for BTreeMap<&str, &str> {
        fn var(&self, name: &str) -> Option<String> {
            self.get(name).map(|value| (*value).to_owned())
        }

        fn names(&self) -> Vec<String> {
            self.keys().map(|name| (*name).to_owned()).collect()
        }
    }

    #[test]
    fn truth_values() {
        for (value, expected) in [
            ("", false),
            ("0", false),
            ("False", false),
            ("no", false),
            ("off", false),
            ("1", true),
            ("x", true),
        ] {
            assert_eq!(
                truthy(&BTreeMap::from([("V", value)]), "V"),
                expected,
                "{value}"
            );
        }
        assert!(!truthy(&BTreeMap::new(), "V"));
    }

    #[test]
    fn secrets_and_status_of_clusters() {
        let none = BTreeMap::new();
        let single = BTreeMap::from([("AMBASSADOR_CERTS_SINGLE_NAMESPACE", "yes")]);
        let mut flags = KubeFlags::default();
        assert_eq!(secret_access(&flags, "own", &none), SecretAccess::All);
        assert_eq!(
            secret_access(&flags, "own", &single),
            SecretAccess::Namespaces(vec!["own".to_owned()])
        );
        flags.secret_names = vec![("a".to_owned(), "b".to_owned())];
        assert_eq!(
            secret_access(&flags, "own", &single),
            SecretAccess::Names(flags.secret_names.clone())
        );
        let off = BTreeMap::from([("AMBASSADOR_UPDATE_MAPPING_STATUS", "false")]);
        assert!(writes_status(None, &none));
        assert!(!writes_status(None, &off));
        assert!(writes_status(Some(Switch::On), &off));
        let effective = BTreeMap::from([("AMBASSADOR_FIELD_SELECTOR", "a=b")]);
        assert_eq!(notice(&effective, true), None);
        assert!(notice(&effective, false).is_some());
    }

    #[test]
    fn variables_without_effect_are_named_once() {
        assert_eq!(notice(&BTreeMap::new(), false), None);
        let environment = BTreeMap::from([
            ("SCOUT_DISABLE", "1"),
            ("DIAGD_ONLY", "1"),
            ("AMBASSADOR_DIAGD_BIND_PORT", "1"),
            ("HOME", "/"),
        ]);
        assert_eq!(
            notice(&environment, false).as_deref(),
            Some(
                "These variables have no effect here: AMBASSADOR_DIAGD_BIND_PORT, DIAGD_ONLY, SCOUT_DISABLE"
            )
        );
    }
}
