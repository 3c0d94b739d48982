//! Health checks, for the sample of everything.

use crate::health::{GrpcProbe, HealthCheck, HttpProbe, Probe, ProbeHeader, StatusRange};

/// One of each kind.
pub(super) fn checks() -> Vec<HealthCheck> {
    let check = |probe| HealthCheck {
        probe,
        timeout_ms: 1,
        interval_ms: 2,
        unhealthy_threshold: 3,
        healthy_threshold: 4,
    };
    vec![
        check(Probe::Http(HttpProbe {
            host: "h".into(),
            path: "/".into(),
            add_headers: vec![ProbeHeader {
                name: "n".into(),
                value: "v".into(),
                append: true,
            }],
            remove_headers: vec!["r".into()],
            expected: vec![StatusRange { min: 200, max: 299 }],
        })),
        check(Probe::Grpc(GrpcProbe {
            service: "s".into(),
            authority: "a".into(),
        })),
    ]
}
