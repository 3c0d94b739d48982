//! Every diagnostic code that the compiler raises, in one place (spec/routing §7.3, design §6.1).
//!
//! A code is stable: tools and dashboards match on it. Its first letter is its severity.

use legate_config::Code;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub const $name: Code = Code::new($text);)*

        /// All codes of this crate, in the order of the specification.
        pub const ALL: &[Code] = &[$($name),*];
    };
}

codes! {
    /// No Host takes the Mapping.
    E_MAP_UNATTACHED = "E-MAP-UNATTACHED";
    /// Members of one group that cannot be merged; on both.
    E_MAP_GROUP = "E-MAP-GROUP";
    /// An earlier route always matches first.
    I_MAP_UNREACHABLE = "I-MAP-UNREACHABLE";
    /// Weights of a group that cannot be honoured.
    E_MAP_WEIGHT = "E-MAP-WEIGHT";
    /// Weights of a group that leave a share unserved.
    W_MAP_WEIGHT = "W-MAP-WEIGHT";
    /// Members of a group disagree on a group-wide field; the first one's value counts.
    I_MAP_DISAGREE = "I-MAP-DISAGREE";
    /// An AuthService whose settings cannot be honoured; what it guards is refused.
    E_AUTH_CONFIG = "E-AUTH-CONFIG";
    /// AuthServices of one instance that differ; the oldest one's settings count.
    E_AUTH_SETTINGS = "E-AUTH-SETTINGS";
    /// A gRPC AuthService that does not say which version of the protocol it speaks; `v3` is assumed.
    W_AUTH_PROTOCOL = "W-AUTH-PROTOCOL";
    /// A RateLimitService whose settings cannot be honoured; it is not asked.
    E_RL_CONFIG = "E-RL-CONFIG";
    /// A second RateLimitService of one instance, or a second limit in one place; the oldest one counts.
    E_RL_DUPLICATE = "E-RL-DUPLICATE";
    /// A limit that cannot be honoured; it is not enforced, the others are.
    E_RL_LIMIT = "E-RL-LIMIT";
    /// Policies of one domain that differ; the oldest one's settings count.
    E_RL_SETTINGS = "E-RL-SETTINGS";
    /// A limit higher than can be counted.
    W_RL_RATE = "W-RL-RATE";
    /// A limit that is to be divided by the number of gateways, which is not known.
    I_RL_DIVIDE = "I-RL-DIVIDE";
    /// A limit of Edge Stack's kind fills up smoothly here.
    I_RL_WINDOW = "I-RL-WINDOW";
    /// A group of rate-limit labels, or a label of one, that cannot be read; it is skipped.
    E_RL_LABEL = "E-RL-LABEL";
    /// A RateLimitService that does not say which version of the protocol it speaks; `v3` is assumed.
    W_RL_PROTOCOL = "W-RL-PROTOCOL";
    /// A RateLimitService that stands for the built-in limiter; it is not asked.
    I_RL_BUILTIN = "I-RL-BUILTIN";
    /// Rate-limit labels of a domain that nobody limits.
    I_RL_DOMAIN = "I-RL-DOMAIN";
    /// `omit_if_not_present` of a rate-limit label: the group is left out, whatever it says.
    I_RL_OMIT = "I-RL-OMIT";
    /// A field that has no effect here.
    W_IGNORED = "W-IGNORED";
    /// A field or kind that is not honoured yet.
    W_UNSUPPORTED = "W-UNSUPPORTED";
    /// Not honoured yet, and withheld, because ignoring it would change who is served or protected.
    E_UNSUPPORTED = "E-UNSUPPORTED";
    /// A regular expression that is invalid or too large.
    E_MAP_REGEX = "E-MAP-REGEX";
    /// A header name or value that cannot be sent.
    E_MAP_HEADER = "E-MAP-HEADER";
    /// A duration that is no duration.
    E_MAP_DURATION = "E-MAP-DURATION";
    /// A `service` that cannot be read.
    E_MAP_SERVICE = "E-MAP-SERVICE";
    /// A resolver that does not exist or does not fit.
    E_MAP_RESOLVER = "E-MAP-RESOLVER";
    /// A load balancer setting that is invalid.
    E_MAP_LB = "E-MAP-LB";
    /// A load balancer setting that needs an endpoint resolver.
    I_MAP_LB_ENDPOINTS = "I-MAP-LB-ENDPOINTS";
    /// A circuit breaker that is invalid.
    E_POLICY_BREAKER = "E-POLICY-BREAKER";
    /// A retry policy that is invalid.
    E_POLICY_RETRY = "E-POLICY-RETRY";
    /// An active health check, or a part of one, that is invalid and skipped.
    E_POLICY_HEALTH = "E-POLICY-HEALTH";
    /// An active health check that asks whichever endpoint a Service's one address leads to.
    W_POLICY_HEALTH = "W-POLICY-HEALTH";
    /// A host that cannot be matched.
    E_MAP_HOST = "E-MAP-HOST";
    /// A hostname that matches nothing real.
    W_MAP_HOST = "W-MAP-HOST";
    /// A prefix that matches nothing.
    W_MAP_PREFIX = "W-MAP-PREFIX";
    /// Settings of a redirect that exclude each other, or an invalid one.
    E_MAP_REDIRECT = "E-MAP-REDIRECT";
    /// A redirect goes to a host other than one may think.
    I_MAP_REDIRECT = "I-MAP-REDIRECT";
    /// A path to rewrite to that cannot be sent.
    E_MAP_REWRITE = "E-MAP-REWRITE";
    /// A path to rewrite to that upstreams probably refuse.
    W_MAP_REWRITE = "W-MAP-REWRITE";
    /// The default rewrite replaces the whole path.
    I_MAP_REWRITE = "I-MAP-REWRITE";
    /// The only port of a Service is used, though another number would be the default.
    I_MAP_PORT = "I-MAP-PORT";
    /// A TLSContext that is missing or invalid.
    E_TLS_CONTEXT = "E-TLS-CONTEXT";
    /// TLS origination that cannot be set up.
    E_TLS_ORIGINATION = "E-TLS-ORIGINATION";
    /// The chain of an upstream's certificate is verified, its name is not.
    I_TLS_UNVERIFIED = "I-TLS-UNVERIFIED";
    /// A Secret that does not exist or may not be read.
    E_SECRET_MISSING = "E-SECRET-MISSING";
    /// A Secret that does not hold what is needed.
    E_SECRET_INVALID = "E-SECRET-INVALID";
    /// A private key that does not belong to its certificate.
    E_CERT_MISMATCH = "E-CERT-MISMATCH";
    /// A certificate outside its validity; it is served all the same.
    E_CERT_EXPIRED = "E-CERT-EXPIRED";
    /// The last good certificate keeps serving.
    W_CERT_LAST_GOOD = "W-CERT-LAST-GOOD";
    /// A TLS version below what we can speak.
    W_TLS_VERSION = "W-TLS-VERSION";
    /// A cipher suite or curve that we cannot offer.
    W_TLS_CIPHER = "W-TLS-CIPHER";
    /// A second Host of the same hostname, or of the same SNI with other TLS settings.
    E_HOST_DUPLICATE = "E-HOST-DUPLICATE";
    /// TLS settings of a Host that cannot be honoured.
    E_HOST_TLS = "E-HOST-TLS";
    /// No Listener binds the Host.
    E_HOST_UNBOUND = "E-HOST-UNBOUND";
    /// A Listener to which nothing binds; its port is not opened.
    E_LISTENER_UNUSED = "E-LISTENER-UNUSED";
    /// A second Listener for the same transport, address and port.
    E_LISTENER_DUPLICATE = "E-LISTENER-DUPLICATE";
    /// A stack or binding of a Listener that makes no sense.
    E_LISTENER_STACK = "E-LISTENER-STACK";
    /// There is no Listener, so no port is opened.
    W_NO_LISTENER = "W-NO-LISTENER";
    /// There is no Host; one for `*` was made up.
    W_NO_HOST = "W-NO-HOST";
    /// A second Module of the same name.
    E_MODULE_DUPLICATE = "E-MODULE-DUPLICATE";
    /// A Module key that nobody knows.
    W_MODULE_KEY = "W-MODULE-KEY";
    /// A Module key of the wrong shape; its default applies.
    E_MODULE_VALUE = "E-MODULE-VALUE";
    /// A TCPMapping without a certificate for its host.
    E_TCP_CERT = "E-TCP-CERT";
    /// A TCPMapping whose port is taken.
    E_TCP_PORT = "E-TCP-PORT";
    /// Objects of another `ambassador_id` were skipped.
    I_ID_SKIPPED = "I-ID-SKIPPED";
    /// An old shape was converted, and something was lost.
    I_CONVERTED = "I-CONVERTED";
    /// A document that is no YAML or JSON.
    E_YAML = "E-YAML";
    /// An object that does not fit its schema.
    E_SCHEMA = "E-SCHEMA";
    /// A field that the schema does not know.
    W_UNKNOWN_FIELD = "W-UNKNOWN-FIELD";
    /// A second object of the same kind, namespace and name.
    E_DUPLICATE = "E-DUPLICATE";
    /// A file that cannot be read.
    E_FILE = "E-FILE";
    /// A document that is no Kubernetes object.
    W_NOT_AN_OBJECT = "W-NOT-AN-OBJECT";
    /// A Secret or Service that is not in the folder.
    I_NOT_IN_FOLDER = "I-NOT-IN-FOLDER";
    /// A bare name that several namespaces have; the first of them is used.
    W_REF_AMBIGUOUS = "W-REF-AMBIGUOUS";
    /// A host glob whose `*` is an ordinary character, so that it matches nothing real.
    W_HOST_GLOB = "W-HOST-GLOB";
    /// A TLSContext that does not list the Host that uses it; it is used.
    W_TLS_HOSTS = "W-TLS-HOSTS";
    /// A TLSContext is used because of its name alone.
    I_TLS_CONTEXT = "I-TLS-CONTEXT";
    /// A revocation list is past its next update.
    W_CRL_EXPIRED = "W-CRL-EXPIRED";
    /// A setting that has a better successor; it takes effect.
    W_DEPRECATED = "W-DEPRECATED";
    /// A Module's switch that is on although Emissary would take it for off.
    I_MODULE_ENABLED = "I-MODULE-ENABLED";
    /// An origin, method, header or age of CORS that no browser understands.
    E_POLICY_CORS = "E-POLICY-CORS";
    /// A Module's switch that is off although Emissary would take it for on.
    W_MODULE_OFF = "W-MODULE-OFF";
    /// Lua scripts are not run.
    E_POLICY_LUA = "E-POLICY-LUA";
    /// The version that an object was written as cannot be told.
    W_WRITTEN_AS = "W-WRITTEN-AS";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_well_formed() {
        let mut seen = std::collections::BTreeSet::new();
        for code in ALL {
            let text = code.as_str();
            assert!(seen.insert(text), "{text} twice");
            assert!(matches!(text.get(..2), Some("E-" | "W-" | "I-")), "{text}");
        }
    }
}
