//! Host globs: `a.test`, `*`, `*.test`, `*example.com`, `app.*`.

use std::fmt;

use legate_config::HostPattern;

/// A host glob in canonical form: lower-case ASCII, port included where one was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum HostGlob {
    /// `*`
    Any,
    /// `a.test`, and every text whose `*` does not stand alone at one end.
    Exact(String),
    /// `*rest`, without the star.
    Suffix(String),
    /// `rest*`, without the star.
    Prefix(String),
}

impl HostGlob {
    /// Reads a glob. Every text is one; see [`HostGlob::is_dead`] for those that match nothing real.
    /// An empty text is `*`, as an absent one.
    pub(crate) fn parse(text: &str) -> Self {
        let text = canonical(text);
        if text.is_empty() || text == "*" {
            return Self::Any;
        }
        match (text.strip_prefix('*'), text.strip_suffix('*')) {
            (Some(rest), None) if !rest.contains('*') => Self::Suffix(rest.to_owned()),
            (None, Some(rest)) if !rest.contains('*') && !rest.starts_with('.') => {
                Self::Prefix(rest.to_owned())
            }
            _ => Self::Exact(text),
        }
    }

    /// Whether the two have a host in common, as Emissary decides it (spec/routing §3.4).
    pub(crate) fn intersects(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::Exact(a), Self::Exact(b)) => a == b,
            (Self::Exact(text), glob) | (glob, Self::Exact(text)) => {
                !text.starts_with('.') && glob.matches(text)
            }
            (Self::Suffix(a), Self::Suffix(b)) => {
                a.ends_with(b.as_str()) || b.ends_with(a.as_str())
            }
            (Self::Prefix(a), Self::Prefix(b)) => {
                a.starts_with(b.as_str()) || b.starts_with(a.as_str())
            }
            // Some text has both the prefix and the suffix, whatever they are.
            (Self::Suffix(_), Self::Prefix(_)) | (Self::Prefix(_), Self::Suffix(_)) => true,
        }
    }

    /// Whether a lower-case host matches.
    pub(crate) fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(text) => text == host,
            Self::Suffix(rest) => host.len() > rest.len() && host.ends_with(rest.as_str()),
            Self::Prefix(rest) => host.len() > rest.len() && host.starts_with(rest.as_str()),
        }
    }

    /// The pattern that the data plane compares hosts with.
    pub(crate) fn to_pattern(&self) -> HostPattern {
        match self {
            Self::Any => HostPattern::Any,
            Self::Exact(text) => HostPattern::Exact(text.clone()),
            Self::Suffix(rest) => HostPattern::Suffix(rest.clone()),
            Self::Prefix(rest) => HostPattern::Prefix(rest.clone()),
        }
    }

    /// The glob of the server names that a client of these hosts sends: the part before the port.
    pub(crate) fn without_port(&self) -> Self {
        match self {
            Self::Exact(text) => Self::parse(before_port(text)),
            Self::Suffix(rest) => Self::parse(&format!("*{}", before_port(rest))),
            Self::Any | Self::Prefix(_) => self.clone(),
        }
    }

    /// Whether the text has a `*` where it is an ordinary character, or starts with a dot: it then
    /// matches nothing that a client could send.
    pub(crate) fn is_dead(&self) -> bool {
        matches!(self, Self::Exact(text) if text.contains('*') || text.starts_with('.'))
    }
}

/// As the user would write it, in canonical form.
impl fmt::Display for HostGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(text) => f.write_str(text),
            Self::Suffix(rest) => write!(f, "*{rest}"),
            Self::Prefix(rest) => write!(f, "{rest}*"),
        }
    }
}

/// The name without `:port`. An IPv6 address in brackets keeps its colons.
fn before_port(text: &str) -> &str {
    match text.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit())
                && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        _ => text,
    }
}

/// Lower-case A-labels. Labels that are ASCII already are only lower-cased.
fn canonical(text: &str) -> String {
    let text = text.trim();
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let labels: Vec<String> = text
        .to_lowercase()
        // The full stops that IDNA treats as label separators.
        .split(['.', '\u{3002}', '\u{ff0e}', '\u{ff61}'])
        .map(|label| match label.split_once(':') {
            Some((name, port)) => format!("{}:{port}", a_label(name)),
            None => a_label(label),
        })
        .collect();
    labels.join(".")
}

/// `xn--` form of a label with non-ASCII characters; a `*` at an end stays outside of it.
fn a_label(label: &str) -> String {
    if label.is_ascii() {
        return label.to_owned();
    }
    let (star, label) = match label.strip_prefix('*') {
        Some(rest) => ("*", rest),
        None => ("", label),
    };
    let (label, tail) = match label.strip_suffix('*') {
        Some(rest) => (rest, "*"),
        None => (label, ""),
    };
    match punycode(label) {
        Some(code) => format!("{star}xn--{code}{tail}"),
        None => format!("{star}{label}{tail}"),
    }
}

/// RFC 3492 encoding; `None` when a number grows beyond 32 bits.
fn punycode(label: &str) -> Option<String> {
    const BASE: u32 = 36;
    const T_MIN: u32 = 1;
    const T_MAX: u32 = 26;
    let chars: Vec<u32> = label.chars().map(u32::from).collect();
    let mut out: String = label.chars().filter(char::is_ascii).collect();
    let basic = u32::try_from(out.len()).ok()?;
    let total = u32::try_from(chars.len()).ok()?;
    if basic > 0 {
        out.push('-');
    }
    let (mut n, mut delta, mut bias, mut handled) = (128_u32, 0_u32, 72_u32, basic);
    while handled < total {
        let next = chars.iter().copied().filter(|&c| c >= n).min()?;
        let step = (next - n).checked_mul(handled.checked_add(1)?)?;
        delta = delta.checked_add(step)?;
        n = next;
        for &c in &chars {
            if c < n {
                delta = delta.checked_add(1)?;
            }
            if c != n {
                continue;
            }
            let mut q = delta;
            let mut k = BASE;
            loop {
                let threshold = k.saturating_sub(bias).clamp(T_MIN, T_MAX);
                if q < threshold {
                    break;
                }
                let span = BASE - threshold;
                out.push(digit(threshold + (q - threshold) % span)?);
                q = (q - threshold) / span;
                k = k.checked_add(BASE)?;
            }
            out.push(digit(q)?);
            bias = adapt(delta, handled.checked_add(1)?, handled == basic);
            delta = 0;
            handled = handled.checked_add(1)?;
        }
        delta = delta.checked_add(1)?;
        n = n.checked_add(1)?;
    }
    Some(out)
}

fn digit(value: u32) -> Option<char> {
    let value = u8::try_from(value).ok()?;
    match value {
        0..=25 => Some(char::from(b'a' + value)),
        26..=35 => Some(char::from(b'0' + (value - 26))),
        _ => None,
    }
}

fn adapt(delta: u32, points: u32, first: bool) -> u32 {
    let mut delta = if first { delta / 700 } else { delta / 2 };
    delta = delta.saturating_add(delta / points.max(1));
    let mut k = 0;
    while delta > 455 {
        delta /= 35;
        k += 36;
    }
    k + 36 * delta / (delta + 38)
}
