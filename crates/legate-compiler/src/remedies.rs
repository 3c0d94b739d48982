//! What to do about a diagnostic, where the pass that raised it knows nothing more specific.

use legate_config::Diagnostic;

/// Adds a remedy to every error and warning that has none.
pub(crate) fn complete(diagnostics: &mut [Diagnostic]) {
    for item in diagnostics {
        if item.help.is_none() {
            item.help = remedy(item.code.as_str()).map(str::to_owned);
        }
    }
}

fn remedy(code: &str) -> Option<&'static str> {
    Some(match code {
        "E-SCHEMA" => "see the field's description: `legate crds`, or `kubectl explain`",
        "W-UNKNOWN-FIELD" => "remove the field, or correct its spelling",
        "E-MAP-REGEX" => {
            "write it in RE2 syntax: no look-around, no back-references, at most 1 MiB when compiled"
        }
        "E-MAP-WEIGHT" | "W-MAP-WEIGHT" => {
            "let the weights of one group sum to at most 100; a Mapping without `weight` takes the rest"
        }
        "E-MAP-GROUP" => {
            "give the Mappings of one group equal values here, or make their matches differ"
        }
        "E-MAP-SERVICE" => "write it as `[http://|https://]name[.namespace][:port]`",
        "E-MAP-RESOLVER" => {
            "name a resolver object, or one of `kubernetes-service`, `kubernetes-endpoint`, `endpoint`"
        }
        "E-MAP-DURATION" => "write a whole number of milliseconds greater than 0",
        "E-MAP-HEADER" => "remove the entry or correct it; a literal percent sign is written `%%`",
        "E-MAP-HOST" => "use `hostname`, which may be a glob such as `*.example.com`",
        "E-MAP-REDIRECT" | "E-MAP-REWRITE" => "keep one of the settings that exclude each other",
        "W-MAP-PREFIX" => "begin the prefix with `/`",
        "W-MAP-HOST" | "W-HOST-GLOB" => "put one `*` at the beginning or at the end",
        "E-TLS-CONTEXT" => {
            "create the TLSContext with the same `ambassador_id`, or correct its name"
        }
        "E-TLS-ORIGINATION" => "make `service` and `tls` agree",
        "E-SECRET-MISSING" => "create the Secret, or correct its name and namespace",
        "E-SECRET-INVALID" | "E-CERT-MISMATCH" => {
            "put a PEM chain into `tls.crt` and its private key into `tls.key`"
        }
        "E-POLICY-BREAKER" => "write whole numbers, and `default` or `high` as priority",
        "E-POLICY-RETRY" => {
            "name one condition, such as `gateway-error`, and write durations as `250ms` or `0.25s`"
        }
        "E-RL-CONFIG" => "correct the settings; until then no request is limited by this service",
        "E-RL-LABEL" => {
            "a group is a name with a list of specifiers, and a specifier an object with one key"
        }
        "W-RL-PROTOCOL" => "write `protocol_version: v3`",
        "E-POLICY-HEALTH" => {
            "give each check one of `http` and `grpc`, and write durations as `3s` or `500ms`"
        }
        "W-POLICY-HEALTH" => "set `resolver: endpoint`, so that each endpoint is checked by itself",
        "E-CERT-EXPIRED" => "renew the certificate",
        "E-HOST-DUPLICATE" => "let one Host own the hostname",
        "E-HOST-TLS" => "correct the TLS settings; until then handshakes are refused",
        "E-HOST-UNBOUND" => "let a Listener's `hostBinding` include the Host",
        "E-LISTENER-UNUSED" => "let its `hostBinding` include a Host, or remove it",
        "E-LISTENER-DUPLICATE" => "give it another port, or remove it",
        "E-LISTENER-STACK" => {
            "set either `protocol` or a `protocolStack` that ends in TCP; for web traffic use `protocol: HTTPS`"
        }
        "E-MODULE-VALUE" => "correct the value; until then the key's default applies",
        "W-MODULE-KEY" => "remove the key, or correct its spelling",
        "W-IGNORED" => "remove the field: it has no effect",
        "W-UNSUPPORTED" | "E-UNSUPPORTED" => {
            "this version does not honour it yet; the changelog says when one does"
        }
        _ => return None,
    })
}
