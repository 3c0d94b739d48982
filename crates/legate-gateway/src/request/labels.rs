//! Rate-limit labels: from a request to the descriptors that it is counted by (spec/services §2.2).
//!
//! Descriptors borrow from the request and from the labels: making them allocates nothing, but for
//! values that are no UTF-8 and for more entries than usual.

use std::borrow::Cow;
use std::net::IpAddr;

use http::header::HeaderName;
use http::request::Parts;
use http::{HeaderMap, Method};
use legate_config::http::HttpSettings;
use legate_config::limit::{Label, Labels};
use smallvec::SmallVec;

use super::template::push_ip;
use super::{effective_host, normalise_path};

/// The labels of a target, by domain.
#[derive(Debug, Clone)]
pub(crate) struct CompiledLabels {
    domains: Box<[DomainLabels]>,
}

/// The labels of one domain.
#[derive(Debug, Clone)]
pub(crate) struct DomainLabels {
    /// The domain.
    pub(crate) name: Box<str>,
    groups: Box<[Box<[CompiledLabel]>]>,
}

/// One label.
#[derive(Debug, Clone)]
struct CompiledLabel {
    /// The key that everybody knows.
    key: Box<str>,
    /// The key that counts where written ones are honoured.
    written: Option<Box<str>>,
    value: Value,
}

#[derive(Debug, Clone)]
enum Value {
    Fixed(Box<str>),
    Destination,
    Address,
    Header(HeaderName),
    Line(LinePart),
}

#[derive(Debug, Clone, Copy)]
enum LinePart {
    Authority,
    Method,
    Path,
    Scheme,
}

/// One entry of a descriptor; neither part is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DescriptorEntry<'a> {
    /// The key.
    pub(crate) key: &'a str,
    /// The value.
    pub(crate) value: Cow<'a, str>,
}

/// Where labels find their values.
#[derive(Debug)]
pub(crate) struct LabelSources<'a> {
    headers: &'a HeaderMap,
    address: AddressText,
    cluster: &'a str,
    line: Option<Line<'a>>,
}

/// What is known of a request besides its head.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LabelFacts<'a> {
    /// The client's trusted address.
    pub(crate) client: IpAddr,
    /// Name of the cluster that the request goes to.
    pub(crate) cluster: &'a str,
    /// Scheme of the request as its client sees it.
    pub(crate) scheme: &'static str,
    /// Settings of the listener.
    pub(crate) settings: &'a HttpSettings,
    /// Ports that are removed from a Host.
    pub(crate) strip_ports: Option<&'a [u16]>,
}

/// The request line, as routes see it.
#[derive(Debug)]
struct Line<'a> {
    authority: Cow<'a, str>,
    method: &'a str,
    path: Cow<'a, str>,
    scheme: &'static str,
}

impl CompiledLabels {
    /// Prepares labels.
    ///
    /// # Errors
    /// A header's name that is none.
    pub(crate) fn build(labels: &Labels) -> Result<Self, String> {
        let domains = labels.domains.iter().map(|(name, groups)| {
            let groups = groups.iter().map(|group| {
                let group = group.iter().map(CompiledLabel::build);
                group.collect::<Result<_, _>>()
            });
            Ok(DomainLabels {
                name: name.as_str().into(),
                groups: groups.collect::<Result<_, String>>()?,
            })
        });
        Ok(Self {
            domains: domains.collect::<Result<_, String>>()?,
        })
    }

    /// The labels of all domains that somebody limits, in the order of their names.
    pub(crate) fn domains(&self) -> &[DomainLabels] {
        &self.domains
    }

    /// The labels of a domain.
    pub(crate) fn domain(&self, name: &str) -> Option<&DomainLabels> {
        let mut domains = self.domains().iter();
        domains.find(|domain| &*domain.name == name)
    }

    /// Where the labels of a request find their values.
    pub(crate) fn sources<'a>(&self, head: &'a Parts, facts: LabelFacts<'a>) -> LabelSources<'a> {
        let mut labels = self.domains.iter().flat_map(|domain| &domain.groups);
        let line = labels.any(|group| {
            let mut labels = group.iter();
            labels.any(|label| matches!(label.value, Value::Line(_)))
        });
        LabelSources {
            headers: &head.headers,
            address: AddressText::new(facts.client),
            cluster: facts.cluster,
            line: line.then(|| Line::of(head, facts)).flatten(),
        }
    }
}

