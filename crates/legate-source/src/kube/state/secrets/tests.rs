use serde_json::json;

use super::*;
use crate::kube::codes;
use crate::kube::state::tests::{Bench, fault, incoming};
use crate::kube::tests::options;

fn name(text: &str) -> Name {
    ("x".to_owned(), text.to_owned())
}

fn names(texts: &[&str]) -> BTreeSet<Name> {
    texts.iter().map(|text| name(text)).collect()
}

fn secret(text: &str, version: &str, data: &str) -> Incoming {
    incoming(
        Kind::Secret,
        json!({
            "metadata": {"namespace": "x", "name": text, "uid": "1", "resourceVersion": version},
            "data": {"tls.crt": data},
        }),
    )
}

impl Bench {
    fn want(&mut self, texts: &[&str]) -> bool {
        self.state.want_secrets(&names(texts), self.now)
    }

    fn head(&mut self, text: &str, version: &str) {
        let feed = self.feed(Kind::Secret);
        self.state.secret_seen(feed, name(text), version, self.now);
    }

    fn job(&mut self) -> Job {
        let jobs = self.state.secret_jobs(8, self.now);
        let [job] = &jobs[..] else {
            panic!("{jobs:?}");
        };
        job.clone()
    }

    fn read(&mut self, job: &Job, version: &str, data: &str) {
        let read = secret(&job.name.1, version, data);
        self.state.secret_read(job, Ok(Some(read)), self.now);
    }

    fn with(options: &KubeOptions) -> Self {
        let mut bench = Bench::new(options);
        bench.discovered(&[]);
        bench.list_all();
        bench.take();
        bench
    }
}

#[test]
fn only_what_is_wanted_is_read() {
    let mut bench = Bench::synced();
    bench.head("a", "1");
    bench.head("b", "1");
    assert!(bench.state.secret_jobs(8, bench.now).is_empty());
    assert!(bench.want(&[]));
    assert!(!bench.want(&["a"]));
    let job = bench.job();
    assert_eq!(job.name, name("a"));
    assert!(!bench.want(&["a"]));
    assert!(
        bench.state.secret_jobs(8, bench.now).is_empty(),
        "it is being read"
    );
    bench.read(&job, "1", "YQ==");
    assert!(!bench.want(&["a"]), "the reader has not taken it");
    assert_eq!(bench.take().upserts, ["a"]);
    assert!(bench.want(&["a"]));
    assert!(bench.state.secret_jobs(8, bench.now).is_empty());
}

#[test]
fn what_is_not_wanted_any_more_is_removed() {
    let mut bench = Bench::synced();
    bench.head("a", "1");
    bench.want(&["a"]);
    let job = bench.job();
    bench.read(&job, "1", "YQ==");
    bench.take();
    assert!(bench.want(&[]));
    assert_eq!(bench.take().removals, ["a"]);
    // Wanted again: read again.
    assert!(!bench.want(&["a"]));
    let job = bench.job();
    bench.read(&job, "1", "YQ==");
    assert_eq!(bench.take().upserts, ["a"]);
}

#[test]
fn a_new_version_is_read_and_handed_on_if_it_differs() {
    let mut bench = Bench::synced();
    bench.head("a", "1");
    bench.want(&["a"]);
    let job = bench.job();
    bench.read(&job, "1", "YQ==");
    bench.take();
    bench.head("a", "2");
    assert!(bench.want(&["a"]), "what was read serves");
    let job = bench.job();
    // It changed again meanwhile: neither what the watch said nor what comes of the read is last.
    bench.head("a", "4");
    bench.read(&job, "3", "Yg==");
    assert_eq!(bench.take().upserts, ["a"]);
    let job = bench.job();
    bench.read(&job, "4", "Yg==");
    assert!(bench.state.take(bench.now).is_none(), "the same content");
    // The watch lags behind a read: what it says then is known.
    bench.head("a", "5");
    let job = bench.job();
    bench.read(&job, "6", "Yg==");
    bench.head("a", "6");
    assert!(bench.state.secret_jobs(8, bench.now).is_empty());
}

#[test]
fn missing_is_known_at_once_and_deletion_is_told() {
    let mut bench = Bench::synced();
    assert!(bench.want(&["a"]), "no such Secret: nothing to wait for");
    assert!(bench.state.take(bench.now).is_none());
    bench.head("a", "1");
    let job = bench.job();
    bench.read(&job, "1", "YQ==");
    bench.take();
    bench.state.secret_deleted(&name("a"), bench.now);
    assert!(!bench.want(&["a"]));
    let taken = bench.take();
    assert_eq!(
        (taken.removals, taken.codes),
        (vec!["a".to_owned()], vec![])
    );
    assert!(bench.want(&["a"]));
}

#[test]
fn gone_between_watch_and_read() {
    let mut bench = Bench::synced();
    bench.head("a", "1");
    assert!(!bench.want(&["a"]));
    let job = bench.job();
    bench.state.secret_read(&job, Ok(None), bench.now);
    assert!(!bench.want(&["a"]));
    assert!(bench.state.take(bench.now).is_some(), "who waits is woken");
    assert!(bench.want(&["a"]));
}

#[test]
fn a_relist_without_it_is_a_deletion() {
    let mut bench = Bench::synced();
    bench.head("a", "1");
    bench.want(&["a"]);
    let job = bench.job();
    bench.read(&job, "1", "YQ==");
    bench.take();
    bench.list(Kind::Secret, &[]);
    assert_eq!(bench.take().removals, ["a"]);
}

