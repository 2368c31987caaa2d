//! A reload between two turns: the new plan reaches the supervisor and the keeper, and what the loop knows by slots follows.
//!
//! What comes is named before the keeper's step and what goes after it, so that its outputs about both are carried out.

use evenkeel_core::Instant;
use evenkeel_fault::contract::{ServerStatus, ServiceSpec, Totals};
use evenkeel_fault::{Input, PlanChange};

use super::Control;
use crate::reload::{ReloadRequest, removed_services};
use crate::specs::{discovered, specs};
use crate::world::{ActionExecutor, IncidentStore, RequestPath};

impl<T: RequestPath, H: ActionExecutor, B: IncidentStore> Control<T, H, B> {
    pub(super) fn reload(&mut self, request: ReloadRequest) {
        let (now, plan) = (self.clock.now(), &*request.plan);
        // What was done before it is judged and counted by the plan before.
        self.decide(now);
        self.book(now);
        let traffic = &self.traffic;
        self.executor.reload(plan, |server| traffic.drained(server));
        let after = specs(plan);
        self.name_new(&after);
        let change = self.keeper_setup.reload(after, discovered(plan));
        let outdated = self.executor.outdated();
        tracing::info!(
            services = change.len(),
            outdated = outdated.len(),
            "the configuration was changed; outdated processes are replaced one at a time"
        );
        self.inputs.push(Input::Plan(Box::new(PlanChange {
            services: change,
            outdated,
        })));
        self.decide(now);
        self.compare(now);
        self.forget_gone(now);
        self.changed = true;
        // Whoever asked may have gone.
        request.applied.send(()).ok();
    }

    /// Names for what has come.
    fn name_new(&mut self, after: &[ServiceSpec]) {
        let slots = self.services.len().max(after.len());
        self.services.resize_with(slots, String::new);
        self.servers.resize_with(slots, Vec::new);
        self.states.resize_with(slots, Vec::new);
        self.pids.resize_with(slots, Vec::new);
        self.booked.resize(slots, Totals::default());
        for spec in after.iter().filter(|spec| !spec.name.is_empty()) {
            let slot = spec.id.0 as usize;
            self.services[slot].clone_from(&spec.name);
            let servers = self.servers[slot].len().max(spec.servers.len());
            self.servers[slot].resize_with(servers, String::new);
            self.states[slot].resize(servers, ServerStatus::Absent);
            self.pids[slot].resize(servers, None);
            let named = self.servers[slot].iter_mut().zip(&spec.servers);
            for (name, server) in named.filter(|(_, server)| !server.is_vacant()) {
                name.clone_from(&server.name);
            }
        }
    }

    /// Whatever is known by the slots of what is gone. Called again after a panic, should that have been in a reload.
    pub(super) fn forget_gone(&mut self, now: Instant) {
        let specs = self.keeper_setup.specs();
        for id in removed_services(&self.services, specs) {
            let slot = id.0 as usize;
            self.counters.forget(&self.services[slot]);
            self.services[slot].clear();
            self.servers[slot].clear();
            self.states[slot].clear();
            self.pids[slot].clear();
            self.booked[slot] = Totals::default();
        }
        for spec in specs {
            let slot = spec.id.0 as usize;
            let Some(names) = self.servers.get_mut(slot) else {
                continue;
            };
            for (index, name) in names.iter_mut().enumerate() {
                let server = spec.servers.get(index);
                if server.is_none_or(|server| server.is_vacant()) {
                    name.clear();
                    self.pids[slot][index] = None;
                }
            }
        }
        self.set_breath(now);
    }
}
