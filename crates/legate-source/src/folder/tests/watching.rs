//! Changes on disk. Every wait is for an update, never for time to pass.

use super::*;

struct Watched {
    source: FolderSource,
    watch: mpsc::Receiver<Update>,
}

/// Loads and watches; the receiver has a time limit that only a failing test meets.
fn watch(path: &Path, options: FolderOptions) -> Watched {
    let (source, _) = FolderSource::load(&[path.to_owned()], options);
    let mut watch = source.watch();
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        while let Some(update) = watch.blocking_recv() {
            if send.send(update).is_err() {
                return;
            }
        }
    });
    Watched {
        source,
        watch: receive,
    }
}

impl Watched {
    fn next(&self) -> Update {
        self.watch
            .recv_timeout(Duration::from_secs(20))
            .expect("an update")
    }

    fn until(&self, what: impl Fn(&Update) -> bool) -> Update {
        loop {
            let update = self.next();
            if what(&update) {
                return update;
            }
        }
    }

    fn prefix_line(&self, name: &str) -> Option<u32> {
        let place = self.source.locate(&key(name), "spec.prefix", Side::Value);
        place.map(|place| place.line)
    }
}

#[test]
fn an_edit_costs_the_edited_object_only() {
    let text = join(&[mapping("one", "/1/"), mapping("two", "/2/")]);
    let folder = folder(&[("a.yaml", &text)]);
    let watched = watch(folder.path(), FolderOptions::default());
    let text = join(&[mapping("one", "/1/"), mapping("two", "/new/")]);
    replace(&folder.path().join("a.yaml"), &text);
    let update = watched.next();
    assert_eq!(names(&update), ["two"]);
    assert_eq!(removed(&update), [""; 0]);
    // Comments move what follows, and change nothing.
    let text = format!("# new\n\n{text}");
    fs::write(folder.path().join("a.yaml"), text).unwrap();
    replace(&folder.path().join("b.yaml"), &mapping("three", "/3/"));
    let update = watched.until(|update| names(update).contains(&"three"));
    assert!(!names(&update).contains(&"two"));
    watched.until_line("two", 18);
}

