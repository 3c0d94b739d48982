//! TLS termination: which handshake is answered with what (spec/routing §§3.6, 3.12, 3.13).
//!
//! Choosing the chain for a server name is the router's; origination is `upstream`'s. Here:
//! - `config`: one rustls configuration per distinct policy and material
//! - `table`: what a listener's chains do; kept across snapshots while nothing changes
//! - `names`: which hosts a certificate covers
//! - `handshake`: the handshake itself, and the alerts that rustls would not send
//! - `peer`: what logs say about a client's certificate

mod config;
mod handshake;
mod names;
mod peer;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use handshake::{HandshakeError, handshake};
pub(crate) use names::covers;
pub(crate) use peer::PeerCertificate;
pub(crate) use table::{Termination, TlsChain, TlsStore, TlsTable, same_policy};

/// What is known about the TLS of a client's connection.
#[derive(Debug, Clone)]
pub(crate) struct TlsInfo {
    /// `TLSv1.2` or `TLSv1.3`.
    pub(crate) version: &'static str,
    /// Name of the cipher suite, OpenSSL's for TLS 1.2.
    pub(crate) cipher: &'static str,
    /// The server name that the client sent, lower-case.
    pub(crate) sni: Option<String>,
    /// Whether `h2` was negotiated.
    pub(crate) http2: bool,
    /// The client's certificate, if it presented one.
    pub(crate) peer: Option<Box<PeerCertificate>>,
}
