//! What the loop publishes: server states, maintenance, open incidents.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::{Instant, ServerId, ServiceId};
use evenkeel_fault::contract::ServerStatus;

use super::Control;
use crate::status::{ControlEvent, Outlooks, StatusSnapshot};
use crate::world::{ActionExecutor, IncidentStore, RequestPath};

/// The interval between two updates of the outlook, while anything is unhealthy.
const OUTLOOK_EVERY: Duration = Duration::from_millis(250);

impl<T: RequestPath, H: ActionExecutor, B: IncidentStore> Control<T, H, B> {
    /// Whether a state has changed since it was last shown; emits the changes.
    pub(super) fn compare(&mut self, at: Instant) -> bool {
        let mut changed = false;
        for (service, states) in (0_u32..).zip(&mut self.states) {
            for (index, state) in (0_u32..).zip(states) {
                let server = ServerId::new(service, index);
                let to = self.keeper.server_state(server);
                if to != *state {
                    if to == ServerStatus::Up {
                        self.executor.verified(server);
                    }
                    self.events.emit(ControlEvent::State {
                        at,
                        server,
                        from: *state,
                        to,
                    });
                    *state = to;
                    changed = true;
                }
            }
        }
        changed
    }

    /// Asks the keeper, now and then, what it would do next. Whether there is something new to show.
    pub(super) fn update_outlook(&mut self, now: Instant) -> bool {
        let outlooks = &self.outlooks;
        let is_quiet = self.open.is_empty()
            && outlooks.servers.is_empty()
            && outlooks.services.is_empty()
            && !self.outlook_is_old;
        if is_quiet || now < self.outlook_at {
            return false;
        }
        self.outlook_at = now + OUTLOOK_EVERY;
        self.outlook_is_old = false;
        let mut ahead = Outlooks::default();
        for (service, server, outlook) in self.keeper.outlooks(now) {
            match server {
                Some(index) => ahead.servers.insert((service.0, index), outlook),
                None => ahead.services.insert(service.0, outlook),
            };
        }
        for service in (0_u32..).take(self.states.len()) {
            let rates = self.keeper.success_rates(ServiceId(service));
            if !rates.is_empty() {
                ahead.rates.insert(service, rates);
            }
        }
        self.outlooks = Arc::new(ahead);
        true
    }

    pub(super) fn show(&self) {
        let mut held = BTreeMap::new();
        let mut closed_services = BTreeMap::new();
        let mut quarantined = BTreeMap::new();
        let mut measures = BTreeMap::new();
        for (service, states) in (0_u32..).zip(&self.states) {
            let of_service: Vec<_> = self.keeper.quarantined(ServiceId(service)).collect();
            if !of_service.is_empty() {
                quarantined.insert(service, of_service);
            }
            let of_service = self.keeper.measures(ServiceId(service));
            if !of_service.is_empty() {
                measures.insert(service, of_service);
            }
            if let Some((maintenance, ending)) = self.keeper.service_maintenance(ServiceId(service))
            {
                closed_services.insert(service, (maintenance.clone(), ending));
            }
            for (index, state) in (0_u32..).zip(states) {
                let server = ServerId::new(service, index);
                if *state == ServerStatus::Maintenance
                    && let Some(maintenance) = self.keeper.server_maintenance(server)
                {
                    held.insert((service, index), maintenance.clone());
                }
            }
        }
        self.views.publish(StatusSnapshot {
            held,
            quarantined,
            outlooks: Arc::clone(&self.outlooks),
            measures,
            closed_services,
            states: self.states.clone(),
            pids: self.pids.clone(),
            open: self.open.values().cloned().collect(),
        });
    }
}
