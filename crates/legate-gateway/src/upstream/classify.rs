//! What failures of connections mean.

use std::error::Error;
use std::io;

use super::body::RequestBodyError;
use crate::error::{ErrorKind, ProxyError};

/// What a failure of hyper's means, before response headers or after them.
pub(crate) fn classify(error: &hyper::Error) -> ProxyError {
    if error.is_parse() {
        return ProxyError::new(ErrorKind::Protocol);
    }
    let mut source = error.source();
    while let Some(inner) = source {
        if let Some(inner) = inner.downcast_ref::<RequestBodyError>() {
            return ProxyError::new(classify_downstream(inner));
        }
        if let Some(inner) = inner.downcast_ref::<h2::Error>() {
            return ProxyError::new(classify_http2(inner));
        }
        if inner.downcast_ref::<io::Error>().is_some_and(is_malformed) {
            return ProxyError::new(ErrorKind::Protocol);
        }
        source = inner.source();
    }
    ProxyError::new(ErrorKind::ConnectionTerminated)
}

/// Whether a request body broke off because the client went away or because its coding is wrong.
fn classify_downstream(error: &RequestBodyError) -> ErrorKind {
    let mut source = error.source();
    while let Some(inner) = source {
        if inner.downcast_ref::<io::Error>().is_some_and(is_malformed) {
            return ErrorKind::MalformedBody;
        }
        source = inner.source();
    }
    ErrorKind::Downstream
}

/// How hyper tells of chunks that are none.
fn is_malformed(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput};
    matches!(error.kind(), InvalidInput | InvalidData)
}

fn classify_http2(error: &h2::Error) -> ErrorKind {
    if error.is_io() || (error.is_go_away() && error.is_remote()) {
        ErrorKind::ConnectionTerminated
    } else if error.is_reset() && error.is_remote() {
        match error.reason() {
            Some(h2::Reason::REFUSED_STREAM) => ErrorKind::RefusedStream,
            _ => ErrorKind::RemoteReset,
        }
    } else {
        ErrorKind::Protocol
    }
}
