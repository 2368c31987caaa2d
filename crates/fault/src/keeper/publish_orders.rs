//! Directives for a service as a whole while it has an incident of its own: published, renewed, withdrawn.

use evenkeel_core::{ClosedRoute, Instant, LimitHint, ServiceId, ServiceOrders};

use crate::contract::Output;
use crate::policy::Mode;

use super::Keeper;
use super::common::CommonIncident;
use super::server::WatchedServer;
use super::service::WatchedService;

impl WatchedService {
    /// The current directives for it.
    fn ordered(&mut self) -> ServiceOrders {
        let mut orders = ServiceOrders::none(self.spec.id);
        if self.spec.options.recover.mode == Mode::Off || self.is_suspended() {
            return orders;
        }
        if let Some(common) = &self.common {
            common.order(&mut orders);
        }
        if self.spec.options.recover.playbooks.is_empty() {
            return orders;
        }
        let mut cases = self.servers.iter().filter_map(|one| one.case.as_deref());
        if self.servers.iter().any(WatchedServer::is_answered_for) {
            orders.closed = vec![ClosedRoute::All];
            orders.until_success = true;
        }
        if !cases.any(|case| case.sheds) {
            self.measures.hints.clear();
        } else if orders.limits.is_empty() {
            if self.measures.hints.is_empty() {
                self.measures.hints = self.load.hints();
                let hints = &mut self.measures.hints;
                hints.resize(self.servers.len(), LimitHint::default());
            }
            orders.limits.clone_from(&self.measures.hints);
        }
        orders
    }
}

impl Keeper {
    /// Tells the balancer what holds for services from now on, where that has changed or is about to expire.
    pub(super) fn publish_orders(&mut self, now: Instant, out: &mut Vec<Output>) {
        for service in &mut self.services {
            let ordered = service.ordered();
            if let Some(orders) = service.measures.tell(now, ordered) {
                out.push(Output::Service(Box::new(orders)));
            }
        }
    }

    /// The measures for a service as a whole, in words.
    #[must_use]
    pub fn measures(&self, service: ServiceId) -> Vec<String> {
        let Some(service) = self.services.get(service.0 as usize) else {
            return Vec::new();
        };
        let told = &service.measures.told;
        let mut texts = Vec::new();
        if let Some(common) = service.common.as_deref() {
            let is_closed = !told.closed.is_empty() && !told.until_success;
            let names = common.closed_names(&self.shared.names).into_iter();
            texts.extend(names.filter(|_| is_closed).map(|name| {
                format!(
                    "{name} hangs on all servers: it is answered 503 at once, except for trials"
                )
            }));
            texts.extend(common.mitigation_words());
        }
        if !told.limits.is_empty() {
            let shed = service.common.as_deref().map(CommonIncident::shed);
            let shed = shed.map_or_else(String::new, |shed| {
                format!("; {shed} requests were shed so far")
            });
            let is_overload = service
                .common
                .as_deref()
                .is_some_and(CommonIncident::has_too_much);
            let why = if is_overload {
                "more requests arrive than the servers can handle"
            } else {
                "a playbook says `shed`"
            };
            texts.push(format!(
                "{why}: each server gets as many concurrent requests as it can handle{shed}"
            ));
        }
        if service.servers.iter().any(WatchedServer::is_answered_for) {
            texts.push("no server serves: requests get the fallback, except for trials".to_owned());
        }
        texts.extend(service.rollout_words());
        texts
    }
}

impl WatchedService {
    /// The replacement of its outdated processes, in words; none if there are none.
    fn rollout_words(&self) -> Option<String> {
        let left = self.servers.iter().filter(|one| one.is_outdated);
        let left: Vec<&str> = left.map(|one| one.name.as_str()).collect();
        if left.is_empty() {
            return None;
        }
        let names = left.join(", ");
        Some(match (&self.rollout.stopped, &self.rollout.waits) {
            (Some(why), _) => format!(
                "processes are no longer replaced for the changed configuration: {why}; {names} run by the earlier one"
            ),
            (None, Some(why)) => format!(
                "{names} run by an earlier configuration, and are replaced one at a time; the next one waits: {why}"
            ),
            (None, None) => {
                format!("{names} run by an earlier configuration, and are replaced one at a time")
            }
        })
    }
}
