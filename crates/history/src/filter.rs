//! Filters for incidents, and the accepted formats of a time.
//!
//! Separate from the store because incidents that still wait to be written are filtered by the same rules.

use evenkeel_fault::Incident;
use evenkeel_fault::incident::IncidentStatus;
use jiff::Timestamp;

use crate::error::StoreError;

/// The requested incidents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IncidentFilter {
    /// Of this service only.
    pub service: Option<String>,
    /// With an onset at this time or later (RFC 3339), or since the midnight of a date (UTC).
    pub since: Option<String>,
    /// With this status only.
    pub status: Option<IncidentStatus>,
    /// The newest of them only; without it, all (10,000 at most).
    pub limit: Option<u32>,
}

impl IncidentFilter {
    /// Whether it matches this incident; `limit` is ignored.
    ///
    /// # Errors
    /// If a time cannot be read.
    pub fn takes(&self, incident: &Incident) -> Result<bool, StoreError> {
        let late_enough = match &self.since {
            Some(since) => normal(&incident.onset)? >= normal(since)?,
            None => true,
        };
        Ok(late_enough
            && self
                .service
                .as_ref()
                .is_none_or(|service| *service == incident.service)
            && self.status.is_none_or(|status| status == incident.status))
    }
}

/// A time as the store keeps it: UTC with milliseconds, so that the order of texts is the order of times.
pub(crate) fn normal(text: &str) -> Result<String, StoreError> {
    Ok(format!("{:.3}", time(text)?))
}

pub(crate) fn minute(text: &str) -> Result<i64, StoreError> {
    Ok(time(text)?.as_second().div_euclid(60))
}

/// A date is its midnight, and a time without a place is UTC.
fn time(text: &str) -> Result<Timestamp, StoreError> {
    let text = text.trim();
    let in_utc = || {
        let time: jiff::civil::DateTime = text.parse().ok()?;
        Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    };
    let time = text.parse().ok().or_else(in_utc);
    time.ok_or_else(|| StoreError::Time {
        text: text.to_owned(),
    })
}
