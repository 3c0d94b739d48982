//! Labels of all kinds, and a service that is asked about them.

use crate::limit::{Label, Labels, RateLimit};

pub(super) fn rate_limit() -> RateLimit {
    RateLimit {
        name: "default/rl".into(),
        cluster: "key-0".into(),
        domain: "d".into(),
        timeout_ms: 20,
        deny_on_error: true,
        resource_exhausted: true,
    }
}

pub(super) fn labels() -> Labels {
    let written_key = Some("k".to_owned());
    let group = vec![
        Label::SourceCluster {
            written_key: written_key.clone(),
            value: "ambassador-default".into(),
        },
        Label::DestinationCluster {
            written_key: written_key.clone(),
        },
        Label::RemoteAddress { written_key },
        Label::RequestHeader {
            key: "k".into(),
            header: "x-a".into(),
        },
        Label::Generic {
            key: "k".into(),
            value: "v".into(),
        },
    ];
    Labels {
        domains: [("d".to_owned(), vec![group])].into(),
    }
}
