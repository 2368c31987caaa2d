//! What is done about a service as a whole while it has an incident of its own: told to the balancer, renewed, taken back.

use evenkeel_core::{ClosedRoute, Instant, ServiceId, ServiceOrders};

use crate::contract::Output;
use crate::policy::Mode;

use super::Keeper;
use super::server::{EXPIRES, RENEWED};
use super::service::Service;

/// What the balancer was told last.
#[derive(Debug)]
pub(super) struct Measures {
    closed: Vec<ClosedRoute>,
    /// When it is renewed; never if nothing holds.
    pub(super) renew_at: Instant,
}

impl Default for Measures {
    fn default() -> Self {
        Self {
            closed: Vec::new(),
            renew_at: Instant::NEVER,
        }
    }
}

impl Measures {
    fn orders(
        &mut self,
        now: Instant,
        service: ServiceId,
        closed: Vec<ClosedRoute>,
    ) -> Option<ServiceOrders> {
        if closed == self.closed && now < self.renew_at {
            return None;
        }
        let is_empty = closed.is_empty();
        self.renew_at = if is_empty {
            Instant::NEVER
        } else {
            now + RENEWED
        };
        self.closed.clone_from(&closed);
        Some(ServiceOrders {
            service,
            closed,
            until: now + EXPIRES,
        })
    }
}

impl Service {
    /// Routes that are to be closed now.
    fn closed(&self) -> Vec<ClosedRoute> {
        let common = self.common.as_deref();
        let may = self.spec.options.recover.mode != Mode::Off && !self.is_suspended();
        let closed = common.filter(|_| may).map(|common| common.closed());
        closed.unwrap_or_default()
    }
}

impl Keeper {
    /// Tells the balancer what holds for services from now on, where that has changed or is about to expire.
    pub(super) fn tell_measures(&mut self, now: Instant, out: &mut Vec<Output>) {
        for service in &mut self.services {
            let closed = service.closed();
            if let Some(orders) = service.measures.orders(now, service.spec.id, closed) {
                out.push(Output::Service(Box::new(orders)));
            }
        }
    }

    /// What is done about a service as a whole, in words.
    #[must_use]
    pub fn measures(&self, service: ServiceId) -> Vec<String> {
        let service = self.services.get(service.0 as usize);
        let common = service.and_then(|service| {
            let common = service.common.as_deref()?;
            (!service.measures.closed.is_empty()).then_some(common)
        });
        let text = |name: String| {
            format!("{name} hangs on all servers: it is answered 503 at once, but for trials")
        };
        let names = common.map(|common| common.closed_names(&self.shared.names));
        names.into_iter().flatten().map(text).collect()
    }
}
