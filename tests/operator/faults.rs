//! Faults between the operator and its API server (issue 4): whatever happens there, requests are
//! answered, the fault can be seen, and it heals without a restart.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use legate_testkit::Origin;
use legate_testkit::client::Error;
use legate_testkit::kube::{
    Account, ApiServer, FaultProxy, Injection, Launch, Legate, Namespace, Rule, eventually,
};
use libtest_mimic::Trial;

use crate::bench::{self, Bench};
use crate::instance;
use crate::load::Load;
use crate::{faults_api, faults_crds, faults_lease, faults_objects, faults_rights, faults_secrets};

/// Longer than any pause between two attempts.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How long the API server is away; the long run takes a minute.
const SHORT: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_secs(60);

/// What is logged when watches begin to fail, and when none does any more.
const FAILING: &str = "Watch failed, it is tried again";
const WORKING: &str = "All watches work again";

pub(crate) const YES: (&str, &str) = ("Programmed", "True");

const RESTARTS: &str = "legate_watch_restarts_total";
const SYNCED: &str = "legate_watch_synced";
const LAG: &str = "legate_watch_lag_seconds";

pub(crate) fn trials(bench: &Arc<Bench>) -> Vec<Trial> {
    // Those that wait longest begin first.
    let mut all = faults_crds::trials(bench);
    all.extend([
        bench.trial("fault_api_server_refuses_connections", refused),
        bench.alone("fault_api_server_is_frozen", frozen),
        bench.trial("fault_api_server_answers_429_and_500", overloaded),
        bench.trial("fault_watch_is_cut_within_an_event", torn),
    ]);
    all.extend(faults_api::trials(bench));
    all.extend(faults_objects::trials(bench));
    all.extend(faults_rights::trials(bench));
    all.extend(faults_secrets::trials(bench));
    all.extend(faults_lease::trials(bench));
    all
}

/// How long an outage lasts in this run.
fn outage() -> Duration {
    if bench::long() { LONG } else { SHORT }
}

/// A running instance behind a proxy, with requests that go on until the end.
pub(crate) struct Scene {
    pub(crate) space: Namespace,
    pub(crate) account: Account,
    pub(crate) proxy: FaultProxy,
    pub(crate) legate: Legate,
    load: Load,
    _origin: Origin,
}

impl Scene {
    /// Serves `/shop/`, says so, and is asked for it.
    pub(crate) async fn start(space: Namespace) -> Result<Self, Error> {
        Self::start_with(space, &[]).await
    }

    /// The same in a namespace of an API server that nobody else uses.
    pub(crate) async fn alone(server: &Arc<ApiServer>) -> Result<Self, Error> {
        Self::start(Namespace::create(server, "fault").await?).await
    }

    /// With more flags.
    pub(crate) async fn start_with(space: Namespace, flags: &[&str]) -> Result<Self, Error> {
        let account = instance::account(&space).await?;
        Self::start_as(space, account, flags).await
    }

    /// As an account that is there.
    pub(crate) async fn start_as(
        space: Namespace,
        account: Account,
        flags: &[&str],
    ) -> Result<Self, Error> {
        let scene = Self::silent(space, account, flags).await?;
        let space = &scene.space;
        space.wait_for("Mapping", "shop", YES, PATIENCE).await?;
        Ok(scene)
    }

    /// Without waiting for what status says.
    pub(crate) async fn silent(
        space: Namespace,
        account: Account,
        flags: &[&str],
    ) -> Result<Self, Error> {
        let proxy = FaultProxy::start(space.server()).await?;
        let through = account.kubeconfig_through(&proxy)?;
        space.cleartext().await?;
        let origin = space.backend("shop").await?;
        space.mapping("shop", "/shop/", "shop").await?;
        let launch = Launch::new(&space, &through).args(flags.iter().copied());
        let legate = launch.ready().await?;
        legate
            .serves("any.example", "/shop/", 200, PATIENCE)
            .await?;
        let load = Load::start(legate.listener(8080), None, "any.example", "/shop/");
        load.more(20).await?;
        Ok(Self {
            space,
            account,
            proxy,
            legate,
            load,
            _origin: origin,
        })
    }

