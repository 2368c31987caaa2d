//! What is done about a service as a whole while it has an incident of its own: told to the balancer, renewed, taken back.

use evenkeel_core::{ClosedRoute, Instant, LimitHint, ServiceId, ServiceOrders};

use crate::contract::Output;
use crate::policy::Mode;

use super::Keeper;
use super::server::{EXPIRES, RENEWED};
use super::service::Service;

/// What the balancer was told last.
#[derive(Debug)]
pub(super) struct Measures {
    closed: Vec<ClosedRoute>,
    limits: Vec<LimitHint>,
    /// When it is renewed; never if nothing holds.
    pub(super) renew_at: Instant,
}

impl Default for Measures {
    fn default() -> Self {
        Self {
            closed: Vec::new(),
            limits: Vec::new(),
            renew_at: Instant::NEVER,
        }
    }
}

impl Measures {
    fn orders(
        &mut self,
        now: Instant,
        service: ServiceId,
        (closed, limits): (Vec<ClosedRoute>, Vec<LimitHint>),
    ) -> Option<ServiceOrders> {
        if closed == self.closed && limits == self.limits && now < self.renew_at {
            return None;
        }
        let is_empty = closed.is_empty() && limits.is_empty();
        self.renew_at = if is_empty {
            Instant::NEVER
        } else {
            now + RENEWED
        };
        self.closed.clone_from(&closed);
        self.limits.clone_from(&limits);
        Some(ServiceOrders {
            service,
            closed,
            limits,
            until: now + EXPIRES,
        })
    }
}

impl Service {
    /// Routes that are to be closed now, and limits that are to be found.
    fn ordered(&self) -> (Vec<ClosedRoute>, Vec<LimitHint>) {
        let common = self.common.as_deref();
        let may = self.spec.options.recover.mode != Mode::Off && !self.is_suspended();
        let ordered = common
            .filter(|_| may)
            .map(|common| (common.closed(), common.limits().to_vec()));
        ordered.unwrap_or_default()
    }
}

impl Keeper {
    /// Tells the balancer what holds for services from now on, where that has changed or is about to expire.
    pub(super) fn tell_measures(&mut self, now: Instant, out: &mut Vec<Output>) {
        for service in &mut self.services {
            let ordered = service.ordered();
            if let Some(orders) = service.measures.orders(now, service.spec.id, ordered) {
                out.push(Output::Service(Box::new(orders)));
            }
        }
    }

    /// What is done about a service as a whole, in words.
    #[must_use]
    pub fn measures(&self, service: ServiceId) -> Vec<String> {
        let Some(service) = self.services.get(service.0 as usize) else {
            return Vec::new();
        };
        let Some(common) = service.common.as_deref() else {
            return Vec::new();
        };
        let told = &service.measures;
        let mut texts = Vec::new();
        if !told.closed.is_empty() {
            let names = common.closed_names(&self.shared.names).into_iter();
            texts.extend(names.map(|name| {
                format!("{name} hangs on all servers: it is answered 503 at once, but for trials")
            }));
        }
        if !told.limits.is_empty() {
            let shed = common.shed();
            texts.push(format!(
                "more comes than the servers can do: each gets as many at once as it can work on; {shed} requests were shed so far"
            ));
        }
        texts
    }
}
