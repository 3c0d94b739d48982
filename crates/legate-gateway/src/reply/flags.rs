//! Response flags: short, stable reasons that Envoy's users know (spec/services §3.19).

/// Declares the flags once: variant, text, meaning.
macro_rules! flags {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// Why a response is not simply the upstream's.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Flag {
            $($(#[$doc])* $variant,)*
        }

        impl Flag {
            /// Every flag, in the order in which logs list them.
            pub(crate) const ALL: &[Self] = &[$(Self::$variant,)*];

            /// As it stands in logs.
            pub(crate) const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }

            /// The flag with this text.
            pub(crate) fn parse(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

flags! {
    /// No healthy endpoint.
    NoHealthyUpstream = "UH",
    /// The upstream connection failed.
    UpstreamConnectionFailure = "UF",
    /// A circuit breaker was open.
    UpstreamOverflow = "UO",
    /// No route.
    NoRoute = "NR",
    /// Retries were spent.
    RetryLimit = "URX",
    /// No cluster.
    NoCluster = "NC",
    /// The connection reached its maximum duration.
    DurationTimeout = "DT",
    /// The client went away.
    DownstreamTermination = "DC",
    /// The upstream took too long.
    UpstreamTimeout = "UT",
    /// We reset the stream.
    LocalReset = "LR",
    /// The upstream reset the stream.
    UpstreamReset = "UR",
    /// The upstream closed the connection.
    UpstreamTermination = "UC",
    /// Rate limited.
    RateLimited = "RL",
    /// External authorisation denied, or failed.
    Unauthorized = "UAEX",
    /// The rate limiter failed.
    RateLimitServiceError = "RLSE",
    /// The stream was idle for too long.
    StreamIdle = "SI",
    /// The client broke the protocol.
    ProtocolError = "DPE",
    /// The upstream broke the protocol.
    UpstreamProtocolError = "UPE",
    /// The upstream took longer than a stream may last.
    MaxStreamDuration = "UMSDR",
    /// We are overloaded.
    Overload = "OM",
    /// DNS failed.
    DnsFailure = "DF",
}

/// A set of flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Flags(u32);

impl Flags {
    /// The empty set.
    pub(crate) const NONE: Self = Self(0);

    /// Adds one.
    pub(crate) fn insert(&mut self, flag: Flag) {
        self.0 |= 1 << (flag as u32);
    }

    /// Whether a flag is in it.
    pub(crate) fn contains(self, flag: Flag) -> bool {
        self.0 & (1 << (flag as u32)) != 0
    }

    /// Whether it is empty.
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The flags in it, in the order of [`Flag::ALL`].
    pub(crate) fn iter(self) -> impl Iterator<Item = Flag> {
        Flag::ALL
            .iter()
            .copied()
            .filter(move |flag| self.contains(*flag))
    }
}

impl From<Flag> for Flags {
    fn from(flag: Flag) -> Self {
        let mut flags = Self::NONE;
        flags.insert(flag);
        flags
    }
}
