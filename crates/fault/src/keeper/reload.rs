//! A reload has changed the configuration: services and servers come, go and change. What is not named keeps everything.
//!
//! What is removed ends: its incident is closed with that reason, its maintenance is over, an operator's order for it is answered.
//! A server with another address is a new server, as after a change in DNS; but an operator has taken out what goes by its name,
//! so its maintenance stays. Changed options hold from the next evaluation on; a verification in progress ends by the options by
//! which it began.

use std::collections::BTreeSet;

use evenkeel_core::{Directive, Instant, ServerId, ServiceId};

use crate::contract::{
    Managed, OrderAnswer, Output, ProbePace, ServerSpec, ServerStatus, ServiceSpec,
};
use crate::incident::{CloseReason, IncidentStatus};
use crate::plan_change::{PlanChange, REMOVED, ServerUpdate, ServiceUpdate};
use crate::policy::{FaultOptions, Mode};

use super::server::WatchedServer;
use super::service::WatchedService;
use super::shown::PublishedState;
use super::{Keeper, ServerContext};

impl Keeper {
    /// Applies a change of the configuration.
    pub(super) fn plan_changed(&mut self, now: Instant, change: PlanChange, out: &mut Vec<Output>) {
        for service in change.services {
            match service {
                ServiceUpdate::Added(spec) => self.add_service(now, spec, out),
                ServiceUpdate::Removed(id) => self.remove_service(now, id, out),
                ServiceUpdate::Changed { spec, servers } => {
                    self.change_service(now, spec, &servers, out);
                }
            }
        }
        self.set_outdated(now, &change.outdated);
    }

    fn add_service(&mut self, now: Instant, spec: ServiceSpec, out: &mut Vec<Output>) {
        let slot = spec.id.0 as usize;
        while let Ok(id) = u32::try_from(self.services.len())
            && id <= spec.id.0
        {
            let vacant = ServiceSpec::vacant(ServiceId(id), spec.options.clone());
            self.services.push(WatchedService::new(vacant));
        }
        let service = WatchedService::new(spec);
        let servers: Vec<ServerId> = service.servers.iter().map(|server| server.id).collect();
        self.services[slot] = service;
        for server in servers {
            self.with(now, server, out, |work| work.begins());
        }
    }

    fn remove_service(&mut self, now: Instant, id: ServiceId, out: &mut Vec<Output>) {
        let slot = id.0 as usize;
        let Some(service) = self.services.get_mut(slot) else {
            return;
        };
        let servers: Vec<ServerId> = service.servers.iter().map(|server| server.id).collect();
        let away = std::mem::take(&mut service.away);
        out.extend(away.into_iter().map(|(index, _)| Output::Maintenance {
            service: id,
            server: Some(index),
            maintenance: None,
        }));
        if let Some(maintenance) = service.maintenance.take() {
            let answer = OrderAnswer::Failed(format!("{} was {REMOVED}", service.spec.name));
            let asked = maintenance.asked;
            out.extend(asked.map(|ticket| Output::Answer { ticket, answer }));
            out.extend((!maintenance.is_ending).then_some(Output::Maintenance {
                service: id,
                server: None,
                maintenance: None,
            }));
            out.push(Output::Gate {
                service: id,
                open: true,
            });
        }
        for server in servers {
            self.with(now, server, out, |work| work.removed());
        }
        self.close_removed(now, slot, out);
        let options = self.services[slot].spec.options.clone();
        self.services[slot] = WatchedService::new(ServiceSpec::vacant(id, options));
        // The next service in this slot has done nothing yet.
        self.shared.vetoes.retain(|(service, _), _| *service != id);
    }

    /// No server is left: nothing can show any more that the incidents of the service are over.
    fn close_removed(&mut self, now: Instant, slot: usize, out: &mut Vec<Output>) {
        let service = &mut self.services[slot];
        if let Some(common) = &mut service.common {
            common.case.note(now, "configuration", REMOVED.to_owned());
        }
        if let Some(open) = &mut service.poison.open {
            open.case.note(now, "configuration", REMOVED.to_owned());
        }
        self.close_common(now, slot, None, CloseReason::Removed, out);
        self.close_poison(now, slot, None, CloseReason::Removed, out);
    }

