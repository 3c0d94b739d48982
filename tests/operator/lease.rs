//! The election against a real API server, with the shipped rights.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use legate_operator::lease::{LeaseElector, LeaseHandle, LeaseSettings};
use legate_testkit::client::Error;
use legate_testkit::kube::{AuditMark, FaultProxy, Namespace, eventually};
use libtest_mimic::Trial;
use tokio::runtime::Handle;

use crate::bench::Bench;
use crate::instance;
use crate::rights::{client, identity, own_namespace};

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn trials(bench: &Arc<Bench>) -> Vec<Trial> {
    vec![
        bench.trial("lease_is_handed_over_at_once_when_released", released),
        bench.trial("lease_of_a_dead_holder_expires", dead),
        bench.trial("lease_is_lost_with_the_api_server", cut_off),
        bench.trial("lease_has_one_holder_of_several_creators", creators),
        bench.trial("lease_needs_a_right", forbidden),
    ]
}

/// Quicker than in earnest, so that a test need not wait.
fn quick(duration: u64) -> LeaseSettings {
    LeaseSettings {
        duration: Duration::from_secs(duration),
        renew_deadline: Duration::from_secs(2),
        retry: Duration::from_millis(300),
        ..LeaseSettings::default()
    }
}

fn start(
    client: kube::Client,
    space: &Namespace,
    pod: &str,
    settings: LeaseSettings,
) -> LeaseHandle {
    LeaseElector::start(client, &identity(space, pod), settings, &Handle::current())
}

/// Waits until the candidate leads or does not; returns the time from which that was so.
async fn turned(handle: &LeaseHandle, leads: bool) -> Result<Instant, Error> {
    let mut leadership = handle.leadership();
    let wanted = leadership.wait_for(|leadership| leadership.is_leader == leads);
    let found = tokio::time::timeout(PATIENCE, wanted).await;
    let found = found.map_err(|_| format!("not within {PATIENCE:?}: leads = {leads}"))??;
    Ok(found.since)
}

async fn sees(handle: &LeaseHandle, holder: &str) -> Result<(), Error> {
    eventually("the holder is seen", PATIENCE, async || {
        let name = handle.holder()?;
        name.starts_with(holder).then_some(())
    })
    .await
}

async fn record(space: &Namespace) -> Result<Lease, Error> {
    let api: Api<Lease> = Api::namespaced(space.server().client(), space.name());
    Ok(api.get(&identity(space, "").lease_name()).await?)
}

async fn released(space: Namespace) -> Result<(), Error> {
    let account = own_namespace(&space).await?;
    let client = client(account.kubeconfig()).await?;
    let settings = LeaseSettings {
        discovery_address: Some("10.0.0.1:18000".to_owned()),
        ..quick(60)
    };
    let first = start(client.clone(), &space, "first", settings);
    turned(&first, true).await?;
    let lease = record(&space).await?;
    let annotations = lease.metadata.annotations.unwrap_or_default();
    assert_eq!(
        annotations["getambassador.io/discovery-address"],
        "10.0.0.1:18000"
    );
    assert_eq!(
        lease.spec.unwrap_or_default().lease_duration_seconds,
        Some(60)
    );

    let second = start(client, &space, "second", quick(60));
    sees(&second, "first_").await?;
    assert_eq!(first.holder(), None, "a holder is not foreign to itself");
    assert!(!second.leadership().borrow().is_leader);
    let before = first.leadership().borrow().generation;
    let asked = Instant::now();
    let lost = first.leading();
    first.release().await;
    assert!(!*lost.borrow());
    turned(&second, true).await?;
    // Far below the Lease's minute.
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
    assert!(second.leadership().borrow().generation > before);
    let lease = record(&space).await?;
    let annotations = lease.metadata.annotations.unwrap_or_default();
    assert!(
        !annotations.contains_key("getambassador.io/discovery-address"),
        "of the first"
    );
    second.release().await;
    let spec = record(&space).await?.spec.unwrap_or_default();
    assert_eq!(spec.holder_identity.as_deref(), Some(""));

    let requests = space
        .server()
        .audit_of(&account.user(), AuditMark::START)
        .await?;
    assert!(
        requests.iter().all(|event| event.code != 403),
        "{requests:?}"
    );
    let mut used: Vec<(&str, u16)> = requests
        .iter()
        .filter(|event| event.resource == "leases")
        .map(|event| (event.verb.as_str(), event.code))
        .collect();
    used.sort_unstable();
    used.dedup();
    // Made by a PUT, and nothing else is asked for.
    assert_eq!(
        used,
        [("get", 200), ("get", 404), ("update", 200), ("update", 201)]
    );
    Ok(())
}

