//! The first load: what is read, in which order, and what is reported.

use super::*;

#[test]
fn folders_are_read_recursively() {
    let folder = folder(&[
        (
            "a.yaml",
            &join(&[mapping("one", "/1/"), mapping("two", "/2/")]),
        ),
        ("sub/deep/b.YML", &mapping("three", "/3/")),
        (
            "c.json",
            r#"{"apiVersion":"getambassador.io/v3alpha1","kind":"Mapping","metadata":{"name":"four"},"spec":{"hostname":"*","prefix":"/4/","service":"x"}}"#,
        ),
        ("README.md", "# no manifest"),
        (".hidden.yaml", &mapping("hidden", "/h/")),
        (".git/d.yaml", &mapping("hidden", "/h/")),
        ("empty.yaml", "# nothing\n---\n---\n"),
    ]);
    let (source, update) = load(folder.path());
    let mut found = names(&update);
    found.sort_unstable();
    assert_eq!(found, ["four", "one", "three", "two"]);
    assert_eq!(codes_of(&update), [""; 0]);
    let place = source
        .locate(&key("two"), "spec.prefix", Side::Value)
        .unwrap();
    assert_eq!((place.line, place.column, place.length), (16, 11, 3));
    assert!(place.file.ends_with("a.yaml"));
    assert_eq!(
        source.source_line(&place.file, 16).unwrap(),
        "  prefix: /2/"
    );
    assert_eq!(source.text_at(&place).unwrap().first_line, 9);
    let place = source
        .locate(&key("two"), "spec.nothing", Side::Value)
        .unwrap();
    assert_eq!(place.line, 11);
    assert_eq!(source.locate(&key("nobody"), "", Side::Value), None);
}

#[test]
fn a_syntax_error_costs_its_own_document() {
    let broken = "kind: Mapping\n  spec: [\n".to_owned();
    let text = join(&[mapping("one", "/1/"), broken, mapping("two", "/2/")]);
    let folder = folder(&[("a.yaml", &text)]);
    let (source, update) = load(folder.path());
    assert_eq!(names(&update), ["one", "two"]);
    assert_eq!(codes_of(&update), ["E-YAML a.yaml:11"]);
    let place = update.diagnostics[0].location.as_ref().unwrap();
    assert_eq!(
        source.source_line(&place.file, place.line).unwrap(),
        "  spec: ["
    );
}

#[test]
fn lists_are_flattened_and_located() {
    let text = "\
apiVersion: v1
kind: List
items:
- apiVersion: getambassador.io/v3alpha1
  kind: Mapping
  metadata: {name: one}
  spec: {hostname: '*', prefix: /1/, service: x}
- apiVersion: getambassador.io/v3alpha1
  kind: MappingList
  items:
  - metadata: {name: two}
    spec: {hostname: '*', prefix: /2/, service: x}
";
    let folder = folder(&[("a.yaml", text)]);
    let (source, update) = load(folder.path());
    assert_eq!(names(&update), ["one", "two"]);
    let place = source
        .locate(&key("two"), "spec.prefix", Side::Value)
        .unwrap();
    assert_eq!((place.line, place.column), (12, 35));
    let place = source.locate(&key("one"), "", Side::Value).unwrap();
    assert_eq!(place.line, 5);
}

#[test]
fn the_first_of_two_objects_counts() {
    let folder = folder(&[
        ("b.yaml", &mapping("one", "/later/")),
        (
            "a.yaml",
            &join(&[mapping("one", "/first/"), mapping("one", "/second/")]),
        ),
    ]);
    let (source, update) = load(folder.path());
    assert_eq!(names(&update), ["one"]);
    assert_eq!(
        codes_of(&update),
        ["E-DUPLICATE a.yaml:11", "E-DUPLICATE b.yaml:2"]
    );
    let related = &update.diagnostics[1].related[0];
    assert_eq!(related.location.as_ref().unwrap().line, 2);
    let place = source
        .locate(&key("one"), "spec.prefix", Side::Value)
        .unwrap();
    assert!(place.file.ends_with("a.yaml"));
    assert_eq!(place.line, 7);
}

#[test]
fn what_is_no_object_is_reported() {
    let folder = folder(&[(
        "a.yaml",
        "# x\njust: text\n---\n- a list\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n",
    )]);
    let (_, update) = load(folder.path());
    assert_eq!(
        codes_of(&update),
        [
            "W-NOT-AN-OBJECT a.yaml:2",
            "W-NOT-AN-OBJECT a.yaml:4",
            "I-UNKNOWN-KIND"
        ]
    );
    assert!(update.diagnostics[2].message.contains("apps/v1 Deployment"));
}

#[test]
fn loops_and_second_ways_are_followed_once() {
    let folder = folder(&[("real/a.yaml", &mapping("one", "/1/"))]);
    let root = folder.path();
    symlink(root, root.join("real/loop")).unwrap();
    symlink(root.join("real"), root.join("again")).unwrap();
    symlink(root.join("real/a.yaml"), root.join("z.yaml")).unwrap();
    let (_, update) = load(root);
    assert_eq!(names(&update), ["one"]);
    assert_eq!(codes_of(&update), [""; 0]);
}

#[test]
fn what_cannot_be_read_is_reported() {
    let folder = folder(&[("good.yaml", &mapping("one", "/1/")), ("latin.yaml", "")]);
    let root = folder.path();
    let large = fs::File::create(root.join("large.yaml")).unwrap();
    large.set_len(100 << 20).unwrap();
    fs::write(root.join("latin.yaml"), b"a: \xe4\n").unwrap();
    symlink("nowhere", root.join("dangling.yaml")).unwrap();
    let paths = [root.to_owned(), root.join("missing")];
    let (_, update) = FolderSource::load(&paths, FolderOptions::default());
    assert_eq!(names(&update), ["one"]);
    let mut codes = codes_of(&update);
    codes.sort();
    assert_eq!(
        codes,
        [
            "E-FILE dangling.yaml:1",
            "E-FILE large.yaml:1",
            "E-FILE latin.yaml:1",
            "E-FILE missing:1"
        ]
    );
}

#[test]
fn a_given_file_needs_no_extension() {
    let folder = folder(&[("manifest", &mapping("one", "/1/"))]);
    let (_, update) = load(&folder.path().join("manifest"));
    assert_eq!(names(&update), ["one"]);
}

#[test]
fn diagnostics_get_their_places() {
    let folder = folder(&[("a.yaml", &mapping("one", "/1/"))]);
    let (source, _) = load(folder.path());
    let object = legate_compiler::ObjectRef {
        kind: "Mapping".to_owned(),
        namespace: "default".to_owned(),
        name: "one".to_owned(),
    };
    let unknown = Diagnostic::new(codes::W_UNKNOWN_FIELD, object.clone(), "spec.prefix", "x");
    let wrong = Diagnostic::new(codes::E_DUPLICATE, object, "spec.prefix", "x");
    let mut diagnostics = [unknown, wrong];
    source.annotate(&mut diagnostics);
    let columns = diagnostics.map(|d| d.location.map(|l| (l.line, l.column)));
    assert_eq!(columns, [Some((7, 3)), Some((7, 11))]);
}

#[test]
fn many_documents_keep_their_order() {
    let documents: Vec<_> = (0..500).map(|n| mapping(&format!("m{n}"), "/x/")).collect();
    let folder = folder(&[("a.yaml", &join(&documents))]);
    let (source, update) = load(folder.path());
    assert_eq!(update.upserts.len(), 500);
    let place = source
        .locate(&key("m499"), "metadata.name", Side::Value)
        .unwrap();
    assert_eq!(place.line, 499 * 9 + 4);
}
