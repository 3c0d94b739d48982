//! A snapshot with every table, every variant, and no field at its default.

mod balancing;
mod health;
mod http;

use std::sync::Arc;

use serde::Serialize;

use crate::auth::{Auth, AuthBody, AuthCheck, AuthProtocol, AuthTarget};
use crate::cluster::{
    AddressFamilies, Balancer, Breakers, Cluster, DnsMode, DnsSource, Endpoint, EndpointSet,
    Limits, TcpKeepalive, UpstreamProtocol, UpstreamTls,
};
use crate::diagnostic::ObjectRef;
use crate::http::{AccessLogFormat, HttpSettings};
use crate::limit::{Label, Labels};
use crate::listener::{
    ChainMatch, ChainTls, ClientAuth, DownstreamTls, FilterChain, HostPattern, InsecureAction,
    Listener, SecurityModel, TlsVersion, VirtualHost,
};
use crate::policy::{
    CorsPolicy, HeaderAdd, HeaderEdits, HostRewrite, PathRewrite, PolicySet, Priority,
    RegexReplace, Replacement, Retry, RetryOn,
};
use crate::route::{
    Action, Destination, Fail, Mirror, NamedMatch, PathMatch, ProbeKind, Rank, Redirect,
    RedirectPath, Route, RouteMatch, RouteSet, Split, StringMatch, Target,
};
use crate::secret::{CaBundle, Certificate, KeyForm, PrivateKey, RevocationList};
use crate::snapshot::{Origin, Snapshot};
use crate::table::{Entry, Table};
use crate::template::Template;

const KEY: [u8; 4] = [0xde, 0xad, 0xbe, 0xef];

pub(super) fn put<K: Ord + Clone + From<String>, T: Serialize>(
    table: &mut Table<K, T>,
    values: impl IntoIterator<Item = T>,
) {
    for (index, value) in values.into_iter().enumerate() {
        let origin = Origin {
            object: ObjectRef {
                kind: "Mapping".into(),
                namespace: "default".into(),
                name: format!("object-{index}"),
            },
            generation: i64::try_from(index).unwrap(),
        };
        // The first has no origin, the second one without a generation.
        let origins: Vec<_> = (0..index)
            .map(|generation| Origin {
                generation: i64::try_from(generation).unwrap(),
                ..origin.clone()
            })
            .collect();
        table.insert(K::from(format!("key-{index}")), Entry::new(value, origins));
    }
}

fn listeners(snapshot: &mut Snapshot) {
    let listener = |http, security| Listener {
        name: "default/l".into(),
        address: Some("::1".parse().unwrap()),
        port: 8443,
        tls: true,
        security,
        http,
        stats_prefix: "p".into(),
    };
    let mut text_log = HttpSettings::default();
    text_log.access_log.format = AccessLogFormat::Text(Template::literal("100%"));
    put(
        &mut snapshot.listeners,
        [
            listener(http::settings(), SecurityModel::Secure),
            listener(HttpSettings::default(), SecurityModel::Insecure),
            listener(text_log, SecurityModel::ForwardedProto),
        ],
    );
    let patterns = ["a.test", "~a", "", "*a*"].map(|text| HostPattern::Exact(text.into()));
    let patterns = patterns.into_iter().chain([
        HostPattern::Any,
        HostPattern::Suffix(".test".into()),
        HostPattern::Prefix("a.".into()),
        HostPattern::Regex("a|b".into()),
    ]);
    put(
        &mut snapshot.virtual_hosts,
        patterns.clone().map(|host| VirtualHost {
            listener: "key-0".into(),
            name: "default/h".into(),
            host,
            insecure: InsecureAction::Reject,
            route_sets: vec!["key-0".into(), "key-1".into()],
        }),
    );
    put(
        &mut snapshot.route_sets,
        patterns.map(|host| RouteSet { host }),
    );
    let terminate = DownstreamTls {
        certificate: "key-0".into(),
        min_version: TlsVersion::V12,
        max_version: TlsVersion::V13,
        cipher_suites: vec!["c".into()],
        ecdh_curves: vec!["P-256".into()],
        alpn: vec!["h2".into()],
        client_auth: Some(ClientAuth {
            required: true,
            ca: "key-0".into(),
            crl: Some("key-0".into()),
        }),
    };
    let chain = |matches, tls| FilterChain {
        listener: "key-0".into(),
        matches,
        tls,
        virtual_hosts: vec!["key-0".into()],
    };
    put(
        &mut snapshot.chains,
        [
            chain(ChainMatch::Plain, None),
            chain(
                ChainMatch::Sni(HostPattern::Suffix(".test".into())),
                Some(ChainTls::Terminate(terminate)),
            ),
            chain(ChainMatch::DefaultTls, Some(ChainTls::Refuse("why".into()))),
            chain(ChainMatch::DefaultTls, Some(ChainTls::Hold("why".into()))),
        ],
    );
}

