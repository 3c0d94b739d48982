//! Messages that several protocols use.

/// `envoy.config.core.v3.Address`, of a socket.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Address {
    /// Where a pipe would be the other choice.
    #[prost(message, optional, tag = "1")]
    pub(crate) socket_address: Option<SocketAddress>,
}

/// `envoy.config.core.v3.SocketAddress`; TCP.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SocketAddress {
    /// An IP address.
    #[prost(string, tag = "2")]
    pub(crate) address: String,
    /// One of a choice, so that 0 is said too.
    #[prost(uint32, optional, tag = "3")]
    pub(crate) port_value: Option<u32>,
}

/// `envoy.config.core.v3.HeaderValue`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct HeaderValue {
    /// Name.
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    /// Value.
    #[prost(string, tag = "2")]
    pub(crate) value: String,
    /// The value where it is no text.
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) raw_value: bytes::Bytes,
}

/// `envoy.config.core.v3.HeaderValueOption`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct HeaderValueOption {
    /// The header.
    #[prost(message, optional, tag = "1")]
    pub(crate) header: Option<HeaderValue>,
    /// Whether it joins what is there; goes before the action.
    #[prost(message, optional, tag = "2")]
    pub(crate) append: Option<bool>,
    /// 0 append or add, 1 add if absent, 2 overwrite or add, 3 overwrite if it exists.
    #[prost(int32, tag = "3")]
    pub(crate) append_action: i32,
    /// Whether an empty value is sent.
    #[prost(bool, tag = "4")]
    pub(crate) keep_empty_value: bool,
}

/// `envoy.config.core.v3.QueryParameter`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct QueryParameter {
    /// Name.
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    /// Value.
    #[prost(string, tag = "2")]
    pub(crate) value: String,
}

/// `google.rpc.Status`, without details.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Status {
    /// 0 = all is well.
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    /// For people.
    #[prost(string, tag = "2")]
    pub(crate) message: String,
}

impl HeaderValue {
    /// The value's bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        if self.raw_value.is_empty() {
            self.value.as_bytes()
        } else {
            &self.raw_value
        }
    }
}
