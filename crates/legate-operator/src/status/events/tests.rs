use legate_api::Kind;

use super::*;
use crate::status::testing::{key, ours};

struct Desk {
    book: EventBook,
    now: Instant,
}

impl Desk {
    fn new() -> Self {
        Self {
            book: EventBook::default(),
            now: Instant::now(),
        }
    }

    fn tell(&mut self, name: &str, tone: Tone, reason: &str) -> Option<Post> {
        let about = About::Object(key(Kind::Mapping, name), format!("uid-{name}"));
        let news = News {
            tone,
            reason: reason.to_owned(),
            note: "a note".to_owned(),
        };
        self.book
            .tell(about, &news, &ours(), self.now, Timestamp::UNIX_EPOCH)
    }

    fn tick(&mut self) -> Option<Post> {
        self.book.tick(&ours(), self.now, Timestamp::UNIX_EPOCH)
    }
}

fn created(post: Option<Post>) -> Event {
    match post {
        Some(Post::Create(event)) => *event,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_event_is_whole() {
    let mut desk = Desk::new();
    let event = created(desk.tell("m", Tone::Warning, "Invalid"));
    assert_eq!(event.metadata.namespace.as_deref(), Some("apps"));
    let name = event.metadata.name.unwrap();
    assert!(name.starts_with("m.") && name.len() < 253, "{name}");
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    assert_eq!(event.reason.as_deref(), Some("Invalid"));
    assert_eq!(event.note.as_deref(), Some("a note"));
    assert_eq!(
        event.reporting_controller.as_deref(),
        Some("getambassador.io/legate")
    );
    assert_eq!(event.reporting_instance.as_deref(), Some("legate-0"));
    assert!(event.action.is_some() && event.event_time.is_some());
    let regarding = event.regarding.unwrap();
    assert_eq!(
        regarding.api_version.as_deref(),
        Some("getambassador.io/v3alpha1")
    );
    assert_eq!(regarding.kind.as_deref(), Some("Mapping"));
    assert_eq!(regarding.name.as_deref(), Some("m"));
    assert_eq!(regarding.uid.as_deref(), Some("uid-m"));
}

#[test]
fn the_same_again_is_counted_up() {
    let mut desk = Desk::new();
    let first = created(desk.tell("m", Tone::Warning, "Invalid"));
    // At once again: counted, not told.
    assert_eq!(desk.tell("m", Tone::Warning, "Invalid"), None);
    desk.now += Duration::from_secs(30);
    let Some(Post::Repeat(namespace, name, patch)) = desk.tell("m", Tone::Warning, "Invalid")
    else {
        panic!("no repeat");
    };
    assert_eq!(namespace, "apps");
    assert_eq!(Some(name), first.metadata.name);
    assert_eq!(patch["series"]["count"], 3);
    // Another object, reason or tone is another event.
    created(desk.tell("n", Tone::Warning, "Invalid"));
    created(desk.tell("m", Tone::Warning, "NoHostMatches"));
    created(desk.tell("m", Tone::Normal, "Invalid"));
    // A series ends.
    desk.now += Duration::from_secs(361);
    created(desk.tell("m", Tone::Warning, "Invalid"));
}

#[test]
fn more_than_twenty_a_minute_are_summed_up() {
    let mut desk = Desk::new();
    for number in 0..20 {
        created(desk.tell(&format!("m{number}"), Tone::Warning, "Invalid"));
    }
    for number in 20..50 {
        let tone = if number < 45 {
            Tone::Warning
        } else {
            Tone::Normal
        };
        assert_eq!(desk.tell(&format!("m{number}"), tone, "Invalid"), None);
    }
    let end = desk.now + Duration::from_secs(60);
    assert_eq!(desk.book.deadline(), Some(end));
    assert_eq!(desk.tick(), None);
    desk.now = end;
    let event = created(desk.tick());
    assert_eq!(event.reason.as_deref(), Some("ManyChanges"));
    let note = event.note.unwrap();
    assert!(
        note.starts_with("30 more") && note.contains("25 for the worse"),
        "{note}"
    );
    assert_eq!(event.metadata.namespace.as_deref(), Some("legate"));
    assert_eq!(event.regarding.unwrap().kind.as_deref(), Some("Pod"));
    assert_eq!((desk.tick(), desk.book.deadline()), (None, None));
    created(desk.tell("m20", Tone::Warning, "Invalid"));
}

#[test]
fn a_quiet_minute_has_no_summary() {
    let mut desk = Desk::new();
    created(desk.tell("m", Tone::Warning, "Invalid"));
    desk.now += Duration::from_secs(60);
    assert_eq!(desk.tick(), None);
}

#[test]
fn series_are_bounded() {
    let mut desk = Desk::new();
    for number in 0..5000 {
        desk.now += Duration::from_millis(50);
        desk.tick();
        desk.tell(&format!("m{number}"), Tone::Warning, "Invalid");
    }
    assert!(desk.book.series.len() <= MOST_SERIES);
}

#[test]
fn names_fit_whatever_the_object_is_called() {
    let mut desk = Desk::new();
    let long = format!("{}.{}", "a".repeat(199), "b".repeat(50));
    let event = created(desk.tell(&long, Tone::Normal, &"R".repeat(500)));
    let name = event.metadata.name.unwrap();
    assert!(name.len() <= 253 && !name.contains(".."), "{name}");
    assert_eq!(event.reason.unwrap().len(), 128);
}