impl DomainLabels {
    /// The descriptors of a request, one by one: there is one for each group whose labels all have a
    /// value. They lie where the one before lay.
    pub(crate) fn descriptors<'a>(
        &'a self,
        sources: &'a LabelSources<'a>,
        honour_label_keys: bool,
        mut each: impl FnMut(&[DescriptorEntry<'a>]),
    ) {
        let mut entries = SmallVec::<[DescriptorEntry<'a>; 4]>::new();
        'groups: for group in &self.groups {
            entries.clear();
            for label in group {
                let written = label.written.as_deref().filter(|_| honour_label_keys);
                let Some(value) = label.value.of(sources) else {
                    continue 'groups;
                };
                entries.push(DescriptorEntry {
                    key: written.unwrap_or(&label.key),
                    value,
                });
            }
            each(&entries);
        }
    }
}

impl CompiledLabel {
    fn build(label: &Label) -> Result<Self, String> {
        let (key, written, value) = match label {
            Label::SourceCluster { written_key, value } => {
                let value = Value::Fixed(value.as_str().into());
                ("source_cluster", written_key.as_deref(), value)
            }
            Label::DestinationCluster { written_key } => (
                "destination_cluster",
                written_key.as_deref(),
                Value::Destination,
            ),
            Label::RemoteAddress { written_key } => {
                ("remote_address", written_key.as_deref(), Value::Address)
            }
            Label::RequestHeader { key, header } => (key.as_str(), None, Value::header(header)?),
            Label::Generic { key, value } => {
                (key.as_str(), None, Value::Fixed(value.as_str().into()))
            }
        };
        Ok(Self {
            key: key.into(),
            written: written.map(Into::into),
            value,
        })
    }
}

impl Value {
    fn header(name: &str) -> Result<Self, String> {
        Ok(Self::Line(match name {
            ":authority" => LinePart::Authority,
            ":method" => LinePart::Method,
            ":path" => LinePart::Path,
            ":scheme" => LinePart::Scheme,
            name => {
                let name = HeaderName::try_from(name);
                return name.map(Self::Header).map_err(|error| error.to_string());
            }
        }))
    }

    /// The value for a request; an empty one is none.
    fn of<'a>(&'a self, sources: &'a LabelSources<'a>) -> Option<Cow<'a, str>> {
        let value = match self {
            Self::Fixed(text) => Cow::Borrowed(&**text),
            Self::Destination => Cow::Borrowed(sources.cluster),
            Self::Address => Cow::Borrowed(sources.address.as_str()),
            // Of bytes that are no text something must come, or they would be a way past the limit.
            Self::Header(name) => String::from_utf8_lossy(sources.headers.get(name)?.as_bytes()),
            Self::Line(part) => Cow::Borrowed(sources.line.as_ref()?.part(*part)),
        };
        (!value.is_empty()).then_some(value)
    }
}

impl<'a> Line<'a> {
    fn of(head: &'a Parts, facts: LabelFacts<'a>) -> Option<Self> {
        let authority = effective_host(&head.uri, &head.headers, facts.strip_ports).ok()?;
        let parts = normalise_path(&head.uri, &head.method, facts.settings).ok()?;
        let path = match (parts.path, parts.query, head.uri.path_and_query()) {
            (path, None, _) => path,
            // As it came: both are there in one piece.
            (Cow::Borrowed(path), Some(_), Some(whole)) if path == whole.path() => {
                Cow::Borrowed(whole.as_str())
            }
            (path, Some(query), _) => Cow::Owned(format!("{path}?{query}")),
        };
        Some(Self {
            authority,
            // RFC 8441 carries what HTTP/1.1 sends as a GET.
            method: match head.method {
                Method::CONNECT => "GET",
                ref method => method.as_str(),
            },
            path,
            scheme: facts.scheme,
        })
    }

    fn part(&self, part: LinePart) -> &str {
        match part {
            LinePart::Authority => &self.authority,
            LinePart::Method => self.method,
            LinePart::Path => &self.path,
            LinePart::Scheme => self.scheme,
        }
    }
}

/// An address as text, without an allocation.
#[derive(Debug)]
struct AddressText(SmallVec<[u8; Self::MOST]>);

impl AddressText {
    /// `ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255` has 45.
    const MOST: usize = 48;

    fn new(address: IpAddr) -> Self {
        let mut text = SmallVec::new();
        push_ip(&mut text, address);
        Self(text)
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