fn replace() -> RegexReplace {
    RegexReplace {
        pattern: "(a)".into(),
        substitution: vec![Replacement::Text("x".into()), Replacement::Group(1)],
    }
}

fn actions() -> [Action; 9] {
    let redirect = |path| {
        Action::Redirect(Redirect {
            scheme: Some("https".into()),
            host: None,
            path,
            status: 301,
        })
    };
    let fail = Fail {
        status: 503,
        reason: "E-X".into(),
    };
    let target = |to| Target {
        name: "default/m".into(),
        weight: 50,
        to,
    };
    let cluster = Destination::Cluster {
        cluster: "key-0".into(),
        policies: "key-0".into(),
    };
    [
        Action::Forward(Split {
            targets: vec![target(cluster), target(Destination::Fail(fail.clone()))],
            of: 100,
            mirror: Some(Mirror {
                name: "default/s".into(),
                percent: 20,
                cluster: "key-0".into(),
            }),
        }),
        redirect(RedirectPath::Keep),
        redirect(RedirectPath::Full("/a?b".into())),
        redirect(RedirectPath::Prefix {
            matched: 3,
            with: "/".into(),
        }),
        redirect(RedirectPath::Regex(replace())),
        Action::Probe(ProbeKind::Alive),
        Action::Probe(ProbeKind::Ready),
        Action::GuardedProbe {
            probe: ProbeKind::Ready,
            policies: "key-0".into(),
        },
        Action::Fail(fail),
    ]
}

fn routes(snapshot: &mut Snapshot) {
    let conditions = [
        StringMatch::Exact("e".into()),
        StringMatch::Regex("r".into()),
        StringMatch::Present(false),
    ];
    let named = |value| NamedMatch {
        name: "x-a".into(),
        value,
    };
    let paths = [
        PathMatch::Exact {
            value: "/é\"\\\u{0}".into(),
            ignore_case: true,
        },
        PathMatch::Prefix {
            value: "/".into(),
            ignore_case: false,
        },
        PathMatch::Regex {
            value: "/.*".into(),
        },
    ];
    put(
        &mut snapshot.routes,
        actions()
            .into_iter()
            .zip(paths.iter().cycle())
            .map(|(action, path)| Route {
                set: "key-0".into(),
                name: "default/m".into(),
                rank: Rank {
                    tier: -5,
                    specificity: vec![u32::MAX, 0],
                    tie: vec![0, 255],
                },
                matches: RouteMatch {
                    path: path.clone(),
                    method: Some(conditions[0].clone()),
                    headers: conditions.clone().map(named).into(),
                    query: conditions.clone().map(named).into(),
                },
                always_routed: true,
                action,
            }),
    );
}

fn cors() -> CorsPolicy {
    CorsPolicy {
        origins: vec!["https://a.test".into()],
        methods: Some("GET, PUT".into()),
        headers: Some("x-a".into()),
        exposed_headers: Some("x-b".into()),
        credentials: true,
        max_age: Some(-1),
    }
}

fn policies(snapshot: &mut Snapshot) {
    let rewrites = [
        PathRewrite::Keep,
        PathRewrite::Prefix {
            matched: 3,
            with: "/".into(),
        },
        PathRewrite::Full("/".into()),
        PathRewrite::Regex(replace()),
    ];
    let hosts = [
        HostRewrite::Keep,
        HostRewrite::Literal("h".into()),
        HostRewrite::Auto,
    ];
    let edits = HeaderEdits {
        remove: vec!["x-r".into()],
        add: vec![HeaderAdd {
            name: "x-a".into(),
            value: Template::parse("%REQ(:path)%").unwrap(),
            append: true,
        }],
    };
    let checks = [
        Arc::new(Auth::Check(AuthCheck {
            names: vec!["d/a".into()],
            targets: vec![AuthTarget {
                cluster: "key-0".into(),
                linkerd_dst: Some("l".into()),
            }],
            protocol: AuthProtocol::Grpc,
            timeout_ms: 1,
            path_prefix: "/p".into(),
            request_headers: vec!["x-q".into()],
            answer_headers: vec!["x-s".into()],
            add_headers: vec![("x-a".into(), "v".into())],
            body: Some(AuthBody {
                max_bytes: u64::MAX,
                allow_partial: true,
            }),
            allow_on_error: true,
            status_on_error: 503,
        })),
        Arc::new(Auth::Refuse {
            message: "m".into(),
        }),
    ];
    put(
        &mut snapshot.policies,
        rewrites
            .into_iter()
            .zip(hosts.iter().cycle())
            .zip(checks.iter().cycle())
            .zip(balancing::sources().into_iter().cycle())
            .map(|(((rewrite, host), auth), source)| PolicySet {
                request_headers: edits.clone(),
                response_headers: edits.clone(),
                rewrite,
                host: host.clone(),
                timeout_ms: u64::MAX,
                idle_timeout_ms: 1,
                upgrades: vec!["websocket".into()],
                cors: Some(cors()),
                linkerd_dst: Some("l".into()),
                auth: Some(auth.clone()),
                auth_bypassed: Some("c".into()),
                auth_context: vec![("k".into(), "v".into())],
                labels: Some(Arc::new(labels())),
                rate_limit: Some(Arc::new(super::limits::asked())),
                priority: Priority::High,
                retry: Some(Retry {
                    on: RetryOn::ServerError,
                    num_retries: 1,
                    per_try_timeout_ms: 2,
                }),
                hash: Some(source),
            }),
    );
}

