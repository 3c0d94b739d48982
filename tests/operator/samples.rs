//! One object of each kind, in each version that is served.

/// Kind, plural name, spec as v3alpha1 has it.
pub(crate) const V3: &[(&str, &str, &str)] = &[
    (
        "AuthService",
        "authservices",
        "{auth_service: \"auth:3000\", proto: grpc, timeout_ms: 500}",
    ),
    (
        "ConsulResolver",
        "consulresolvers",
        "{address: \"consul:8500\", datacenter: dc1}",
    ),
    (
        "Host",
        "hosts",
        "{hostname: a.example.com, tlsSecret: {name: cert}, tls: {min_tls_version: v1.2}, \
         requestPolicy: {insecure: {action: Redirect}}}",
    ),
    (
        "KubernetesEndpointResolver",
        "kubernetesendpointresolvers",
        "{}",
    ),
    (
        "KubernetesServiceResolver",
        "kubernetesserviceresolvers",
        "{}",
    ),
    (
        "Listener",
        "listeners",
        "{port: 8443, protocol: HTTPS, securityModel: XFP, hostBinding: {namespace: {from: ALL}}}",
    ),
    (
        "LogService",
        "logservices",
        "{service: \"log:3000\", driver: http, driver_config: {}, grpc: true}",
    ),
    (
        "Mapping",
        "mappings",
        "{hostname: \"*\", prefix: /a/, service: \"a:80\", headers: {x-a: b}, timeout_ms: 4000, \
         weight: 20, cors: {origins: [\"http://a.example\"], methods: [GET]}}",
    ),
    (
        "Module",
        "modules",
        "{config: {diagnostics: {enabled: false}, cluster_request_timeout_ms: 120000}}",
    ),
    (
        "RateLimitService",
        "ratelimitservices",
        "{service: \"limit:3000\", protocol_version: v3}",
    ),
    (
        "RateLimit",
        "ratelimits",
        "{domain: ambassador, limits: [{pattern: [{remote_address: \"*\"}], rate: 5, unit: minute, \
         burstFactor: 2, injectResponseHeaders: [{name: x-a, value: b}]}]}",
    ),
    (
        "TCPMapping",
        "tcpmappings",
        "{port: 6379, service: \"redis:6379\", host: r.example.com}",
    ),
    (
        "TLSContext",
        "tlscontexts",
        "{hosts: [a.example.com], secret: cert, min_tls_version: v1.2}",
    ),
    (
        "TracingService",
        "tracingservices",
        "{service: \"zipkin:9411\", driver: zipkin, sampling: {overall: 10}}",
    ),
];

/// Kind, plural name, spec as only v2 has it: ids as strings, booleans where v3alpha1 has text or a
/// list, old names.
pub(crate) const V2: &[(&str, &str, &str)] = &[
    (
        "AuthService",
        "authservices",
        "{ambassador_id: one, auth_service: \"auth:3000\", tls: true}",
    ),
    (
        "ConsulResolver",
        "consulresolvers",
        "{ambassador_id: one, address: \"consul:8500\"}",
    ),
    (
        "Host",
        "hosts",
        "{ambassador_id: [one], hostname: a.example.com, selector: {matchLabels: {a: b}}}",
    ),
    (
        "KubernetesEndpointResolver",
        "kubernetesendpointresolvers",
        "{ambassador_id: one}",
    ),
    (
        "KubernetesServiceResolver",
        "kubernetesserviceresolvers",
        "{ambassador_id: one}",
    ),
    (
        "LogService",
        "logservices",
        "{ambassador_id: one, service: \"log:3000\", driver: tcp, driver_config: {}}",
    ),
    (
        "Mapping",
        "mappings",
        "{ambassador_id: one, host: a.example.com, prefix: /a/, service: \"a:80\", tls: true, \
         headers: {x-a: true}, query_parameters: {q: true}, cors: {origins: \"http://a, http://b\"}}",
    ),
    (
        "Module",
        "modules",
        "{ambassador_id: one, config: {diagnostics: {enabled: false}}}",
    ),
    (
        "RateLimitService",
        "ratelimitservices",
        "{ambassador_id: one, service: \"limit:3000\", tls: false}",
    ),
    (
        "RateLimit",
        "ratelimits",
        "{ambassador_id: one, domain: ambassador, limits: [{pattern: [{generic_key: a}], rate: 5, \
         unit: Minute, action: logonly}]}",
    ),
    (
        "TCPMapping",
        "tcpmappings",
        "{ambassador_id: one, port: 6379, service: \"r:6379\", tls: true}",
    ),
    (
        "TLSContext",
        "tlscontexts",
        "{ambassador_id: one, hosts: [a], secret: cert}",
    ),
    (
        "TracingService",
        "tracingservices",
        "{ambassador_id: one, service: \"zipkin:9411\", driver: zipkin}",
    ),
];