    fn change_service(
        &mut self,
        now: Instant,
        spec: ServiceSpec,
        updates: &[(u32, ServerUpdate)],
        out: &mut Vec<Output>,
    ) {
        let (service, slot) = (spec.id, spec.id.0 as usize);
        let is_known = self
            .services
            .get(slot)
            .is_some_and(|known| known.spec.name == spec.name);
        if !is_known {
            self.add_service(now, spec, out);
            return;
        }
        let of = |wanted: ServerUpdate| {
            let updates = updates.iter().filter(move |(_, update)| *update == wanted);
            updates.map(move |(index, _)| ServerId {
                service,
                index: *index,
            })
        };
        for server in of(ServerUpdate::Removed) {
            self.with(now, server, out, |work| work.removed());
            self.services[slot].forget_server(server.index);
        }
        for server in of(ServerUpdate::Replaced) {
            self.with(now, server, out, |work| work.replaced());
            self.services[slot].forget_server(server.index);
        }
        let before = self.services[slot].spec.options.recover.mode;
        self.services[slot].take_spec(spec, updates);
        for server in of(ServerUpdate::Added).chain(of(ServerUpdate::Replaced)) {
            self.with(now, server, out, |work| work.joins());
            self.with(now, server, out, |work| work.begins());
        }
        if self.services[slot].present == 0 {
            self.close_removed(now, slot, out);
        }
        if self.services[slot].spec.options.recover.mode != before {
            let servers = self.services[slot].servers.iter();
            let servers: Vec<ServerId> = servers.map(|server| server.id).collect();
            for server in servers {
                self.with(now, server, out, |work| work.mode_changed());
            }
        }
    }
}

impl WatchedService {
    /// Takes the new options and servers. What is known of servers that are not new stays.
    fn take_spec(&mut self, spec: ServiceSpec, updates: &[(u32, ServerUpdate)]) {
        let before = std::mem::replace(&mut self.spec, spec);
        let slots = self.servers.len().max(self.spec.servers.len());
        self.spec.servers.resize_with(slots, ServerSpec::vacant);
        let new = (updates.iter()).filter(|(_, update)| *update != ServerUpdate::Changed);
        let new: BTreeSet<u32> = new.map(|(index, _)| *index).collect();
        let is_new = |index: u32| new.contains(&index);
        for (index, spec) in (0_u32..).zip(&mut self.spec.servers) {
            if let Some(known) = before
                .servers
                .get(index as usize)
                .filter(|_| !is_new(index))
            {
                spec.address.clone_from(&known.address);
            }
        }
        let (options, peers) = (&self.spec.options, self.spec.peers());
        for (index, spec) in (0_u32..).zip(&self.spec.servers) {
            match self.servers.get_mut(index as usize) {
                Some(server) => server.reconfigured(spec, options, peers),
                None => {
                    let id = ServerId {
                        service: self.spec.id,
                        index,
                    };
                    // It is vacant until it joins.
                    let mut server = WatchedServer::new(id, spec, options, peers);
                    server.vacant = Some(ServerStatus::Absent);
                    self.servers.push(server);
                }
            }
        }
    }

    /// What was found about the server in this slot concerns the next one no more.
    fn forget_server(&mut self, index: u32) {
        self.detections.retain(|(one, _)| *one != index);
        self.load.forget(index as usize);
        self.burn.forget_server(index as usize);
        if let Some(common) = &mut self.common {
            common.forget_server(index);
        }
        if let Some(open) = &mut self.poison.open {
            open.servers.retain(|one| *one != index);
        }
    }
}

impl WatchedServer {
    /// The options of its service, or its own, are others now.
    fn reconfigured(&mut self, spec: &ServerSpec, options: &FaultOptions, peers: usize) {
        self.facts.reconfigure(&options.detect, peers);
        self.rise = options.detect.probe.rise.max(1);
        if self.vacant.is_some() {
            return;
        }
        self.managed = spec.managed;
        self.rolls_back = spec.rolls_back;
        self.order_limit = spec.order_limit;
    }
}

