use super::*;

fn class(texts: &[&str]) -> Class {
    texts.iter().map(|text| Arc::from(*text)).collect()
}

fn host(glob: &str, selector: Option<&str>) -> HostEntry {
    HostEntry {
        key: None,
        glob: HostGlob::parse(glob),
        selector: selector.map(Arc::from),
        attaches: true,
    }
}

fn set(host: Option<&str>, texts: &[&str]) -> SetKey {
    SetKey {
        host: host.map_or(SetHost::None, |text| SetHost::Glob(HostGlob::parse(text))),
        class: class(texts),
    }
}

#[test]
fn the_table_of_the_specification() {
    let plain = host("a.test", None);
    let selecting = host("a.test", Some("team=x"));
    assert!(plain.verdict(&set(Some("*.test"), &[])).is_ok());
    assert_eq!(plain.verdict(&set(Some("b.test"), &[])), Err(Miss::Name));
    assert_eq!(
        plain.verdict(&set(None, &["team=x"])),
        Err(Miss::NoHostname)
    );
    assert!(selecting.verdict(&set(None, &["team=x"])).is_ok());
    assert_eq!(
        selecting.verdict(&set(Some("a.test"), &[])),
        Err(Miss::Labels)
    );
    assert!(selecting.verdict(&set(Some("*"), &["team=x"])).is_ok());
    assert_eq!(
        selecting.verdict(&set(Some("b.test"), &["team=x"])),
        Err(Miss::Name)
    );
}

#[test]
fn keys_of_different_sets_differ() {
    let keys: Vec<String> = [
        set(Some("a/b"), &[]),
        set(Some("a"), &["b"]),
        set(Some("a"), &["b;c"]),
        set(Some("a"), &["b", "c"]),
        set(Some("*"), &[]),
        set(None, &[]),
        set(None, &["b"]),
    ]
    .iter()
    .map(|set| set.to_key().to_string())
    .collect();
    let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
    assert_eq!(distinct.len(), keys.len(), "{keys:?}");
    assert!(!keys.contains(&INTERNAL.to_owned()));
}
