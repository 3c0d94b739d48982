//! What the admin server shows of a run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use legate_gateway::metrics::Metrics;
use legate_gateway::{EndpointView, Gateway};
use legate_runtime::admin::{AdminServer, AdminState};
use legate_runtime::logging::LogHandle;
use legate_runtime::metrics::Registry;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;

use super::StartError;
use super::kube::ControlView;

/// What is shown.
pub(super) struct Shown<'a> {
    pub(super) gateway: &'a Arc<Gateway>,
    pub(super) metrics: &'a Arc<Metrics>,
    /// In a cluster.
    pub(super) control: Option<ControlView>,
}

/// Starts the admin server; without an address there is none.
pub(super) fn start(
    addresses: &[SocketAddr],
    shown: Shown<'_>,
    quit: Option<UnboundedSender<()>>,
    log: Option<LogHandle>,
) -> Result<Option<AdminServer>, StartError> {
    if addresses.is_empty() {
        return Ok(None);
    }
    let registry = Registry::new();
    registry.register(|registry| shown.metrics.register(registry));
    if let Some(control) = &shown.control {
        control.register(&registry);
    }
    let state = State {
        gateway: Arc::clone(shown.gateway),
        quit,
        started: Instant::now(),
        control: shown.control,
    };
    AdminServer::start(addresses, Arc::new(state), registry, log)
        .map(Some)
        .map_err(StartError::Admin)
}

struct State {
    gateway: Arc<Gateway>,
    quit: Option<UnboundedSender<()>>,
    started: Instant,
    control: Option<ControlView>,
}

/// What is wrong with an endpoint, in Envoy's words.
fn health_flags(endpoint: &EndpointView) -> String {
    let flags = [
        (endpoint.healthy == Some(false), "/failed_active_hc"),
        (endpoint.healthy.is_none(), "/pending_active_hc"),
        (endpoint.ejected, "/failed_outlier_check"),
    ];
    let text: String = flags
        .iter()
        .filter(|(set, _)| *set)
        .map(|(_, flag)| *flag)
        .collect();
    if text.is_empty() {
        "healthy".to_owned()
    } else {
        text
    }
}

impl AdminState for State {
    fn ready(&self) -> Result<(), String> {
        let ready = self.gateway.ready();
        // What the control loop waits for says more than that the gateway waits.
        let why = self.control.as_ref().and_then(ControlView::waits_for);
        ready.map_err(|reason| why.unwrap_or(reason))
    }

    fn config_dump(&self) -> Value {
        self.gateway.view().snapshot.map_or(
            Value::Null,
            |snapshot| json!({"id": snapshot.id, "root": snapshot.root, "config": &*snapshot}),
        )
    }

    fn clusters_text(&self) -> String {
        let mut text = String::new();
        for cluster in self.gateway.view().clusters {
            let name = &cluster.stats_name;
            let counters = &cluster.counters;
            for (fact, value) in [
                ("cx_active", counters.cx_active),
                ("cx_total", counters.cx_total),
                ("cx_connect_fail", counters.cx_connect_fail),
                ("rq_active", counters.rq_active),
                ("rq_total", counters.rq_total),
                ("cx_overflow", counters.cx_overflow),
                ("rq_pending_overflow", counters.rq_pending_overflow),
                ("rq_retry_overflow", counters.rq_retry_overflow),
                ("rq_retry", counters.rq_retry),
                ("rq_retry_success", counters.rq_retry_success),
            ] {
                let _ = writeln!(text, "{name}::{fact}::{value}");
            }
            for endpoint in &cluster.endpoints {
                let (address, flags) = (endpoint.address, health_flags(endpoint));
                let _ = writeln!(text, "{name}::{address}::health_flags::{flags}");
            }
        }
        text
    }

    fn clusters_json(&self) -> Value {
        let clusters: Vec<Value> = self
            .gateway
            .view()
            .clusters
            .iter()
            .map(|cluster| {
                let counters = &cluster.counters;
                let addresses: Vec<_> = cluster.endpoints.iter().map(|it| it.address).collect();
                let unhealthy: BTreeMap<_, _> = cluster
                    .endpoints
                    .iter()
                    .filter(|it| it.ejected || it.healthy != Some(true))
                    .map(|it| (it.address.to_string(), health_flags(it)))
                    .collect();
                json!({
                    "name": cluster.stats_name,
                    "key": cluster.key,
                    "http2": cluster.http2,
                    "tls": cluster.tls,
                    "endpoint_set": cluster.endpoint_set,
                    "resolving": cluster.resolving,
                    "endpoints": addresses,
                    "unhealthy": unhealthy,
                    "cx_active": counters.cx_active,
                    "cx_total": counters.cx_total,
                    "cx_connect_fail": counters.cx_connect_fail,
                    "rq_active": counters.rq_active,
                    "rq_total": counters.rq_total,
                    "cx_overflow": counters.cx_overflow,
                    "rq_pending_overflow": counters.rq_pending_overflow,
                    "rq_retry_overflow": counters.rq_retry_overflow,
                    "rq_retry": counters.rq_retry,
                    "rq_retry_success": counters.rq_retry_success,
                })
            })
            .collect();
        json!({"cluster_statuses": clusters})
    }

    fn listeners_text(&self) -> String {
        let mut text = String::new();
        for listener in self.gateway.view().listeners {
            let at = match (&listener.bound, &listener.error) {
                (Some(bound), _) => bound.to_string(),
                (None, Some(error)) => format!("not open: {error}"),
                (None, None) => "not open".to_owned(),
            };
            let _ = writeln!(text, "{}::{at}", listener.key);
        }
        text
    }

    fn listeners_json(&self) -> Value {
        let listeners: Vec<Value> = self
            .gateway
            .view()
            .listeners
            .iter()
            .map(|listener| {
                json!({
                    "name": listener.key,
                    "declared_port": listener.declared,
                    "local_address": listener.bound,
                    "error": listener.error,
                })
            })
            .collect();
        json!({"listener_statuses": listeners})
    }

    fn server_info(&self) -> Value {
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "state": self.phase().as_str(),
            "uptime_current_epoch": format!("{}s", self.started.elapsed().as_secs()),
        })
    }

    fn quit(&self) {
        if let Some(quit) = &self.quit {
            // Fails only when the process ends already.
            let _ = quit.send(());
        }
    }
}
