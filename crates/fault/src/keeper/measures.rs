//! The directives last published for a service as a whole: published again only when they change or are about to
//! expire.

use evenkeel_core::{Instant, LimitHint, ServiceId, ServiceOrders};

use super::shown::{EXPIRES, RENEWED};

/// The directives published last.
#[derive(Debug)]
pub(super) struct PublishedOrders {
    pub(super) told: ServiceOrders,
    /// Hints for limits that a playbook of a single server's incident asked for.
    pub(super) hints: Vec<LimitHint>,
    /// When it is renewed; never if nothing holds.
    pub(super) renew_at: Instant,
}

impl PublishedOrders {
    pub(super) const fn new(service: ServiceId) -> Self {
        Self {
            told: ServiceOrders::none(service),
            hints: Vec::new(),
            renew_at: Instant::NEVER,
        }
    }

    pub(super) fn tell(&mut self, now: Instant, orders: ServiceOrders) -> Option<ServiceOrders> {
        if orders == self.told && now < self.renew_at {
            return None;
        }
        self.renew_at = if orders.is_none() {
            Instant::NEVER
        } else {
            now + RENEWED
        };
        self.told.clone_from(&orders);
        let until = now + EXPIRES;
        Some(ServiceOrders { until, ..orders })
    }
}