impl Watched {
    /// Waits until the object's text is known to be at a line.
    fn until_line(&self, name: &str, line: u32) {
        let start = Instant::now();
        while self.prefix_line(name) != Some(line) {
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "{:?}",
                self.prefix_line(name)
            );
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_broken_document_keeps_its_last_good_content() {
    let text = join(&[mapping("one", "/1/"), mapping("two", "/2/")]);
    let folder = folder(&[("a.yaml", &text)]);
    let path = folder.path().join("a.yaml");
    let watched = watch(folder.path(), FolderOptions::default());
    let broken = join(&[mapping("one", "/changed/"), "kind: [\n".to_owned()]);
    replace(&path, &broken);
    let update = watched.next();
    assert_eq!(names(&update), ["one"]);
    assert_eq!(codes_of(&update), ["E-YAML a.yaml:10"]);
    assert!(watched.prefix_line("two").is_some());
    replace(&path, &mapping("one", "/changed/"));
    let update = watched.until(|update| !update.removals.is_empty());
    assert_eq!(removed(&update), ["two"]);
    assert_eq!(codes_of(&update), [""; 0]);
}

#[test]
fn a_vanished_file_goes_after_a_while() {
    let folder = folder(&[
        ("a.yaml", &mapping("one", "/1/")),
        ("b.yaml", &mapping("two", "/2/")),
    ]);
    let watched = watch(folder.path(), FolderOptions::default());
    let start = Instant::now();
    fs::remove_file(folder.path().join("a.yaml")).unwrap();
    let update = watched.until(|update| !update.removals.is_empty());
    assert_eq!(removed(&update), ["one"]);
    assert!(
        start.elapsed() >= Duration::from_millis(240),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_file_that_comes_back_was_never_gone() {
    let folder = folder(&[("a.yaml", &mapping("one", "/1/"))]);
    let path = folder.path().join("a.yaml");
    let options = FolderOptions {
        removal_delay: Duration::from_secs(60),
        ..FolderOptions::default()
    };
    let watched = watch(folder.path(), options);
    fs::remove_file(&path).unwrap();
    fs::write(&path, mapping("one", "/new/")).unwrap();
    let update = watched.until(|update| !update.upserts.is_empty());
    assert_eq!(names(&update), ["one"]);
    assert_eq!(removed(&update), [""; 0]);
    // Moved to another file: still there, and no duplicate either.
    fs::rename(&path, folder.path().join("z.yaml")).unwrap();
    watched.until_file("one", "z.yaml");
    fs::write(folder.path().join("b.yaml"), mapping("two", "/2/")).unwrap();
    let update = watched.next();
    assert_eq!(names(&update), ["two"], "{update:?}");
    assert_eq!(codes_of(&update), [""; 0]);
}

impl Watched {
    fn until_file(&self, name: &str, file: &str) {
        let start = Instant::now();
        loop {
            let place = self.source.locate(&key(name), "", Side::Value).unwrap();
            if place.file.ends_with(file) {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "{place:?}");
            std::thread::yield_now();
        }
    }
}

#[test]
fn the_next_duplicate_takes_over() {
    let folder = folder(&[
        ("a.yaml", &mapping("one", "/a/")),
        ("b.yaml", &mapping("one", "/b/")),
    ]);
    let watched = watch(folder.path(), FolderOptions::default());
    // In one step: a file that is written in place is empty for a moment, which the first look of a
    // watch may see.
    replace(&folder.path().join("a.yaml"), &mapping("other", "/a/"));
    let update = watched.next();
    let mut found = names(&update);
    found.sort_unstable();
    assert_eq!(found, ["one", "other"]);
    assert_eq!(codes_of(&update), [""; 0]);
}

#[test]
fn new_folders_are_watched() {
    let folder = folder(&[("a.yaml", &mapping("one", "/1/"))]);
    let watched = watch(folder.path(), FolderOptions::default());
    fs::create_dir_all(folder.path().join("new/deep")).unwrap();
    fs::write(folder.path().join("new/deep/b.yaml"), mapping("two", "/2/")).unwrap();
    watched.until(|update| names(update) == ["two"]);
    replace(
        &folder.path().join("new/deep/b.yaml"),
        &mapping("two", "/new/"),
    );
    watched.until(|update| names(update) == ["two"]);
    fs::remove_dir_all(folder.path().join("new")).unwrap();
    watched.until(|update| removed(update) == ["two"]);
}

#[test]
fn config_map_mounts_swap_their_link() {
    let folder = TempDir::new().unwrap();
    let root = folder.path();
    let version = |name: &str, prefix: &str| {
        fs::create_dir(root.join(name)).unwrap();
        fs::write(root.join(name).join("a.yaml"), mapping("one", prefix)).unwrap();
    };
    version("..1", "/1/");
    symlink("..1", root.join("..data")).unwrap();
    symlink("..data/a.yaml", root.join("a.yaml")).unwrap();
    let watched = watch(root, FolderOptions::default());
    version("..2", "/2/");
    symlink("..2", root.join("..data_tmp")).unwrap();
    fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    fs::remove_dir_all(root.join("..1")).unwrap();
    let update = watched.until(|update| !update.upserts.is_empty());
    assert_eq!(names(&update), ["one"]);
    version("..3", "/3/");
    symlink("..3", root.join("..data_tmp")).unwrap();
    fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    watched.until(|update| names(update) == ["one"]);
}

#[test]
fn a_link_to_the_whole_folder_may_be_swapped() {
    let folder = folder(&[
        ("v1/a.yaml", &mapping("one", "/1/")),
        ("v2/a.yaml", &mapping("one", "/2/")),
    ]);
    let root = folder.path();
    symlink("v1", root.join("current")).unwrap();
    let watched = watch(&root.join("current"), FolderOptions::default());
    symlink("v2", root.join("next")).unwrap();
    fs::rename(root.join("next"), root.join("current")).unwrap();
    watched.until(|update| names(update) == ["one"]);
    replace(&root.join("v2/a.yaml"), &mapping("one", "/3/"));
    watched.until(|update| names(update) == ["one"]);
}

#[test]
fn an_unreadable_file_keeps_its_objects() {
    let folder = folder(&[("a.yaml", &mapping("one", "/1/"))]);
    let path = folder.path().join("a.yaml");
    let watched = watch(folder.path(), FolderOptions::default());
    fs::write(&path, b"a: \xe4\n").unwrap();
    let update = watched.next();
    assert_eq!(codes_of(&update), ["E-FILE a.yaml:1"]);
    assert_eq!(removed(&update), [""; 0]);
    fs::write(&path, mapping("one", "/1/")).unwrap();
    let update = watched.next();
    assert_eq!(codes_of(&update), [""; 0]);
    assert_eq!(names(&update), [""; 0]);
}

#[test]
fn polling_sees_changes_too() {
    let folder = folder(&[("a.yaml", &mapping("one", "/1/"))]);
    let options = FolderOptions {
        poll_interval: Duration::from_millis(20),
        always_poll: true,
        ..FolderOptions::default()
    };
    let watched = watch(folder.path(), options);
    let update = watched.next();
    assert_eq!(codes_of(&update), ["I-POLLING"]);
    fs::write(folder.path().join("b.yaml"), mapping("two", "/2/")).unwrap();
    watched.until(|update| names(update) == ["two"]);
}

#[test]
fn dropping_the_watch_ends_its_thread() {
    let folder = folder(&[("a.yaml", &mapping("one", "/1/"))]);
    let (source, _) = load(folder.path());
    let watch = source.watch();
    drop(watch);
    let mut again = source.watch();
    replace(&folder.path().join("a.yaml"), &mapping("one", "/new/"));
    assert_eq!(names(&again.blocking_recv().unwrap()), ["one"]);
}

#[test]
fn a_file_is_read_when_its_writer_closes_it() {
    use std::io::Write as _;

    let folder = folder(&[("a.yaml", &mapping("one", "/1/"))]);
    let options = FolderOptions {
        writer_silence: Duration::from_secs(60),
        ..FolderOptions::default()
    };
    let watched = watch(folder.path(), options);
    // The first look of a watch reads whatever is there: it must be over.
    replace(&folder.path().join("a.yaml"), &mapping("one", "/new/"));
    watched.until(|update| names(update) == ["one"]);
    let text = join(&[mapping("two", "/2/"), mapping("three", "/3/")]);
    let (first, rest) = text.split_at(text.len() / 2);
    let mut file = fs::File::create(folder.path().join("b.yaml")).unwrap();
    file.write_all(first.as_bytes()).unwrap();
    // A change elsewhere must not make the half-written file count.
    fs::create_dir(folder.path().join("new")).unwrap();
    file.write_all(rest.as_bytes()).unwrap();
    drop(file);
    let update = watched.next();
    assert_eq!(names(&update).len(), 2, "{update:?}");
    assert_eq!(codes_of(&update), [""; 0]);
}
