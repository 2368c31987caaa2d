//! The attempts under way: the one whose end decides, and the hedged ones beside it.

use evenkeel_core::{Instant, Outcome};
use evenkeel_tolerate::HedgeRace;

use crate::service::in_flight::InFlight;
use crate::service::{CachedServerSet, Service};

/// The attempt under way.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) server: u32,
    pub(super) begun: Instant,
    pub(super) in_flight: InFlight,
    /// It is known whether others are made beside it.
    pub(super) is_connected: bool,
}

/// The attempts beside the first one.
#[derive(Debug)]
pub(super) struct Hedging {
    pub(super) race: HedgeRace,
    pub(super) others: Vec<Current>,
    /// How the first one has ended, and when.
    pub(super) first: Option<(Instant, Outcome)>,
}

impl Hedging {
    pub(super) fn release(self, service: &Service, servers: &CachedServerSet, now: Instant) {
        for other in self.others {
            other.in_flight.end(service, servers, now);
        }
    }
}