    /// Requests go on, and the process says that it is ready.
    pub(crate) async fn goes_on(&self) -> Result<(), Error> {
        self.load.more(20).await?;
        if self.legate.is_ready().await {
            return Ok(());
        }
        Err("it is not ready any more".into())
    }

    /// Watches of Mappings that were started again so far.
    pub(crate) async fn restarts(&self) -> Result<f64, Error> {
        let mappings = [("kind", "Mapping")];
        self.legate.metric(RESTARTS, &mappings).await
    }

    /// Waits until a watch of Mappings was started again after so many.
    pub(crate) async fn restarted(&self, before: f64) -> Result<(), Error> {
        let mappings = [("kind", "Mapping")];
        let reached = self
            .legate
            .metric_reaches(RESTARTS, &mappings, before + 1.0, PATIENCE);
        reached.await.map(|_restarts| ())
    }

    /// Waits until Mappings are said to be followed, or not.
    pub(crate) async fn synced(&self, synced: bool) -> Result<(), Error> {
        let what = format!("Mappings are followed: {synced}");
        eventually(&what, PATIENCE, async || {
            let metrics = self.legate.metrics().await.ok()?;
            let value = metrics.value(SYNCED, &[("kind", "Mapping")])?;
            ((value > 0.5) == synced).then_some(())
        })
        .await
    }

    /// Waits until a line of the log has this text.
    pub(crate) async fn logs(&self, text: &str) -> Result<(), Error> {
        eventually(&format!("the log has {text:?}"), PATIENCE, async || {
            self.legate.log().contains(text).then_some(())
        })
        .await
    }

    /// How many lines of the log have this text.
    pub(crate) fn said(&self, text: &str) -> usize {
        let log = self.legate.log();
        log.lines().filter(|line| line.contains(text)).count()
    }

    /// What is made from now on is served and says so.
    pub(crate) async fn heals(&self, name: &str) -> Result<(), Error> {
        let prefix = format!("/{name}/");
        self.space.mapping(name, &prefix, "shop").await?;
        self.served(&prefix).await?;
        self.space.wait_for("Mapping", name, YES, PATIENCE).await?;
        self.synced(true).await?;
        self.goes_on().await
    }

    /// Waits until a prefix is served.
    pub(crate) async fn served(&self, prefix: &str) -> Result<(), Error> {
        let served = self.legate.serves("any.example", prefix, 200, PATIENCE);
        served.await.map(|_answer| ())
    }

    /// No request failed, no process ended, and no secret was told.
    pub(crate) async fn end(mut self) -> Result<(), Error> {
        assert!(self.legate.process().ended()?.is_none(), "it ended");
        tells_no_secret(&self.legate, &self.account, &[]).await?;
        self.load.end().await?;
        Ok(())
    }
}

/// Neither the log nor the config dump has the account's token, a private key or one of these words.
pub(crate) async fn tells_no_secret(
    legate: &Legate,
    account: &Account,
    planted: &[&str],
) -> Result<(), Error> {
    let token = std::fs::read_to_string(account.token_file())?;
    let mut words = vec![token.trim(), "PRIVATE KEY"];
    words.extend(planted);
    let dump = legate.admin("/config_dump").await?;
    assert_eq!(dump.status, 200);
    for (place, text) in [("log", legate.log()), ("config dump", dump.text())] {
        for word in &words {
            let mut lines = text.lines().filter(|line| line.contains(word));
            let line = lines.next().map(|line| line.replace(word, "(SECRET)"));
            assert_eq!(line, None, "the {place} has a secret");
        }
    }
    Ok(())
}

