//! Retries that a policy asks for (spec/services §3.4), on top of those that are always safe.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Response, StatusCode};
use legate_config::policy::{Retry, RetryOn};
use rand::Rng;

use super::balance::Tried;
use super::body::UpstreamBody;
use super::breaker::RetryPermit;
use super::cluster::ClusterHandle;
use super::pool::WorkerPool;
use super::send::Call;
use super::slot::{Slot, Spare};
use crate::error::{ErrorKind, ProxyError};

/// The first pause is up to this; each is up to twice the one before, and more.
const BASE: Duration = Duration::from_millis(25);
/// The longest pause.
const MOST: Duration = Duration::from_millis(250);

/// Answers with one of these come from somebody who has too much already.
const NEVER: [HeaderName; 2] = [
    HeaderName::from_static("x-envoy-overloaded"),
    HeaderName::from_static("x-envoy-ratelimited"),
];

type Outcome = Result<Response<UpstreamBody>, ProxyError>;

impl WorkerPool {
    /// Sends a request as [`Self::send_slot`] does, and again as the policy says.
    pub(crate) async fn send_retrying(
        &self,
        cluster: &Arc<ClusterHandle>,
        slot: &mut Slot,
        call: &mut Call,
        policy: &Retry,
    ) -> Outcome {
        let Some(spare) = slot.spare(call.most_kept) else {
            return Err(ProxyError::new(ErrorKind::Unsendable));
        };
        let class = cluster.owner(call.priority).class();
        let mut tried = Tried::default();
        let mut permit: Option<RetryPermit> = None;
        let mut attempt = 0_u32;
        loop {
            spare.fill(slot);
            let sending = self.send_from(cluster, slot, call, &mut tried, attempt > 0);
            let mut outcome = limited(sending, &spare, policy).await;
            drop(permit.take());
            slot.clear();
            if !is_wanted(policy.on, &outcome) || !spare.is_whole() {
                if attempt > 0 && outcome.is_ok() {
                    class.retry_succeeded();
                }
                return outcome.map_err(|error| error.after(attempt));
            }
            if attempt >= policy.num_retries {
                call.exhausted = true;
                return outcome.map_err(|error| error.after(attempt));
            }
            permit = cluster.owner(call.priority).retry();
            if permit.is_none() {
                call.retry_overflow = true;
                return outcome.map_err(|error| error.after(attempt));
            }
            attempt = attempt.saturating_add(1);
            let list = cluster.endpoints.list();
            let elsewhere = list.addresses().any(|it| !tried.contains(&it));
            drop(list);
            // Its connection is let go before the pause.
            let failed = outcome.is_err();
            outcome = Err(ProxyError::new(ErrorKind::ConnectionTerminated));
            drop(outcome);
            if !(failed && elsewhere) {
                tokio::time::sleep(pause(attempt)).await;
            }
        }
    }
}

/// One attempt within its own limit, which starts when the client's request is complete.
async fn limited(sending: impl Future<Output = Outcome>, spare: &Spare, policy: &Retry) -> Outcome {
    if policy.per_try_timeout_ms == 0 {
        return sending.await;
    }
    let late = async {
        spare.complete().await;
        tokio::time::sleep(Duration::from_millis(policy.per_try_timeout_ms)).await;
    };
    tokio::select! {
        biased;
        outcome = sending => outcome,
        () = late => Err(ProxyError::new(ErrorKind::PerTryTimeout)),
    }
}

/// Whether an outcome is one that the policy retries.
fn is_wanted(on: RetryOn, outcome: &Outcome) -> bool {
    match outcome {
        Ok(response) => {
            let headers = response.headers();
            on_status(on, response.status()) && !NEVER.iter().any(|it| headers.contains_key(it))
        }
        Err(error) => match on {
            RetryOn::ServerError | RetryOn::GatewayError => error.retryable(),
            RetryOn::ConnectFailure => matches!(
                error.kind(),
                ErrorKind::ConnectFailed | ErrorKind::ConnectTimeout | ErrorKind::TlsFailed
            ),
            RetryOn::RefusedStream => error.kind() == ErrorKind::RefusedStream,
            RetryOn::Conflict => false,
        },
    }
}

fn on_status(on: RetryOn, status: StatusCode) -> bool {
    match on {
        RetryOn::ServerError => status.is_server_error(),
        RetryOn::GatewayError => matches!(status.as_u16(), 502..=504),
        RetryOn::Conflict => status == StatusCode::CONFLICT,
        RetryOn::ConnectFailure | RetryOn::RefusedStream => false,
    }
}

/// A random pause before the n-th retry.
fn pause(attempt: u32) -> Duration {
    let factor = 1_u32
        .checked_shl(attempt)
        .map_or(u32::MAX, |power| power.saturating_sub(1));
    let most = BASE.saturating_mul(factor).min(MOST);
    most.mul_f64(rand::rng().random_range(0.0..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_limit() {
        for (attempt, most) in [(1, 25), (2, 75), (3, 175), (4, 250), (40, 250)] {
            let longest = (0..200).map(|_| pause(attempt)).max().unwrap();
            let most = Duration::from_millis(most);
            assert!(longest <= most, "{attempt}: {longest:?}");
            assert!(longest > most / 2, "{attempt}: {longest:?}");
        }
    }

    #[test]
    fn each_condition_takes_its_own() {
        let failed = |kind| Err(ProxyError::new(kind));
        for (on, kinds, statuses) in [
            (
                RetryOn::ServerError,
                [true, true, true, true],
                [true, true, false],
            ),
            (
                RetryOn::GatewayError,
                [true, true, true, true],
                [false, true, false],
            ),
            (
                RetryOn::ConnectFailure,
                [true, false, false, false],
                [false, false, false],
            ),
            (
                RetryOn::RefusedStream,
                [false, true, false, false],
                [false, false, false],
            ),
            (
                RetryOn::Conflict,
                [false, false, false, false],
                [false, false, true],
            ),
        ] {
            for (kind, wanted) in [
                ErrorKind::ConnectFailed,
                ErrorKind::RefusedStream,
                ErrorKind::ConnectionTerminated,
                ErrorKind::PerTryTimeout,
            ]
            .into_iter()
            .zip(kinds)
            {
                assert_eq!(is_wanted(on, &failed(kind)), wanted, "{on:?} {kind:?}");
            }
            for (status, wanted) in [500, 503, 409].into_iter().zip(statuses) {
                let status = StatusCode::from_u16(status).unwrap();
                assert_eq!(on_status(on, status), wanted, "{on:?} {status}");
            }
            for kind in [
                ErrorKind::Overflow,
                ErrorKind::Downstream,
                ErrorKind::NoHealthyUpstream,
            ] {
                assert!(!is_wanted(on, &failed(kind)), "{on:?} {kind:?}");
            }
        }
    }
}
