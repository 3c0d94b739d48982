//! Typed keys of the config tables.
//!
//! A key is built from identity, so that a changed object replaces its own entry; only policies
//! are keyed by content. Keys are cheap to clone.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! keys {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// A key with this text.
            #[must_use]
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The key's text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Arc::deserialize(deserializer).map(Self)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }
    )*};
}

keys! {
    /// A bound socket: `<transport>/<address or *>/<port>`, e.g. `tcp/*/8443`.
    ListenerKey;
    /// A filter chain: `<listener>/<plain | sni:pattern | default>`.
    ChainKey;
    /// A virtual host: `<listener>/<host pattern>`.
    VirtualHostKey;
    /// A set of routes that attach together: `<host pattern>[/<selector class>]`.
    RouteSetKey;
    /// One route: `<route set>/<row identity>`; sorts beside the rows of its set.
    RouteKey;
    /// An interned policy bundle: the hash of its content.
    PolicyKey;
    /// An upstream cluster: readable name, plus a short hash of its settings.
    ClusterKey;
    /// A set of endpoints: `k8s/<ns>/<service>/<port>`, `dns/<name>/<port>`, `ip/<address>/<port>`.
    EndpointSetKey;
    /// A certificate with its key: `<ns>/<name>`.
    CertificateKey;
    /// A bundle of certificate authorities: `<ns>/<name>`.
    CaKey;
    /// A certificate revocation list: `<ns>/<name>`.
    CrlKey;
    /// User name and password of a service: `<ns>/<name>`.
    CredentialKey;
    /// A domain of rate limits: its name.
    LimitDomainKey;
}