impl ServerContext<'_> {
    /// Whatever concerns the server ends: it is not configured any more.
    fn removed(&mut self) {
        if self.server.vacant.is_none() {
            self.ends(CloseReason::Removed, REMOVED);
        }
        if self.server.held.take().is_some() {
            self.report_maintenance();
        }
        let (id, options) = (self.server.id, &self.spec.options);
        // What crashed it may be found later, and names it.
        let name = std::mem::take(&mut self.server.name);
        *self.server = WatchedServer::new(id, &ServerSpec::vacant(), options, 0);
        self.server.name = name;
        self.server.vacant = Some(ServerStatus::Absent);
        self.out.push(Output::Directive(Directive::Restore {
            server: id,
            slowly: true,
        }));
    }

    /// The incident and the order of a server that goes by this name no more end.
    fn replaced(&mut self) {
        let text = "a reload has changed its address, or how it is managed: it is a new server";
        self.ends(CloseReason::Left, text);
    }

    fn ends(&mut self, end: CloseReason, text: &str) {
        let now = self.now;
        if let Some(unproven) = &mut self.server.unproven {
            let case = &mut unproven.case;
            case.note(now, "configuration", text.to_owned());
        }
        self.close_unproven(end, false);
        if let Some(case) = self.case() {
            case.note(now, "configuration", text.to_owned());
        }
        self.close(end);
        let answer = OrderAnswer::Failed(format!("{}: {text}", self.full_name()));
        self.server.answer(answer, self.out);
    }

    /// The server of the new configuration, of which nothing is known. An operator has taken out what goes by its name.
    fn joins(&mut self) {
        let Some(spec) = self.spec.servers.get(self.server.id.index as usize) else {
            return;
        };
        let held = self.server.held.take();
        let (id, options) = (self.server.id, &self.spec.options);
        *self.server = WatchedServer::new(id, spec, options, self.spec.peers());
        self.server.vacant = spec.vacancy();
        self.server.starts.joined();
        // A new child is out of rotation until it is ready, and what is in maintenance stays out: no request may come in between.
        if held.is_none() && !self.starts_out_of_rotation() {
            self.out.push(Output::Directive(Directive::Restore {
                server: id,
                slowly: true,
            }));
        }
        self.out.push(Output::Pace {
            server: id,
            pace: ProbePace::Normal,
        });
        if let Some(held) = held {
            self.server.hold(*held, self.out);
        }
    }

    /// A new child takes no traffic before it is ready. One in maintenance is left alone. Attempts on a server that was in the same
    /// slot may still end: they say nothing about this one.
    fn begins(&mut self) {
        self.server.facts.forget(self.now);
        if self.is_child() && self.server.held.is_none() {
            self.begin();
        }
    }

    fn is_child(&self) -> bool {
        self.server.managed == Managed::Child && self.server.vacant.is_none()
    }

    fn starts_out_of_rotation(&self) -> bool {
        self.is_child() && self.mode() != Mode::Off
    }

    /// Another mode holds for what is decided from now on. What was proposed is done if nobody is asked any longer; and what
    /// evenkeel has taken out comes back if it is to do nothing.
    fn mode_changed(&mut self) {
        let now = self.now;
        match self.mode() {
            Mode::Off => {
                let is_free = self.server.routine.is_none() && self.server.held.is_none();
                if is_free && self.server.shown != PublishedState::Serving {
                    self.server.restore(true, self.out);
                }
            }
            Mode::Automatic => {
                let Some(case) = self.case() else { return };
                let proposal = case.proposal.take_if(|proposal| !proposal.rejected);
                let Some(proposal) = proposal.filter(|_| !case.awaits_action()) else {
                    return;
                };
                let text = "the configuration says `automatic` now: nobody is asked any longer";
                case.note(now, "configuration", text.to_owned());
                self.set_status(IncidentStatus::Recovering);
                self.run(proposal.step);
            }
            Mode::Ask | Mode::DryRun => {}
        }
    }
}
