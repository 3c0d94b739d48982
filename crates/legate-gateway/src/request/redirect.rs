//! Locations of redirects (spec/routing §§3.8, 4.8).

use bytes::Bytes;
use http::header::HeaderValue;
use legate_config::route::{Redirect, RedirectPath};

use super::path::{PathParts, push_escaped};
use super::rewrite::{CompiledReplace, legal, replace_prefix};

/// A redirect ready to answer.
#[derive(Debug, Clone)]
pub(crate) struct CompiledRedirect {
    scheme: Option<String>,
    host: Option<String>,
    path: Path,
    /// Status of the answer.
    pub(crate) status: u16,
}

#[derive(Debug, Clone)]
enum Path {
    Keep,
    Full { text: String, has_query: bool },
    Prefix { matched: usize, with: String },
    Regex(CompiledReplace),
}

impl CompiledRedirect {
    /// Prepares a redirect.
    ///
    /// # Errors
    /// A pattern that does not compile.
    pub(crate) fn build(redirect: &Redirect) -> Result<Self, String> {
        Ok(Self {
            scheme: redirect.scheme.clone(),
            host: redirect.host.clone(),
            path: match &redirect.path {
                RedirectPath::Keep => Path::Keep,
                RedirectPath::Full(text) => Path::Full {
                    text: legal(text).into_owned(),
                    has_query: text.contains('?'),
                },
                RedirectPath::Prefix { matched, with } => Path::Prefix {
                    matched: *matched,
                    with: legal(with).into_owned(),
                },
                RedirectPath::Regex(replace) => Path::Regex(CompiledReplace::build(replace)?),
            },
            status: redirect.status,
        })
    }

    /// The location for a request with this scheme, host and target.
    pub(crate) fn location(&self, scheme: &str, host: &str, target: &PathParts<'_>) -> HeaderValue {
        let new_scheme = self.scheme.as_deref().unwrap_or(scheme);
        let new_host = match &self.host {
            Some(host) => host,
            None if new_scheme != scheme => without_default_port(scheme, host),
            None => host,
        };
        let mut query = target.query;
        let replaced = match &self.path {
            Path::Keep => None,
            Path::Full { text, has_query } => {
                if *has_query {
                    query = None;
                }
                Some(text.clone())
            }
            Path::Prefix { matched, with } => replace_prefix(&target.path, *matched, with),
            Path::Regex(replace) => replace.apply(&target.path),
        };
        let path = replaced.as_deref().unwrap_or(&target.path);
        assemble(new_scheme, new_host, path, query)
    }
}

/// The same target on https. A port `:80` is dropped, any other stays.
pub(crate) fn https_redirect_location(host: &str, target: &PathParts<'_>) -> HeaderValue {
    let host = host.strip_suffix(":80").unwrap_or(host);
    assemble("https", host, &target.path, target.query)
}

fn without_default_port<'a>(scheme: &str, host: &'a str) -> &'a str {
    let suffix = if scheme == "https" { ":443" } else { ":80" };
    host.strip_suffix(suffix).unwrap_or(host)
}

/// Joins the parts; bytes that no URI and no header holds are encoded, so that it always is one.
fn assemble(scheme: &str, host: &str, path: &str, query: Option<&str>) -> HeaderValue {
    let mut out =
        Vec::with_capacity(scheme.len() + host.len() + path.len() + query.map_or(0, str::len) + 8);
    push_clean(&mut out, scheme);
    out.extend_from_slice(b"://");
    push_clean(&mut out, host);
    // A path without it would continue the host's name.
    if !path.starts_with('/') {
        out.push(b'/');
    }
    push_clean(&mut out, path);
    if let Some(query) = query {
        out.push(b'?');
        push_clean(&mut out, query);
    }
    HeaderValue::from_maybe_shared(Bytes::from(out))
        .unwrap_or_else(|_| HeaderValue::from_static("/"))
}

fn push_clean(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_graphic() {
            out.push(byte);
        } else {
            push_escaped(out, byte);
        }
    }
}

#[cfg(test)]
mod tests;
