//! Maintenance: a server or a service taken out of service by an operator, and its terms.
//!
//! While it lasts, nothing is detected or repaired there. It is stored, so that it survives a restart of the program.
//! It ends by an order or when its time is over, in both cases with a verification.

use std::time::Duration;

use evenkeel_core::{Epoch, Instant, WallTime};
use serde::{Deserialize, Serialize};

/// The longest reason that is kept, in characters.
pub const REASON_MAX: usize = 200;

/// How an operator took a server out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TakenOut {
    /// It takes no new attempts; those in flight may finish, and clients that belong to it go elsewhere.
    Drained,
    /// It takes no new attempts, as a server that is known not to serve.
    Ejected,
}

/// One maintenance. Times are RFC 3339 in UTC with milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// How the server was taken out; absent for a whole service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub how: Option<TakenOut>,
    /// When it began.
    pub since: String,
    /// Until when, if an end was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// The operator, if named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why, if they said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The server's address: a name from DNS may be another server's later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// A maintenance as the store keeps it, by names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaintenanceRecord {
    /// The service's name.
    pub service: String,
    /// The server's name; `None` for the whole service.
    pub server: Option<String>,
    /// The maintenance.
    pub maintenance: Maintenance,
}

/// The terms of an order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OrderTerms {
    /// The operator.
    pub by: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// How long it is to last; until it is taken back if absent.
    pub lasts: Option<Duration>,
    /// Do it although it leaves nothing in service.
    pub force: bool,
}

impl Maintenance {
    /// One that begins now.
    #[must_use]
    pub fn begin(how: Option<TakenOut>, terms: &OrderTerms, now: Instant, epoch: Epoch) -> Self {
        Self {
            how,
            since: stamp(epoch, now),
            until: terms.lasts.map(|lasts| stamp(epoch, now + lasts)),
            by: terms.by.clone(),
            reason: terms.reason.clone(),
            address: None,
        }
    }

    /// When it ends on the monotonic clock. One that is past ends now; one whose time cannot be read does not end.
    #[must_use]
    pub fn ends(&self, now: Instant, epoch: Epoch) -> Option<Instant> {
        let until: jiff::Timestamp = self.until.as_ref()?.parse().ok()?;
        let left = i128::from(until.as_millisecond()) - i128::from(epoch.wall(now).0);
        Some(now + Duration::from_millis(u64::try_from(left.max(0)).unwrap_or(u64::MAX)))
    }
}

/// The time as RFC 3339 in UTC with milliseconds.
pub(crate) fn stamp(epoch: Epoch, at: Instant) -> String {
    let WallTime(millis) = epoch.wall(at);
    calendar(i64::try_from(millis).unwrap_or(i64::MAX))
}

/// Milliseconds since 1970 as RFC 3339 in UTC.
#[must_use]
pub fn calendar(millis: i64) -> String {
    jiff::Timestamp::from_millisecond(millis).map_or_else(
        |_| "9999-12-31T23:59:59.999Z".to_owned(),
        |time| format!("{time:.3}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Epoch = Epoch(WallTime(1_795_341_600_000));

    #[test]
    fn an_end_is_found_again_from_what_was_written() {
        let terms = OrderTerms {
            lasts: Some(Duration::from_secs(1800)),
            ..OrderTerms::default()
        };
        let now = Instant::from_millis(5_000);
        let begun = Maintenance::begin(Some(TakenOut::Drained), &terms, now, EPOCH);
        assert_eq!(begun.since, "2026-11-22T10:00:05.000Z");
        assert_eq!(begun.until.as_deref(), Some("2026-11-22T10:30:05.000Z"));
        // Ten minutes later the program starts again: its clock begins anew.
        let later = Epoch(WallTime(EPOCH.0.0 + 605_000));
        let ends = begun.ends(Instant::ZERO, later);
        assert_eq!(ends, Some(Instant::from_millis(1_200_000)));
        let much_later = Epoch(WallTime(EPOCH.0.0 + 86_400_000));
        assert_eq!(begun.ends(Instant::ZERO, much_later), Some(Instant::ZERO));
        let text = serde_json::to_string(&begun).expect("serialises");
        assert_eq!(
            serde_json::from_str::<Maintenance>(&text).expect("parses"),
            begun
        );
    }
}
