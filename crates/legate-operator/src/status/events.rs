//! Events on transitions: what is told, what is counted up instead, and what is summed up.
//!
//! [`EventBook`] is pure; sending is the writer's. An event that repeats within its series is
//! counted up with `patch`; more than 20 new ones in a minute become one that sums them up.

mod body;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event;
use legate_api::ObjectKey;

use super::merge::{News, Tone};
use crate::identity::Identity;

/// New events in a minute, beyond which they are summed up.
const PER_MINUTE: u32 = 20;
const MINUTE: Duration = Duration::from_secs(60);
/// How long a repeated event belongs to the series of the first.
const SERIES: Duration = Duration::from_secs(360);
/// A series is told of at most this often.
const SERIES_GAP: Duration = Duration::from_secs(10);
/// Most series that are remembered.
const MOST_SERIES: usize = 1024;

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum About {
    /// An object with its uid.
    Object(ObjectKey, String),
    /// This replica.
    Ourselves,
}

/// A request to the events API.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Post {
    /// A new event.
    Create(Box<Event>),
    /// The same again: namespace, name, the patch.
    Repeat(String, String, serde_json::Value),
}

/// What was told, and how often.
#[derive(Debug, Default)]
pub(super) struct EventBook {
    series: BTreeMap<(About, String, Tone), Series>,
    minute: Option<Minute>,
    serial: u64,
}

#[derive(Debug)]
struct Series {
    namespace: String,
    name: String,
    count: i32,
    last: Instant,
    told: Instant,
}

#[derive(Debug)]
struct Minute {
    since: Instant,
    told: u32,
    /// Good and bad news that were not told one by one.
    untold: (u32, u32),
}

impl EventBook {
    /// Takes news; what to send, if anything is sent now.
    pub(super) fn tell(
        &mut self,
        about: About,
        news: &News,
        ours: &Identity,
        now: Instant,
        time: Timestamp,
    ) -> Option<Post> {
        let key = (about, news.reason.clone(), news.tone);
        if let Some(series) = self.series.get_mut(&key)
            && now < series.last + SERIES
        {
            series.count = series.count.saturating_add(1);
            series.last = now;
            if now < series.told + SERIES_GAP {
                return None;
            }
            series.told = now;
            return Some(Post::Repeat(
                series.namespace.clone(),
                series.name.clone(),
                body::repeat(series.count, time),
            ));
        }
        let minute = self.minute.get_or_insert(Minute {
            since: now,
            told: 0,
            untold: (0, 0),
        });
        if minute.told >= PER_MINUTE {
            match news.tone {
                Tone::Normal => minute.untold.0 += 1,
                Tone::Warning => minute.untold.1 += 1,
            }
            return None;
        }
        minute.told += 1;
        self.serial += 1;
        let event = body::event(&key.0, news, ours, time, self.serial);
        if self.series.len() >= MOST_SERIES {
            self.series.retain(|_, series| now < series.last + SERIES);
        }
        if self.series.len() < MOST_SERIES {
            let series = Series {
                namespace: event.metadata.namespace.clone().unwrap_or_default(),
                name: event.metadata.name.clone().unwrap_or_default(),
                count: 1,
                last: now,
                told: now,
            };
            self.series.insert(key, series);
        }
        Some(Post::Create(Box::new(event)))
    }

    /// Ends a minute that is over; the event that sums up what was not told in it.
    pub(super) fn tick(&mut self, ours: &Identity, now: Instant, time: Timestamp) -> Option<Post> {
        if self.deadline().is_none_or(|end| now < end) {
            return None;
        }
        let (good, bad) = self.minute.take()?.untold;
        if good + bad == 0 {
            return None;
        }
        self.serial += 1;
        let news = News {
            tone: if bad > 0 { Tone::Warning } else { Tone::Normal },
            reason: "ManyChanges".to_owned(),
            note: format!(
                "{} more objects changed their state within a minute: {bad} for the worse, {good} \
                 for the better; see their status",
                good + bad
            ),
        };
        let event = body::event(&About::Ourselves, &news, ours, time, self.serial);
        Some(Post::Create(Box::new(event)))
    }

    /// When [`EventBook::tick`] has something to do next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.minute.as_ref().map(|minute| minute.since + MINUTE)
    }
}