async fn refused(space: Namespace) -> Result<(), Error> {
    let scene = Scene::start(space).await?;
    let before = scene.restarts().await?;
    scene.proxy.refuse();
    scene.restarted(before).await?;
    scene.synced(false).await?;
    scene.space.mapping("during", "/during/", "shop").await?;
    tokio::time::sleep(outage()).await;
    let lag = scene.legate.metric(LAG, &[]).await?;
    assert!(lag >= outage().as_secs_f64() - 2.0, "lag {lag}");
    scene.goes_on().await?;

    scene.proxy.accept().await?;
    scene.served("/during/").await?;
    scene.logs(WORKING).await?;
    scene.heals("after").await?;
    // One outage is one warning, however many watches and attempts it had.
    assert_eq!(scene.said(FAILING), 1, "{}", scene.legate.log());
    scene.end().await
}

async fn frozen(server: Arc<ApiServer>) -> Result<(), Error> {
    let scene = Scene::alone(&server).await?;
    server.pause()?;
    tokio::time::sleep(outage()).await;
    let lag = scene.legate.metric(LAG, &[]).await?;
    assert!(lag >= outage().as_secs_f64() - 2.0, "lag {lag}");
    scene.goes_on().await?;
    server.resume()?;
    scene.heals("after").await?;
    scene.end().await
}

/// Too many requests for lists and watches while status writes fail, and then the other way round.
async fn overloaded(space: Namespace) -> Result<(), Error> {
    let scene = Scene::start(space).await?;
    const FAILED: [(&str, &str); 1] = [("result", "failed")];
    const WRITES: &str = "legate_status_writes_total";
    let busy = Injection::RetryAfter(StatusCode::TOO_MANY_REQUESTS, Duration::from_secs(1));
    let broken = Injection::Status(StatusCode::INTERNAL_SERVER_ERROR);
    for (round, reads, writes, said) in [
        ("one", &busy, &broken, "Status cannot be written"),
        ("two", &broken, &busy, "Status cannot be written for now"),
    ] {
        let failed = scene.legate.metric(WRITES, &FAILED).await?;
        let patches = Rule::new(writes.clone()).method(Method::PATCH);
        let patches = scene.proxy.place(patches.path("/status"));
        let prefix = format!("/{round}/");
        scene.space.mapping(round, &prefix, "shop").await?;
        scene.served(&prefix).await?;
        let reached = scene
            .legate
            .metric_reaches(WRITES, &FAILED, failed + 1.0, PATIENCE);
        reached.await?;
        scene.logs(said).await?;

        let before = scene.restarts().await?;
        let gets = scene
            .proxy
            .place(Rule::new(reads.clone()).method(Method::GET));
        scene.proxy.cut();
        scene.restarted(before + 1.0).await?;
        scene.synced(false).await?;
        scene.goes_on().await?;
        assert!(patches.hits() > 0 && gets.hits() > 0);
        scene.proxy.clear();
        let (space, late) = (&scene.space, format!("{round}-after"));
        scene.heals(&late).await?;
        space.wait_for("Mapping", round, YES, PATIENCE).await?;
    }
    // None of it was taken for a kind that is gone or a right that is lost.
    for wrong in ["W-KIND-FROZEN", "I-KIND-ABSENT", "W-WATCH-FORBIDDEN"] {
        assert_eq!(scene.said(wrong), 0, "{}", scene.legate.log());
    }
    scene.end().await
}

async fn torn(space: Namespace) -> Result<(), Error> {
    const TIMES: usize = 3;
    let scene = Scene::start(space).await?;
    let before = scene.restarts().await?;
    // In the middle of an object's metadata.
    let cut = Rule::new(Injection::CutAfter(200)).path("/mappings");
    let cut = scene.proxy.place(cut.query("watch=").times(TIMES));
    scene.proxy.cut();
    for round in 0..TIMES {
        let name = format!("torn-{round}");
        let prefix = format!("/{name}/");
        scene.space.mapping(&name, &prefix, "shop").await?;
        scene.served(&prefix).await?;
        let (space, name) = (&scene.space, name.as_str());
        space.wait_for("Mapping", name, YES, PATIENCE).await?;
    }
    eventually("every cut was met", PATIENCE, async || {
        (cut.hits() == TIMES).then_some(())
    })
    .await?;
    scene.restarted(before + 1.0).await?;
    scene.heals("after").await?;
    scene.end().await
}
