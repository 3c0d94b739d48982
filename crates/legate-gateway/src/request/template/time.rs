//! `START_TIME`: the default RFC 3339 form, and strftime forms.
//!
//! Requests of the same second share the formatted text, per thread.

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// How a time is written, UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TimeFormat {
    /// `2025-01-02T03:04:05.678Z`
    Default,
    /// A strftime text without sub-second parts.
    Seconds(String),
    /// A strftime text with sub-second parts.
    Fractions(String),
}

struct Cached {
    format: Option<String>,
    second: u64,
    text: Vec<u8>,
}

thread_local! {
    static CACHE: RefCell<[Cached; 2]> = const {
        RefCell::new([
            Cached { format: None, second: u64::MAX, text: Vec::new() },
            Cached { format: None, second: u64::MAX, text: Vec::new() },
        ])
    };
}

impl TimeFormat {
    /// The form for a strftime text. A text that cannot be formatted means the default.
    pub(super) fn build(text: Option<&str>) -> Self {
        let Some(text) = text else {
            return Self::Default;
        };
        // `%f` alone is nine digits for Envoy's users; jiff would drop trailing zeros.
        let text = text.replace("%f", "%9f");
        if strftime(&text, Duration::ZERO).is_none() {
            return Self::Default;
        }
        let mut fractions = false;
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            if byte == b'%' {
                let conversion =
                    bytes.find(|byte| !(byte.is_ascii_digit() || b".-_0^#:".contains(byte)));
                fractions |= matches!(conversion, Some(b'f' | b'N'));
            }
        }
        if fractions {
            Self::Fractions(text)
        } else {
            Self::Seconds(text)
        }
    }

    /// Whether the text around the digits is a user's.
    pub(crate) fn is_users(&self) -> bool {
        *self != Self::Default
    }

    /// Appends a time.
    pub(super) fn push(&self, out: &mut Vec<u8>, time: SystemTime) {
        let since = time
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        match self {
            Self::Default => {
                cached(out, 0, None, since);
                let millis = since.subsec_millis();
                let digit = |of: u32| b'0' + (of % 10) as u8;
                out.extend_from_slice(&[
                    b'.',
                    digit(millis / 100),
                    digit(millis / 10),
                    digit(millis),
                    b'Z',
                ]);
            }
            Self::Seconds(text) => cached(out, 1, Some(text), since),
            Self::Fractions(text) => {
                out.extend_from_slice(strftime(text, since).unwrap_or_default().as_bytes());
            }
        }
    }
}

/// Appends the text of a second, from the thread's cache if it is the last one asked for.
fn cached(out: &mut Vec<u8>, slot: usize, format: Option<&str>, since: Duration) {
    CACHE.with_borrow_mut(|cache| {
        let Some(cached) = cache.get_mut(slot) else {
            return;
        };
        if cached.second != since.as_secs() || cached.format.as_deref() != format {
            let text = strftime(format.unwrap_or("%Y-%m-%dT%H:%M:%S"), since).unwrap_or_default();
            cached.text = text.into_bytes();
            cached.second = since.as_secs();
            if cached.format.as_deref() != format {
                cached.format = format.map(str::to_owned);
            }
        }
        out.extend_from_slice(&cached.text);
    });
}

fn strftime(format: &str, since: Duration) -> Option<String> {
    let seconds = i64::try_from(since.as_secs()).ok()?;
    let nanos = i32::try_from(since.subsec_nanos()).ok()?;
    let zoned = Timestamp::new(seconds, nanos).ok()?.to_zoned(TimeZone::UTC);
    jiff::fmt::strtime::format(format, &zoned).ok()
}
