//! Clocks that disagree: a Lease of a holder whose time is hours off.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{Api, PostParams};
use legate_testkit::client::Error;
use legate_testkit::kube::{Launch, Namespace};
use libtest_mimic::Trial;

use crate::bench::Bench;
use crate::faults::{PATIENCE, YES};
use crate::instance;
use crate::rights::identity;

/// How far clocks are off.
const HOURS: SignedDuration = SignedDuration::from_hours(5);
/// How long the foreign Lease lasts.
const DURATION: Duration = Duration::from_secs(5);
/// How long its holder goes on renewing it: longer than that.
const RENEWING: Duration = Duration::from_secs(9);

pub(crate) fn trials(bench: &Arc<Bench>) -> Vec<Trial> {
    vec![
        bench.trial("fault_clock_of_a_dead_holder_is_ahead", |space| {
            dead(space, HOURS)
        }),
        bench.trial("fault_clock_of_a_dead_holder_is_behind", |space| {
            dead(space, -HOURS)
        }),
        bench.trial("fault_clock_of_a_live_holder_is_behind", live),
    ]
}

/// The Lease of a namespace's instance, as another replica would put it whose clock is off.
async fn put(space: &Namespace, off: SignedDuration) -> Result<(), Error> {
    let api: Api<Lease> = Api::namespaced(space.server().client(), space.name());
    let name = identity(space, "").lease_name();
    let old = api.get_opt(&name).await?;
    let mut lease = old.clone().unwrap_or_default();
    lease.metadata.name = Some(name.clone());
    lease.spec = Some(LeaseSpec {
        holder_identity: Some("elsewhere_1".to_owned()),
        lease_duration_seconds: Some(i32::try_from(DURATION.as_secs())?),
        renew_time: Some(MicroTime(Timestamp::now() + off)),
        lease_transitions: Some(7),
        ..LeaseSpec::default()
    });
    let params = PostParams::default();
    match old {
        Some(_) => api.replace(&name, &params, &lease).await?,
        None => api.create(&params, &lease).await?,
    };
    Ok(())
}

/// Nobody renews it: it is taken when it was seen unchanged for its time, whatever it says.
async fn dead(space: Namespace, off: SignedDuration) -> Result<(), Error> {
    let account = instance::account(&space).await?;
    put(&space, off).await?;
    space.cleartext().await?;
    let _origin = space.backend("shop").await?;
    space.mapping("shop", "/shop/", "shop").await?;
    let launch = Launch::new(&space, account.kubeconfig());
    let begin = Instant::now();
    let legate = launch.ready().await?;
    legate
        .metric_reaches("legate_leader", &[], 1.0, PATIENCE)
        .await?;
    let took = begin.elapsed();
    assert!(took >= DURATION, "taken after {took:?}");
    assert!(took < 3 * DURATION, "taken after {took:?}");
    space.wait_for("Mapping", "shop", YES, PATIENCE).await?;
    assert_eq!(legate.get("any.example", "/shop/").await?.status, 200);
    Ok(())
}

/// Somebody renews it, with times that are long over: it is not taken.
async fn live(space: Namespace) -> Result<(), Error> {
    let account = instance::account(&space).await?;
    put(&space, -HOURS).await?;
    space.cleartext().await?;
    let _origin = space.backend("shop").await?;
    space.mapping("shop", "/shop/", "shop").await?;
    let legate = Launch::new(&space, account.kubeconfig()).ready().await?;
    let begin = Instant::now();
    while begin.elapsed() < RENEWING {
        put(&space, -HOURS).await?;
        let leads = legate.metric("legate_leader", &[]).await?;
        assert!(leads < 0.5, "it took a Lease that is renewed");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // It serves all the same, and leaves status to the other.
    assert_eq!(legate.get("any.example", "/shop/").await?.status, 200);
    let object = space.get("Mapping", "shop").await?.ok_or("no Mapping")?;
    assert!(object.get("status").is_none(), "{object}");
    // The last renewal has its time, too.
    legate
        .metric_reaches("legate_leader", &[], 1.0, PATIENCE)
        .await?;
    space
        .wait_for("Mapping", "shop", YES, PATIENCE)
        .await
        .map(|_object| ())
}
