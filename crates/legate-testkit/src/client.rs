//! Clients: one connection at a time, everything about it in the test's hands.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::certs::Pair;

/// A response, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null when it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The first value of a header, as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// How a client speaks TLS. Server certificates are not verified; tests look at them instead.
#[derive(Debug, Clone, Default)]
pub struct TlsOptions {
    /// Server name to send; none is sent if unset.
    pub sni: Option<String>,
    /// Protocols to offer.
    pub alpn: Vec<String>,
    /// Versions to offer; empty = all.
    pub versions: Vec<&'static SupportedProtocolVersion>,
    /// Certificate to present.
    pub certificate: Option<Pair>,
}

impl TlsOptions {
    /// Sends this server name.
    #[must_use]
    pub fn sni(name: &str) -> Self {
        Self {
            sni: Some(name.to_owned()),
            ..Self::default()
        }
    }
}

/// What a TLS connection ended up with.
#[derive(Debug, Clone)]
pub struct TlsInfo {
    /// Negotiated protocol.
    pub alpn: Option<String>,
    /// The server's leaf certificate, DER.
    pub leaf: Vec<u8>,
    /// Negotiated version.
    pub version: Option<rustls::ProtocolVersion>,
}

/// A request body of any kind.
pub type Body = UnsyncBoxBody<Bytes, Error>;

enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

/// One open connection.
pub struct Client {
    sender: Sender,
    tls: Option<TlsInfo>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// A boxed error; tests only print it.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

impl Client {
    /// HTTP/1.1 over TCP.
    ///
    /// # Errors
    /// Connecting failed.
    pub async fn connect(address: SocketAddr) -> Result<Self, Error> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Self::http1(stream, None).await
    }

    /// HTTP/2 with prior knowledge over TCP.
    ///
    /// # Errors
    /// Connecting failed.
    pub async fn connect_h2c(address: SocketAddr) -> Result<Self, Error> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Self::http2(stream, None).await
    }

    /// TLS; HTTP/2 if negotiated, else HTTP/1.1.
    ///
    /// # Errors
    /// Connecting or the handshake failed.
    pub async fn connect_tls(address: SocketAddr, options: &TlsOptions) -> Result<Self, Error> {
        let (stream, info) = tls(address, options).await?;
        if info.alpn.as_deref() == Some("h2") {
            Self::http2(stream, Some(info)).await
        } else {
            Self::http1(stream, Some(info)).await
        }
    }

    async fn http1<S>(stream: S, tls: Option<TlsInfo>) -> Result<Self, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection.with_upgrades());
        Ok(Self {
            sender: Sender::Http1(sender),
            tls,
        })
    }

    async fn http2<S>(stream: S, tls: Option<TlsInfo>) -> Result<Self, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self {
            sender: Sender::Http2(sender),
            tls,
        })
    }

    /// What TLS ended up with.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.tls.as_ref()
    }

    /// Whether this is HTTP/2.
    #[must_use]
    pub fn is_http2(&self) -> bool {
        matches!(self.sender, Sender::Http2(_))
    }

    /// Whether the connection can take another request.
    #[must_use]
    pub fn is_open(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => !sender.is_closed(),
            Sender::Http2(sender) => !sender.is_closed(),
        }
    }

    /// GET with a Host.
    ///
    /// # Errors
    /// The request failed.
    pub async fn get(&mut self, host: &str, path: &str) -> Result<Answer, Error> {
        self.request("GET", host, path, &[], Bytes::new()).await
    }

    /// Any request. On HTTP/2 the host becomes `:authority`.
    ///
    /// # Errors
    /// The request failed.
    pub async fn request(
        &mut self,
        method: &str,
        host: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Answer, Error> {
        let mut builder = Request::builder().method(method);
        builder = match &self.sender {
            Sender::Http1(_) => builder.uri(path).header("host", host),
            Sender::Http2(_) => {
                let scheme = if self.tls.is_some() { "https" } else { "http" };
                builder.uri(format!("{scheme}://{host}{path}"))
            }
        };
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        self.send(builder.body(Full::new(body))?).await
    }

    /// A request as it is.
    ///
    /// # Errors
    /// The request failed.
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, Error> {
        let request = request.map(|body| body.map_err(|never| match never {}).boxed_unsync());
        let (parts, body) = self.open(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        })
    }

    /// A request with any body; the response as soon as its head is there.
    ///
    /// # Errors
    /// The request failed.
    pub async fn open(&mut self, request: Request<Body>) -> Result<Response<Incoming>, Error> {
        Ok(match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        })
    }

    /// Another handle on the same connection; `None` unless it is HTTP/2.
    #[must_use]
    pub fn share(&self) -> Option<Self> {
        let Sender::Http2(sender) = &self.sender else {
            return None;
        };
        Some(Self {
            sender: Sender::Http2(sender.clone()),
            tls: self.tls.clone(),
        })
    }
}

/// Opens a TLS connection.
///
/// # Errors
/// Connecting or the handshake failed; the alert is in the text.
pub async fn tls(
    address: SocketAddr,
    options: &TlsOptions,
) -> Result<(tokio_rustls::client::TlsStream<TcpStream>, TlsInfo), Error> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client_config(options)?));
    let name = match &options.sni {
        Some(name) => ServerName::try_from(name.clone())?,
        None => ServerName::from(address.ip()),
    };
    let stream = connector.connect(name, stream).await?;
    let (_, connection) = stream.get_ref();
    let info = TlsInfo {
        alpn: connection
            .alpn_protocol()
            .map(|name| String::from_utf8_lossy(name).into_owned()),
        leaf: connection
            .peer_certificates()
            .and_then(|chain| chain.first())
            .map(|leaf| leaf.to_vec())
            .unwrap_or_default(),
        version: connection.protocol_version(),
    };
    Ok((stream, info))
}

fn client_config(options: &TlsOptions) -> Result<rustls::ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions: &[&SupportedProtocolVersion] = if options.versions.is_empty() {
        rustls::ALL_VERSIONS
    } else {
        &options.versions
    };
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)));
    let mut config = match &options.certificate {
        Some(pair) => {
            let chain: Vec<CertificateDer<'static>> =
                CertificateDer::pem_slice_iter(pair.certificate.as_bytes())
                    .collect::<Result<_, _>>()?;
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes())?;
            builder.with_client_auth_cert(chain, key)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = options
        .alpn
        .iter()
        .map(|protocol| protocol.as_bytes().to_vec())
        .collect();
    config.enable_sni = options.sni.is_some();
    Ok(config)
}

/// A server configuration from a pair, for TLS origins.
///
/// # Errors
/// The pair does not parse.
pub fn server_config(pair: &Pair, alpn: &[&str]) -> Result<Arc<rustls::ServerConfig>, Error> {
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(pair.certificate.as_bytes()).collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(rustls::ALL_VERSIONS)?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = alpn
        .iter()
        .map(|protocol| protocol.as_bytes().to_vec())
        .collect();
    Ok(Arc::new(config))
}

/// Writes bytes on a fresh connection and reads until the other side closes.
///
/// # Errors
/// The connection failed.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(bytes).await?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer).await {
        Ok(_) => Ok(answer),
        // A reset after an answer is still an answer.
        Err(_) if !answer.is_empty() => Ok(answer),
        Err(error) => Err(error),
    }
}

#[derive(Debug)]
struct Anyone(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
