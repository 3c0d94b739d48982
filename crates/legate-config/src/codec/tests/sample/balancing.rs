//! What requests are kept together by, for the sample of everything.

use crate::policy::{HashCookie, HashSource};

/// One of each kind.
pub(super) fn sources() -> [HashSource; 3] {
    [
        HashSource::Cookie(HashCookie {
            name: "c".into(),
            path: Some("/".into()),
            ttl_secs: Some(u64::MAX),
        }),
        HashSource::Header("x-a".into()),
        HashSource::SourceIp,
    ]
}
