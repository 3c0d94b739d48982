//! Diagnostics as text, in the manner of rustc: file, line, and a caret under the field.

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use legate_config::diagnostic::Related;
use legate_config::{Diagnostic, Effect, Location, Severity};

/// Where source lines come from: file and 1-based line number to the line's text.
pub type Lines<'a> = &'a dyn Fn(&str, u32) -> Option<String>;

/// Renders one diagnostic; ends without a line break.
#[must_use]
pub fn diagnostic(item: &Diagnostic, lines: Lines<'_>, colours: bool) -> String {
    let renderer = if colours {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let title = match &item.object {
        Some(object) if item.path.is_empty() => format!("{} ({object})", item.message),
        Some(object) => format!("{} ({object}, {})", item.message, item.path),
        None => item.message.clone(),
    };
    let level = match item.severity() {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Info => Level::INFO,
    };
    // Key material must not reach a terminal or a CI log, not even its first line.
    let secret = |kind: &str| kind == "Secret";
    let hidden = item
        .object
        .as_ref()
        .is_some_and(|object| secret(&object.kind));
    let mut group = level
        .primary_title(title)
        .id(item.code.as_str().to_owned())
        .elements(
            item.location
                .as_ref()
                .map(|location| source(location, lines, hidden)),
        );
    if let Some(note) = effect(&item.effect) {
        group = group.element(Level::NOTE.message(note));
    }
    let mut groups = vec![group];
    for Related {
        object,
        message,
        location,
    } in &item.related
    {
        let title = format!("{object}: {message}");
        groups.push(
            Level::NOTE.secondary_title(title).elements(
                location
                    .as_ref()
                    .map(|location| source(location, lines, secret(&object.kind))),
            ),
        );
    }
    if let Some(help) = &item.help {
        groups.push(Group::with_title(Level::HELP.secondary_title(help.clone())));
    }
    renderer.render(&groups)
}

/// One line of source with its mark, or just its position where the text is not to be had.
fn source<'a>(
    location: &Location,
    lines: Lines<'_>,
    hidden: bool,
) -> annotate_snippets::Element<'a> {
    let number = location.line as usize;
    let text = if hidden {
        None
    } else {
        lines(&location.file, location.line)
    };
    match text {
        Some(text) => {
            let start = byte_at(&text, location.column.saturating_sub(1));
            let end = byte_at(
                &text,
                location
                    .column
                    .saturating_sub(1)
                    .saturating_add(location.length.max(1)),
            );
            Snippet::source(text)
                .line_start(number)
                .path(location.file.clone())
                .annotation(AnnotationKind::Primary.span(start..end.max(start)))
                .into()
        }
        None => Origin::path(location.file.clone())
            .line(number)
            .char_column(location.column as usize)
            .into(),
    }
}

/// The byte offset of a character, or the text's end.
fn byte_at(text: &str, character: u32) -> usize {
    text.char_indices()
        .nth(character as usize)
        .map_or(text.len(), |(offset, _)| offset)
}

fn effect(effect: &Effect) -> Option<String> {
    match effect {
        Effect::None => None,
        Effect::FieldIgnored => Some("the field is ignored; the rest takes effect".to_owned()),
        Effect::Dropped => Some("the object contributes nothing".to_owned()),
        Effect::Answering(status) => {
            Some(format!("requests that match it are answered with {status}"))
        }
        Effect::ServingLastGood => Some("its last good version keeps serving".to_owned()),
    }
}

/// A closing line such as `2 errors, 1 warning`.
#[must_use]
pub fn summary(items: &[Diagnostic]) -> String {
    let count = |severity| {
        items
            .iter()
            .filter(|item| item.severity() == severity)
            .count()
    };
    let word = |count: usize, one: &str, many: &str| {
        format!("{count} {}", if count == 1 { one } else { many })
    };
    let mut parts = Vec::new();
    for (severity, one, many) in [
        (Severity::Error, "error", "errors"),
        (Severity::Warning, "warning", "warnings"),
        (Severity::Info, "note", "notes"),
    ] {
        let number = count(severity);
        if number > 0 {
            parts.push(word(number, one, many));
        }
    }
    if parts.is_empty() {
        "no problems found".to_owned()
    } else {
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use legate_config::{Code, ObjectRef};

    use super::*;

    fn object(kind: &str) -> ObjectRef {
        ObjectRef {
            kind: kind.into(),
            namespace: "apps".into(),
            name: "a".into(),
        }
    }

    fn located(kind: &str) -> Diagnostic {
        let mut item = Diagnostic::new(
            Code::new("E-MAP-REGEX"),
            object(kind),
            "spec.prefix",
            "unclosed group",
        )
        .help("close the group")
        .effect(Effect::Answering(500));
        item.location = Some(Location {
            file: "m.yaml".into(),
            line: 7,
            column: 11,
            length: 4,
        });
        item
    }

    #[test]
    fn a_caret_stands_under_the_field() {
        let lines = |_: &str, _: u32| Some("  prefix: \"/x(\"".to_owned());
        let text = diagnostic(&located("Mapping"), &lines, false);
        let expected = "\
error[E-MAP-REGEX]: unclosed group (Mapping apps/a, spec.prefix)
 --> m.yaml:7:11
  |
7 |   prefix: \"/x(\"
  |           ^^^^
  |
  = note: requests that match it are answered with 500
help: close the group";
        assert_eq!(text, expected);
    }

    #[test]
    fn key_material_is_not_shown() {
        let lines = |_: &str, _: u32| Some("  tls.key: SECRETSECRET".to_owned());
        let text = diagnostic(&located("Secret"), &lines, false);
        assert!(!text.contains("SECRETSECRET"), "{text}");
        assert!(text.contains("m.yaml:7:11"), "{text}");
    }

    #[test]
    fn columns_beyond_the_line_do_no_harm() {
        let lines = |_: &str, _: u32| Some("é".to_owned());
        let text = diagnostic(&located("Mapping"), &lines, false);
        assert!(text.contains("m.yaml:7"), "{text}");
    }
}