#[test]
fn forbidden_unreadable_and_a_fault() {
    let mut bench = Bench::synced();
    for text in ["a", "b", "c"] {
        bench.head(text, "1");
    }
    assert!(!bench.want(&["a", "b", "c"]));
    let jobs = bench.state.secret_jobs(8, bench.now);
    let unreadable = Fault {
        unreadable: true,
        ..fault(200)
    };
    for (job, fault) in jobs.iter().zip([fault(403), unreadable, fault(500)]) {
        bench.state.secret_read(job, Err(fault), bench.now);
    }
    let update = bench.state.take(bench.now).unwrap();
    let told: Vec<String> = update
        .diagnostics
        .iter()
        .map(|d| {
            let object = d.object.as_ref().unwrap();
            format!("{} {object}: {}", d.code, d.message)
        })
        .collect();
    assert_eq!(
        told,
        [
            "W-SECRET-FORBIDDEN Secret x/a: the Secret may not be read: forbidden: answered 403",
            "W-SECRET-UNREADABLE Secret x/b: the Secret cannot be read: answered 200",
        ]
    );
    assert!(!bench.want(&["a", "b", "c"]), "c is tried again first");
    assert!(bench.want(&["a", "b"]));
    // All are tried again, and heal.
    assert!(bench.state.secret_retry_at() > Some(bench.now));
    assert!(bench.state.secret_jobs(8, bench.now).is_empty());
    bench.pass(500);
    let jobs = bench.state.secret_jobs(8, bench.now);
    assert_eq!(jobs.len(), 2);
    for job in &jobs {
        bench.read(job, "1", "YQ==");
    }
    let taken = bench.take();
    assert_eq!((taken.upserts.len(), taken.codes.len()), (2, 0));
    assert!(bench.want(&["a", "b"]));
}

#[test]
fn what_was_read_serves_on_when_reading_is_forbidden_later() {
    let mut bench = Bench::synced();
    bench.head("a", "1");
    bench.want(&["a"]);
    let job = bench.job();
    bench.read(&job, "1", "YQ==");
    bench.take();
    bench.head("a", "2");
    for _ in 0..2 {
        let job = bench.job();
        bench.state.secret_read(&job, Err(fault(403)), bench.now);
        assert!(
            bench.state.take(bench.now).is_none(),
            "it may be for a moment"
        );
        bench.pass(30_000);
    }
    let job = bench.job();
    bench.state.secret_read(&job, Err(fault(403)), bench.now);
    let taken = bench.take();
    assert_eq!(taken.codes, ["W-SECRET-FORBIDDEN"]);
    assert_eq!((taken.upserts.len(), taken.removals.len()), (0, 0));
}

#[test]
fn out_of_reach_by_settings() {
    let mut only = options();
    only.secrets = SecretAccess::Namespaces(vec!["s".into()]);
    let mut named = options();
    named.secrets = SecretAccess::Names(vec![("x".into(), "b".into())]);
    let mut watched = options();
    watched.watch_namespaces = vec!["y".into()];
    for (options, why) in [
        (only, "--secret-namespaces"),
        (named, "--secret-names"),
        (watched, "--watch-namespaces"),
    ] {
        let mut bench = Bench::with(&options);
        assert!(!bench.want(&["a"]));
        let update = bench.state.take(bench.now).unwrap();
        let [told] = &update.diagnostics[..] else {
            panic!("{:?}", update.diagnostics);
        };
        assert_eq!(told.code, codes::W_SECRET_FORBIDDEN);
        assert!(told.message.contains(why), "{}", told.message);
        assert!(bench.want(&["a"]));
        assert!(bench.want(&[]));
        assert!(bench.state.take(bench.now).unwrap().diagnostics.is_empty());
    }
}

#[test]
fn by_name_the_content_comes_with_the_watch() {
    let mut options = options();
    options.secrets = SecretAccess::Names(vec![("x".into(), "a".into()), ("x".into(), "b".into())]);
    let mut bench = Bench::with(&options);
    let feed = bench.feed(Kind::Secret);
    bench
        .state
        .secret_held(feed, secret("a", "1", "YQ=="), bench.now);
    assert!(bench.state.take(bench.now).is_none(), "not wanted");
    assert!(!bench.want(&["a", "b"]));
    assert!(bench.state.secret_jobs(8, bench.now).is_empty());
    assert_eq!(bench.take().upserts, ["a"]);
    assert!(bench.want(&["a", "b"]), "b does not exist");
    bench
        .state
        .secret_held(feed, secret("a", "2", "YQ=="), bench.now);
    assert!(bench.state.take(bench.now).is_none());
    bench
        .state
        .secret_held(feed, secret("a", "3", "Yg=="), bench.now);
    assert_eq!(bench.take().upserts, ["a"]);
    bench.state.secret_deleted(&name("a"), bench.now);
    assert_eq!(bench.take().removals, ["a"]);
}

#[test]
fn one_forbidden_list_of_secrets_keeps_nothing_else_from_being_served() {
    let mut bench = Bench::new(&options());
    bench.discovered(&[]);
    for kind in crate::kube::kinds::feeds(&options())
        .iter()
        .map(|feed| feed.kind)
    {
        if kind != Kind::Secret {
            bench.list(kind, &[]);
        }
    }
    bench.fail(Kind::Secret, 403);
    bench.pass(59_000);
    bench.fail(Kind::Secret, 403);
    assert!(bench.state.take(bench.now).is_none());
    bench.pass(1000);
    bench.fail(Kind::Secret, 403);
    assert_eq!(bench.take().codes, ["W-WATCH-FORBIDDEN"]);
    assert!(!bench.want(&["a"]));
    assert_eq!(
        bench.take().codes,
        ["W-SECRET-FORBIDDEN", "W-WATCH-FORBIDDEN"]
    );
    assert!(bench.want(&["a"]));
    // The rights are granted.
    bench.head("a", "1");
    bench.list(Kind::Secret, &[]);
    let taken = bench.take();
    assert_eq!(taken.codes, Vec::<String>::new());
}
