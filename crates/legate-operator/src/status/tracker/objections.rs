//! What the snapshot and the gateways have to say about an object.

use legate_api::{Kind, ObjectKey};

use super::Rejection;
use super::gate::{Objection, Presence};
use crate::status::conditions::{REACHABLE, Truth, Verdict, bounded};
use crate::status::gateways::Gateways;
use crate::status::index::{Index, Rows};

/// What an object is in the newest snapshot.
pub(super) fn presence(index: &Index, key: &ObjectKey) -> Presence {
    if !matches!(key.kind, Kind::Mapping | Kind::TcpMapping) {
        return match index.listeners(key).next() {
            Some(_) => Presence::Whole,
            None if key.kind == Kind::Host => {
                Presence::Absent("NoListener", "no Listener serves this Host")
            }
            None => Presence::Absent("NoHosts", "no port is opened for this Listener"),
        };
    }
    match index.rows(key) {
        Rows::None => Presence::Absent("NoRoute", "no route was made from it"),
        Rows::Failing => Presence::Absent(
            "Failing",
            "requests that it matches are answered with an error; see the diagnostics",
        ),
        Rows::WithoutEndpoints => Presence::WithoutEndpoints,
        Rows::Serving => Presence::Whole,
    }
}

/// What gateways that have the current version say against it.
pub(super) fn rejected(rejections: &[Rejection], since: u64) -> Option<Objection> {
    let found: Vec<String> = rejections
        .iter()
        .filter(|rejection| rejection.snapshot >= since)
        .map(|rejection| {
            let Rejection {
                gateway, message, ..
            } = rejection;
            format!("gateway {} rejects {message}", gateway.0)
        })
        .collect();
    (!found.is_empty()).then(|| Objection {
        reason: "RejectedByGateway",
        message: found.join("; "),
    })
}

/// Sockets that some gateway has not got. A Host needs one of its listeners, a Listener its own.
pub(super) fn unbound(
    index: &Index,
    gateways: &Gateways,
    key: &ObjectKey,
    since: u64,
) -> Option<Objection> {
    for (id, gateway) in gateways.iter().filter(|(_, g)| g.snapshot >= since) {
        let mut first = None;
        let mut fine = false;
        for listener in index.listeners(key) {
            match gateway.binds.get(listener.as_str()) {
                Some(Err(error)) => first = first.or(Some((listener, error))),
                _ => fine = true,
            }
        }
        if let Some((listener, error)) = first.filter(|_| !fine) {
            return Some(Objection {
                reason: match key.kind {
                    Kind::Host => "NoListener",
                    _ => bind_reason(error),
                },
                message: format!("gateway {} cannot bind {listener}: {error}", id.0),
            });
        }
    }
    None
}

/// The reason for a socket that could not be bound, from the system's words.
fn bind_reason(error: &str) -> &'static str {
    let error = error.to_ascii_lowercase();
    if error.contains("in use") {
        "AddressInUse"
    } else if error.contains("permission denied") {
        "PermissionDenied"
    } else {
        "BindFailed"
    }
}

/// How many gateways have a Listener's socket.
pub(super) fn bound_everywhere(
    index: &Index,
    gateways: &Gateways,
    key: &ObjectKey,
    since: u64,
) -> usize {
    gateways
        .iter()
        .filter(|(_, gateway)| {
            gateway.snapshot >= since
                && index
                    .listeners(key)
                    .all(|listener| matches!(gateway.binds.get(listener.as_str()), Some(Ok(_))))
        })
        .count()
}

/// `TLSReady` of a Host, after what gateways and the snapshot say.
pub(super) fn refine_tls(verdicts: &mut [Verdict], rejections: &[Rejection], tls: bool) {
    let Some(ready) = verdicts
        .iter_mut()
        .find(|verdict| verdict.type_ == "TLSReady" && verdict.truth == Truth::True)
    else {
        return;
    };
    if let Some(objection) = rejected(rejections, 0) {
        ready.truth = Truth::False;
        ready.reason = objection.reason;
        ready.message = bounded(objection.message);
    } else if !tls && ready.reason == "Ready" {
        ready.reason = "NoTLS";
    }
}

/// `Reachable` of an object that has gateways ask somebody; `None` of others. It holds until a gateway
/// says otherwise: who comes and goes is no news. Where somebody is asked only if gateways know whom,
/// nothing is said until then.
pub(super) fn reachable(index: &Index, gateways: &Gateways, key: &ObjectKey) -> Option<Verdict> {
    let mut asks = false;
    let mut troubles = Vec::new();
    for (asked, always) in index.asked(key) {
        asks |= always;
        for (id, gateway) in gateways.iter() {
            if let Some(Err(trouble)) = gateway.reached.get(&asked) {
                troubles.push(format!("gateway {}: {trouble}", id.0));
            }
        }
    }
    let (truth, reason) = match troubles.is_empty() {
        true if !asks => return None,
        true => (Truth::True, REACHABLE),
        false => (Truth::False, "Unreachable"),
    };
    Some(Verdict {
        type_: REACHABLE,
        truth,
        reason,
        message: bounded(troubles.join("; ")),
    })
}
