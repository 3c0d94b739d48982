use std::collections::BTreeSet;

use super::*;
use crate::kube::tests::options;

#[test]
fn the_whole_cluster() {
    let feeds = feeds(&options());
    assert!(feeds.iter().all(|feed| feed.namespace.is_none()));
    let kinds: BTreeSet<Kind> = feeds.iter().map(|feed| feed.kind).collect();
    assert_eq!(kinds.len(), feeds.len(), "one watch per kind");
    assert_eq!(kinds.len(), 15 + 4);
    for kind in [
        Kind::DevPortal,
        Kind::ConfigMap,
        Kind::Ingress,
        Kind::Endpoints,
    ] {
        assert!(!kinds.contains(&kind), "{kind}");
    }
    let of = |kind| feeds.iter().find(|feed| feed.kind == kind).unwrap();
    assert_eq!(of(Kind::Secret).what, What::SecretHeads);
    assert_eq!(
        of(Kind::Secret).field_selector.as_deref(),
        Some(NO_SUCH_SECRETS)
    );
    assert_eq!(
        of(Kind::EndpointSlice).field_selector.as_deref(),
        Some(NO_KUBE_SYSTEM)
    );
    assert_eq!(of(Kind::Namespace).what, What::Metadata);
    assert_eq!(of(Kind::Mapping).field_selector, None);
}

#[test]
fn namespaces_selectors_and_named_secrets() {
    let mut options = options();
    options.watch_namespaces = vec!["a".into(), "kube-system".into()];
    options.label_selector = Some("team=x".into());
    options.field_selector = Some("metadata.name!=y".into());
    options.cluster_scoped = false;
    options.secrets = SecretAccess::Names(vec![("s".into(), "tls".into())]);
    let feeds = feeds(&options);
    assert!(feeds.iter().all(|feed| feed.namespace.is_some()));
    assert!(
        feeds
            .iter()
            .all(|feed| feed.label_selector.as_deref() == Some("team=x"))
    );
    let of = |kind| -> Vec<&Feed> { feeds.iter().filter(|feed| feed.kind == kind).collect() };
    assert_eq!(of(Kind::Mapping).len(), 2);
    assert_eq!(of(Kind::EndpointSlice).len(), 1, "not in kube-system");
    assert!(of(Kind::Namespace).is_empty());
    let [secret] = of(Kind::Secret)[..] else {
        panic!("one Secret");
    };
    assert_eq!(secret.namespace.as_deref(), Some("s"));
    assert_eq!(secret.what, What::NamedSecret("tls".into()));
    let fields = secret.field_selector.as_deref();
    assert_eq!(fields, Some("metadata.name=tls,metadata.name!=y"));
}

#[test]
fn endpoints_can_be_off() {
    let mut options = options();
    options.endpoints = false;
    assert!(
        feeds(&options)
            .iter()
            .all(|feed| feed.kind != Kind::EndpointSlice)
    );
}

#[test]
fn resources_are_named_as_their_crds() {
    for kind in CUSTOM {
        assert!(GROUP_VERSIONS.contains(&api_version(*kind)), "{kind}");
        let crd = legate_api::crd_files()
            .into_iter()
            .find(|(name, _)| *name == format!("{}.yaml", plural(*kind)));
        assert!(crd.is_some(), "{kind}");
    }
    assert_eq!(rule_name(Kind::Mapping), "mappings.getambassador.io");
    assert_eq!(rule_name(Kind::Secret), "secrets");
    assert_eq!(
        rule_name(Kind::EndpointSlice),
        "endpointslices.discovery.k8s.io"
    );
}
