use std::time::{Duration, Instant};

use legate_config::codec::{SCHEMA, Schema};
use legate_config::secret::{Certificate, KeyForm, PrivateKey};
use legate_config::{CertificateKey, Entry};

use super::*;
use crate::metrics::Metrics;

const KEY: &[u8] = &[0xde, 0xad, 0xbe, 0xef];

fn snapshot(id: u64) -> Snapshot {
    let mut snapshot = Snapshot {
        id,
        ..Snapshot::default()
    };
    let certificate = Certificate {
        chain: vec![vec![1]],
        key: PrivateKey::new(KEY.to_vec(), KeyForm::Pkcs8, &[0; 32]),
        names: vec![format!("{id}.test")],
        not_before: 0,
        not_after: i64::MAX,
    };
    let key = CertificateKey::from("default/c");
    snapshot
        .certificates
        .insert(key, Entry::new(certificate, Vec::new()));
    snapshot.root = snapshot.compute_root();
    snapshot
}

/// A state directory that does not exist yet, in a place that goes away.
struct Place {
    _parent: tempfile::TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("state");
        Self {
            _parent: parent,
            path,
        }
    }

    /// With a stored snapshot.
    fn stored(id: u64) -> Self {
        let place = Self::new();
        place.open().store(&snapshot(id)).unwrap();
        place
    }

    fn open(&self) -> StateDir {
        StateDir::open(&self.path, "default").unwrap()
    }

    fn config(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(&self.path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn options(&self) -> StateDirOptions {
        StateDirOptions {
            path: self.path.clone(),
            ambassador_id: "default".into(),
        }
    }

    fn stored_root(&self) -> Option<Hash128> {
        match self.open().load() {
            Loaded::Snapshot { snapshot, .. } => Some(snapshot.root),
            _ => None,
        }
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[track_caller]
fn reason(loaded: Loaded) -> Fault {
    match loaded {
        Loaded::SetAside { reason } => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_stored_is_loaded() {
    let place = Place::new();
    let state = place.open();
    assert!(matches!(state.load(), Loaded::None));
    for id in [1, 2] {
        state.store(&snapshot(id)).unwrap();
        assert_eq!(place.names(), [CONFIG]);
        let Loaded::Snapshot {
            snapshot: loaded,
            stored,
        } = place.open().load()
        else {
            panic!();
        };
        assert_eq!((loaded.id, loaded.root), (id, snapshot(id).root));
        let key = &loaded.certificates.get("default/c").unwrap().key;
        assert_eq!(key.der(), KEY);
        assert!(stored.unwrap().elapsed().unwrap() < Duration::from_secs(60));
    }
}

#[test]
fn keys_are_closed_to_others() {
    let place = Place::stored(1);
    assert_eq!(mode(&place.path), 0o700);
    assert_eq!(mode(&place.config()), 0o600);
    // What somebody opened is closed again, and used all the same.
    chmod(&place.path, 0o777);
    chmod(&place.config(), 0o644);
    assert!(place.stored_root().is_some());
    assert_eq!(mode(&place.path), 0o700);
    assert_eq!(mode(&place.config()), 0o600);
    // Something left behind lends its rights to nothing.
    let new = place.path.join(NEW);
    let state = place.open();
    fs::write(&new, "x").unwrap();
    chmod(&new, 0o666);
    state.store(&snapshot(2)).unwrap();
    assert_eq!(mode(&place.config()), 0o600);
    assert_eq!(place.names(), [CONFIG]);
}

#[test]
fn a_write_that_was_cut_off_leaves_the_former_config() {
    let place = Place::stored(1);
    fs::write(place.path.join(NEW), "half of it").unwrap();
    assert_eq!(place.stored_root(), Some(snapshot(1).root));
    assert_eq!(place.names(), [CONFIG]);
}

#[test]
fn truncated_and_changed_files_are_set_aside() {
    let whole = {
        let place = Place::stored(1);
        fs::read(place.config()).unwrap()
    };
    let place = Place::stored(2);
    for end in 0..whole.len() {
        fs::write(place.config(), &whole[..end]).unwrap();
        let reason = reason(place.open().load());
        assert!(
            matches!(reason, Fault::Header | Fault::Torn),
            "{end}: {reason}"
        );
        assert_eq!(place.names(), [BAD]);
        assert!(matches!(place.open().load(), Loaded::None));
    }
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x10;
        fs::write(place.config(), &changed).unwrap();
        let reason = reason(place.open().load());
        assert!(!reason.to_string().contains("deadbeef"));
        assert_eq!(fs::read(place.path.join(BAD)).unwrap(), changed);
    }
    // Only one is kept, and a good one is stored beside it.
    place.open().store(&snapshot(3)).unwrap();
    assert_eq!(place.names(), [CONFIG, BAD]);
    assert_eq!(place.stored_root(), Some(snapshot(3).root));
}

#[test]
fn a_config_of_another_instance_is_set_aside() {
    let place = Place::stored(1);
    let other = StateDir::open(&place.path, "Default").unwrap();
    assert!(matches!(reason(other.load()), Fault::Foreign));
    assert_eq!(place.names(), [BAD]);
    assert_eq!(mode(&place.path.join(BAD)), 0o600);
}

#[test]
fn a_newer_schema_is_set_aside_for_its_number() {
    let place = Place::stored(1);
    let text = fs::read_to_string(place.config()).unwrap();
    let schema = |schema: Schema| serde_json::to_string(&schema).unwrap();
    let newer = Schema {
        major: SCHEMA.major,
        minor: SCHEMA.minor + 1,
    };
    // The second place that says it, in the config, is covered by the checksum.
    let text = text.replacen(&schema(SCHEMA), &schema(newer), 1);
    fs::write(place.config(), text).unwrap();
    let reason = reason(place.open().load());
    assert!(
        matches!(reason, Fault::Schema(found) if found == newer),
        "{reason}"
    );
}

#[test]
fn what_is_no_file_is_set_aside() {
    let place = Place::new();
    let state = place.open();
    fs::create_dir(place.config()).unwrap();
    assert!(matches!(reason(state.load()), Fault::NotAFile));
    assert_eq!(place.names(), [BAD]);
    // A link could lead anywhere.
    let place = Place::stored(1);
    let elsewhere = place.path.join("elsewhere");
    fs::rename(place.config(), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, place.config()).unwrap();
    assert!(matches!(reason(place.open().load()), Fault::NotAFile));
    assert!(elsewhere.exists());
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error() {
    let place = Place::new();
    fs::write(&place.path, "a file").unwrap();
    for path in [place.path.clone(), place.path.join("below")] {
        let error = StateDir::open(path, "default").unwrap_err();
        assert!(matches!(error, StateError::Directory(_)), "{error}");
    }
}

#[test]
fn a_removed_directory_is_made_again() {
    let place = Place::stored(1);
    let state = place.open();
    fs::remove_dir_all(&place.path).unwrap();
    state.store(&snapshot(2)).unwrap();
    assert_eq!(place.stored_root(), Some(snapshot(2).root));
    assert_eq!(mode(&place.path), 0o700);
}

#[test]
fn a_failed_write_leaves_the_former_config_and_nothing_else() {
    let place = Place::stored(1);
    let state = place.open();
    // In the way of the rename, which is the last step that can fail.
    fs::remove_file(place.config()).unwrap();
    fs::create_dir(place.config()).unwrap();
    let error = state.store(&snapshot(2)).unwrap_err();
    assert_eq!(error.cause().0, "rename config.new");
    assert_eq!(place.names(), [CONFIG]);
}

#[test]
fn kinds_of_volumes_are_told_by_their_device() {
    const MOUNTS: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
23 22 0:21 / /run rw,nosuid shared:2 master:3 - tmpfs tmpfs rw\n\
24 22 259:1048575 / /a\\040b rw - xfs /dev/nvme rw\n\
broken\n";
    assert_eq!(volume::kind(MOUNTS, 8 << 8 | 1), Some("ext4"));
    assert_eq!(volume::kind(MOUNTS, 21), Some("tmpfs"));
    // Numbers beyond 8 bits are split.
    let device = 0xff | (0xf_ff00 << 12) | (259 << 8);
    assert_eq!(volume::kind(MOUNTS, device), Some("xfs"));
    assert_eq!(volume::kind(MOUNTS, 22), None);
}

/// The value of a metric.
fn metric(metrics: &Arc<Metrics>, name: &str) -> u64 {
    let mut registry = prometheus_client::registry::Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

const OK: &str = "legate_state_writes_total{result=\"ok\"}";
const FAILED: &str = "legate_state_writes_total{result=\"failed\"}";
const LONG: Duration = Duration::from_secs(20);

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < LONG, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_writer_stores_the_newest_and_nothing_twice() {
    let place = Place::new();
    let metrics = Metrics::new(1);
    let (writer, stored) = StateWriter::start(place.options(), Arc::clone(&metrics)).unwrap();
    assert!(stored.is_none());
    for id in 1..=50 {
        writer.store(Arc::new(snapshot(id)));
    }
    assert!(writer.flush(LONG));
    assert_eq!(place.stored_root(), Some(snapshot(50).root));
    // The first, perhaps one after a pause, and the last.
    let writes = metric(&metrics, OK);
    assert!((1..=3).contains(&writes), "{writes}");
    drop(writer);

    let (writer, stored) = StateWriter::start(place.options(), Arc::clone(&metrics)).unwrap();
    assert_eq!(stored.unwrap().snapshot.id, 50);
    let before = fs::metadata(place.config()).unwrap().ino();
    // Another number of the same content.
    let same = Snapshot {
        id: 1,
        ..snapshot(50)
    };
    writer.store(Arc::new(same));
    assert!(writer.flush(LONG));
    assert_eq!(fs::metadata(place.config()).unwrap().ino(), before);
    assert_eq!(metric(&metrics, OK), writes);
    assert_eq!(metric(&metrics, FAILED), 0);
}

#[test]
fn the_writer_heals_by_itself() {
    let place = Place::new();
    fs::write(&place.path, "in the way").unwrap();
    let metrics = Metrics::new(1);
    let (writer, _) = StateWriter::start(place.options(), Arc::clone(&metrics)).unwrap();
    writer.store(Arc::new(snapshot(1)));
    until("no failure", || metric(&metrics, FAILED) > 0);
    assert_eq!(metric(&metrics, OK), 0);
    fs::remove_file(&place.path).unwrap();
    until("not stored", || metric(&metrics, OK) == 1);
    assert_eq!(place.stored_root(), Some(snapshot(1).root));
    assert!(writer.flush(LONG));
}

#[test]
fn the_end_does_not_wait_for_a_broken_disk() {
    let place = Place::new();
    fs::write(&place.path, "in the way").unwrap();
    let metrics = Metrics::new(1);
    let (writer, _) = StateWriter::start(place.options(), Arc::clone(&metrics)).unwrap();
    writer.store(Arc::new(snapshot(1)));
    until("no failure", || metric(&metrics, FAILED) > 0);
    let start = Instant::now();
    assert!(writer.flush(LONG));
    assert!(start.elapsed() < Duration::from_secs(5));
}