async fn dead(space: Namespace) -> Result<(), Error> {
    let account = own_namespace(&space).await?;
    let client = client(account.kubeconfig()).await?;
    let first = start(client.clone(), &space, "first", quick(3));
    turned(&first, true).await?;
    let second = start(client, &space, "second", quick(3));
    sees(&second, "first_").await?;
    let leading = first.leading();
    let died = Instant::now();
    // Nothing is given back.
    drop(first);
    let since = turned(&second, true).await?;
    let after = since.duration_since(died);
    // A renewal may be up to a retry old.
    assert!(
        after > Duration::from_secs(2),
        "the Lease had not expired: {after:?}"
    );
    assert!(!*leading.borrow());
    second.release().await;
    Ok(())
}

async fn cut_off(space: Namespace) -> Result<(), Error> {
    let account = own_namespace(&space).await?;
    let proxy = FaultProxy::start(space.server()).await?;
    let through = client(&account.kubeconfig_through(&proxy)?).await?;
    let first = start(through, &space, "first", quick(4));
    turned(&first, true).await?;
    let second = start(
        client(account.kubeconfig()).await?,
        &space,
        "second",
        quick(4),
    );
    sees(&second, "first_").await?;
    let cut = Instant::now();
    proxy.refuse();
    let lost = turned(&first, false).await?;
    assert!(
        lost.duration_since(cut) <= Duration::from_secs(3),
        "beyond the renew deadline"
    );
    let taken = turned(&second, true).await?;
    assert!(taken > lost, "both led");
    proxy.accept().await?;
    sees(&first, "second_").await?;
    assert!(!first.leadership().borrow().is_leader);
    first.release().await;
    let holder = record(&space)
        .await?
        .spec
        .unwrap_or_default()
        .holder_identity;
    assert!(
        holder.unwrap_or_default().starts_with("second_"),
        "released what it does not hold"
    );
    second.release().await;
    Ok(())
}

async fn creators(space: Namespace) -> Result<(), Error> {
    let account = own_namespace(&space).await?;
    let client = client(account.kubeconfig()).await?;
    let all: Vec<LeaseHandle> = (0..6)
        .map(|n| start(client.clone(), &space, &format!("pod-{n}"), quick(15)))
        .collect();
    eventually("one leads", PATIENCE, async || {
        let leaders = all
            .iter()
            .filter(|handle| *handle.leading().borrow())
            .count();
        assert!(leaders <= 1, "{leaders} lead");
        let followers = all
            .iter()
            .filter(|handle| handle.holder().is_some())
            .count();
        (leaders == 1 && followers == all.len() - 1).then_some(())
    })
    .await?;
    for handle in all {
        handle.release().await;
    }
    Ok(())
}

async fn forbidden(space: Namespace) -> Result<(), Error> {
    let server = space.server();
    let account = server.service_account(space.name(), "legate").await?;
    let mark = server.audit_mark().await?;
    let handle = start(
        client(account.kubeconfig()).await?,
        &space,
        "pod",
        quick(15),
    );
    eventually("it is refused more than once", PATIENCE, async || {
        let requests = server.audit_of(&account.user(), mark).await.ok()?;
        let refused = requests.iter().filter(|event| event.code == 403).count();
        (refused > 1).then_some(())
    })
    .await?;
    assert!(!*handle.leading().borrow());
    instance::excuse(&own_namespace(&space).await?);
    turned(&handle, true).await?;
    handle.release().await;
    Ok(())
}