fn labels() -> Labels {
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

fn clusters(snapshot: &mut Snapshot) {
    let tls = UpstreamTls {
        sni: Some("s".into()),
        ca: Some("key-0".into()),
        client_certificate: Some("key-0".into()),
        alpn: vec!["h2".into()],
        min_version: TlsVersion::V12,
        max_version: TlsVersion::V13,
        cipher_suites: vec!["c".into()],
        ecdh_curves: vec!["P-256".into()],
    };
    let cluster = |protocol, balancer, tls: Option<UpstreamTls>| Cluster {
        stats_name: "s".into(),
        endpoints: "key-0".into(),
        protocol,
        tls,
        balancer,
        connect_timeout_ms: 1,
        idle_timeout_ms: 2,
        max_lifetime_ms: 3,
        keepalive: Some(TcpKeepalive {
            probes: Some(1),
            ..TcpKeepalive::default()
        }),
        tag: "t".into(),
        shadow: true,
        host_name: Some("h".into()),
        breakers: Breakers {
            high: Limits {
                max_connections: 1,
                max_pending_requests: 2,
                max_requests: 3,
                max_retries: 4,
            },
            ..Breakers::default()
        },
        health_checks: health::checks(),
        never_eject: true,
    };
    put(
        &mut snapshot.clusters,
        [
            cluster(UpstreamProtocol::Http1, Balancer::RoundRobin, None),
            cluster(UpstreamProtocol::Http1, Balancer::LeastRequest, None),
            cluster(UpstreamProtocol::Http1, Balancer::RingHash, None),
            cluster(UpstreamProtocol::Http2, Balancer::Maglev, Some(tls)),
        ],
    );
    let dns = |mode, families| {
        EndpointSet::Dns(DnsSource {
            name: "n".into(),
            port: 80,
            mode,
            respect_ttl: true,
            families,
        })
    };
    let endpoint = |text: &str| Endpoint {
        address: text.parse().unwrap(),
    };
    put(
        &mut snapshot.endpoint_sets,
        [
            EndpointSet::Static {
                endpoints: vec![endpoint("10.0.0.1:80"), endpoint("[fe80::1%2]:443")],
            },
            EndpointSet::Static { endpoints: vec![] },
            dns(DnsMode::All, AddressFamilies::V4),
            dns(DnsMode::First, AddressFamilies::V6),
            dns(DnsMode::All, AddressFamilies::PreferV6),
        ],
    );
}

fn secrets(snapshot: &mut Snapshot) {
    put(
        &mut snapshot.certificates,
        [KeyForm::Pkcs8, KeyForm::Pkcs1, KeyForm::Sec1].map(|form| Certificate {
            chain: vec![vec![1, 2], vec![3]],
            key: PrivateKey::new(KEY.into(), form, &[9; 32]),
            names: vec!["*.a.test".into()],
            not_before: i64::MIN,
            not_after: i64::MAX,
        }),
    );
    put(
        &mut snapshot.ca_bundles,
        [CaBundle {
            certificates: vec![vec![4, 5]],
        }],
    );
    put(
        &mut snapshot.revocation_lists,
        [RevocationList {
            lists: vec![vec![6], vec![]],
        }],
    );
}

/// Every table, every variant, every field with a value that is not its default.
pub(super) fn everything() -> Snapshot {
    let mut snapshot = Snapshot {
        id: 42,
        ..Snapshot::default()
    };
    listeners(&mut snapshot);
    routes(&mut snapshot);
    policies(&mut snapshot);
    clusters(&mut snapshot);
    secrets(&mut snapshot);
    super::limits::limits(&mut snapshot);
    snapshot.root = snapshot.compute_root();
    snapshot
}
