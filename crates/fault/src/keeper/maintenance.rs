//! Maintenance: whatever an operator takes out of service is left alone until the operator returns it, and is verified
//! then.
//!
//! A server takes no requests; its open incident ends as handed over, and nothing that its process or its probes do
//! opens another. For a service, requests are kept from all of its servers, which keep running and are probed. When the
//! maintenance ends, detection resumes at once, and requests flow as soon as one server is verified; a service whose
//! servers do not come back is repaired behind the same answer.

use evenkeel_core::{EjectionReason, Instant, ServerId, ServiceId};

use crate::contract::{OrderAnswer, OrderTicket, Output, ProbePace};
use crate::incident::CloseReason;
use crate::kind::FaultKind;
use crate::maintenance::{Maintenance, MaintenanceRecord, OrderTerms, TakenOut};
use crate::recover::Author;
use crate::verify::Verification;

use super::server::WatchedServer;
use super::service::ServiceMaintenance;
use super::shown::{OperatorHold, PlannedKind, PlannedVerification};
use super::{Keeper, ServerContext};

/// So much maintenance of servers that DNS does not name at present is remembered per service.
const AWAY: usize = 1024;

impl Keeper {
    /// The maintenance of a server.
    #[must_use]
    pub fn server_maintenance(&self, server: ServerId) -> Option<&Maintenance> {
        let service = self.services.get(server.service.0 as usize)?;
        let held = service.servers.get(server.index as usize)?.held.as_ref();
        held.map(|held| &held.maintenance)
    }

    /// The maintenance of a whole service, and whether it is ending: its first server is still to be verified.
    #[must_use]
    pub fn service_maintenance(&self, service: ServiceId) -> Option<(&Maintenance, bool)> {
        let service = self.services.get(service.0 as usize)?;
        let maintenance = service.maintenance.as_ref()?;
        Some((&maintenance.maintenance, maintenance.is_ending))
    }

    /// Resumes the maintenance that was active when the program ended. Servers that are no longer configured are
    /// dropped.
    pub(super) fn resume(&mut self, now: Instant, out: &mut Vec<Output>) {
        for record in std::mem::take(&mut self.resumed) {
            let MaintenanceRecord {
                service,
                server,
                maintenance,
            } = record;
            let mut services = self.services.iter_mut();
            let Some(service) = services.find(|known| known.spec.name == service) else {
                continue;
            };
            let until = maintenance.ends(now, self.shared.epoch);
            let Some(server) = server else {
                out.push(Output::Gate {
                    service: service.spec.id,
                    open: false,
                });
                service.maintenance = Some(Box::new(ServiceMaintenance {
                    maintenance,
                    until,
                    is_ending: false,
                    asked: None,
                }));
                continue;
            };
            let mut servers = service.servers.iter();
            let Some(known) = servers.find(|known| known.name == server) else {
                continue;
            };
            let id = known.id;
            if known.vacant.is_some() {
                service.send_away(id.index, maintenance);
                continue;
            }
            self.with(now, id, out, |work| {
                work.server.hold(held(maintenance, until), work.out);
            });
        }
    }

    pub(super) fn maintenance_on(
        &mut self,
        now: Instant,
        ticket: OrderTicket,
        id: ServiceId,
        terms: &OrderTerms,
        out: &mut Vec<Output>,
    ) {
        let Some(service) = self.services.get_mut(id.0 as usize) else {
            return;
        };
        let maintenance = Maintenance::begin(None, terms, now, self.shared.epoch);
        if let Some(asked) = service.maintenance.take().and_then(|before| before.asked) {
            let answer = OrderAnswer::Failed("maintenance was ordered again".to_owned());
            out.push(Output::Answer {
                ticket: asked,
                answer,
            });
        }
        service.maintenance = Some(Box::new(ServiceMaintenance {
            maintenance: maintenance.clone(),
            until: terms.lasts.map(|lasts| now + lasts),
            is_ending: false,
            asked: None,
        }));
        let name = service.spec.name.clone();
        let servers: Vec<ServerId> = service.servers.iter().map(|server| server.id).collect();
        for server in servers {
            self.with(now, server, out, |work| {
                work.hand_over("an operator put the service into maintenance");
            });
        }
        self.close_common(now, id.0 as usize, None, CloseReason::Maintenance, out);
        out.push(Output::Gate {
            service: id,
            open: false,
        });
        out.push(Output::Maintenance {
            service: id,
            server: None,
            maintenance: Some(Box::new(maintenance)),
        });
        out.push(Output::Answer {
            ticket,
            answer: OrderAnswer::Done(format!(
                "{name} is in maintenance: evenkeel answers its requests"
            )),
        });
    }

    /// Ends the maintenance of a service, by an order or because its time is over.
    pub(super) fn maintenance_off(
        &mut self,
        now: Instant,
        ticket: Option<OrderTicket>,
        id: ServiceId,
        force: bool,
        out: &mut Vec<Output>,
    ) {
        let Some(service) = self.services.get_mut(id.0 as usize) else {
            return;
        };
        let name = service.spec.name.clone();
        let answer = |answer| ticket.map(|ticket| Output::Answer { ticket, answer });
        let Some(maintenance) = &mut service.maintenance else {
            out.extend(answer(OrderAnswer::Refused(format!(
                "{name} is not in maintenance"
            ))));
            return;
        };
        maintenance.until = None;
        let was_ending = std::mem::replace(&mut maintenance.is_ending, true);
        if let Some(before) = std::mem::replace(&mut maintenance.asked, ticket) {
            let answer = OrderAnswer::Failed("the end of maintenance was ordered again".to_owned());
            out.push(Output::Answer {
                ticket: before,
                answer,
            });
        }
        if !was_ending {
            out.push(Output::Maintenance {
                service: id,
                server: None,
                maintenance: None,
            });
            let servers: Vec<ServerId> = service.servers.iter().map(|server| server.id).collect();
            for server in servers {
                self.with(now, server, out, |work| work.return_from_maintenance());
            }
        }
        if force {
            self.open_gate(id, out);
        } else {
            out.extend(answer(OrderAnswer::Accepted(format!(
                "{name}: requests go to its servers once one of them is verified"
            ))));
        }
    }

    /// Handles the passage of time and the progress of verifications.
    pub(super) fn tick_maintenance(&mut self, now: Instant, out: &mut Vec<Output>) {
        for slot in 0..self.services.len() {
            let service = &self.services[slot];
            let Some(maintenance) = &service.maintenance else {
                continue;
            };
            let id = service.spec.id;
            // Where there is no server, none is waited for.
            let is_served = service.servers.iter().any(WatchedServer::is_verified);
            if maintenance.is_ending && (is_served || service.present == 0) {
                self.open_gate(id, out);
            } else if maintenance.until.is_some_and(|until| now >= until) {
                self.maintenance_off(now, None, id, false, out);
            }
        }
    }

    fn open_gate(&mut self, id: ServiceId, out: &mut Vec<Output>) {
        let Some(service) = self.services.get_mut(id.0 as usize) else {
            return;
        };
        let asked = service.maintenance.take().and_then(|ended| ended.asked);
        out.push(Output::Gate {
            service: id,
            open: true,
        });
        let answer = OrderAnswer::Done(format!("{} is in service again", service.spec.name));
        out.extend(asked.map(|ticket| Output::Answer { ticket, answer }));
    }
}

impl WatchedServer {
    /// Whether requests may be sent to it after a maintenance of the service.
    fn is_verified(&self) -> bool {
        let routine = self.routine.as_ref();
        self.vacant.is_none()
            && self.held.is_none()
            && self.case.is_none()
            && self.starting.is_none()
            && self.facts.process.down.is_none()
            && routine
                .is_none_or(|routine| routine.order.is_none() && routine.verification.in_trickle())
    }
}

impl ServerContext<'_> {
    pub(super) fn hold_by_operator(
        &mut self,
        ticket: OrderTicket,
        how: TakenOut,
        terms: &OrderTerms,
    ) {
        let name = self.full_name();
        let leaves_nothing = self.server.serves() && self.capacity.others_serving == 0;
        if leaves_nothing && !terms.force {
            let service = &self.spec.name;
            self.reply(
                ticket,
                OrderAnswer::Refused(format!(
                    "no other server of {service} is in service: without {name} its requests would fail; use --force to do it anyway"
                )),
            );
            return;
        }
        self.hand_over(match how {
            TakenOut::Drained => "an operator drained the server",
            TakenOut::Ejected => "an operator ejected the server",
        });
        self.server.routine = None;
        self.server.starting = None;
        self.server.doubt_until = None;
        self.server.answer(
            OrderAnswer::Failed("another order replaced it".to_owned()),
            self.out,
        );
        let mut maintenance = Maintenance::begin(Some(how), terms, self.now, self.shared.epoch);
        let slot = self.server.id.index as usize;
        maintenance.address = self
            .spec
            .servers
            .get(slot)
            .and_then(|spec| spec.address.clone());
        let until = terms.lasts.map(|lasts| self.now + lasts);
        self.server.hold(held(maintenance, until), self.out);
        // evenkeel's own directives for it end only now, so that no request arrives in between.
        self.server.restore(true, self.out);
        self.server.set_pace(ProbePace::Normal, self.out);
        self.report_maintenance();
        let words = match how {
            TakenOut::Drained => "it takes no new requests, and those in flight may finish",
            TakenOut::Ejected => "it takes no new requests",
        };
        self.reply(
            ticket,
            OrderAnswer::Done(format!("{name} is in maintenance: {words}")),
        );
    }

    /// The end of a maintenance: the server is verified before it serves.
    pub(super) fn end_maintenance(&mut self) {
        if self.server.held.take().is_none() {
            return;
        }
        self.report_maintenance();
        if self.is_off() || self.suspended {
            self.server.release(self.out);
            let name = self.full_name();
            self.server.answer(
                OrderAnswer::Done(format!("{name} takes requests again")),
                self.out,
            );
            return;
        }
        self.server.eject(self.now, EjectionReason::Known, self.out);
        self.return_from_maintenance();
    }

    /// Looks at the server as at one after a repair. One whose process was ended meanwhile is started.
    fn return_from_maintenance(&mut self) {
        if self.server.vacant.is_some() || self.server.held.is_some() || self.server.case.is_some()
        {
            return;
        }
        let is_down = self.server.facts.process.down.is_some();
        let is_to_start = is_down && self.server.managed.restarts() && self.may_act();
        let (kind, fault) = (PlannedKind::Return, FaultKind::Unknown);
        if is_to_start && self.order_routine(kind, Author::Person, fault) {
            return;
        }
        self.server.facts.forget(self.now);
        if is_down {
            self.process_down();
        }
        if self.server.case.is_some() {
            return;
        }
        // It is verified even if its exit is not a fault, or it must not be started now: every server is always
        // handled.
        let rules = self.rules(true);
        self.server
            .set_pace(ProbePace::Every(rules.options.every), self.out);
        self.server.routine = Some(Box::new(PlannedVerification {
            kind: PlannedKind::Return,
            order: None,
            until: Instant::NEVER,
            verification: Verification::new(rules),
        }));
    }

    /// The time of a maintenance may be over.
    pub(super) fn tick_held(&mut self) {
        let until = self.server.held.as_ref().and_then(|held| held.until);
        if until.is_some_and(|until| self.now >= until) {
            self.end_maintenance();
        }
    }

    /// Another server has come, one that was in maintenance at the index `before` when it went.
    pub(super) fn maintenance_back(&mut self, before: u32, maintenance: Maintenance) {
        let until = maintenance.ends(self.now, self.shared.epoch);
        let id = self.server.id;
        if before != id.index {
            self.out.push(Output::Maintenance {
                service: id.service,
                server: Some(before),
                maintenance: None,
            });
        }
        self.server.hold(held(maintenance, until), self.out);
        self.report_maintenance();
    }

    /// Publishes the current maintenance.
    pub(super) fn report_maintenance(&mut self) {
        let server = self.server.id;
        let held = self.server.held.as_ref();
        self.out.push(Output::Maintenance {
            service: server.service,
            server: Some(server.index),
            maintenance: held.map(|held| Box::new(held.maintenance.clone())),
        });
    }
}

impl super::service::WatchedService {
    /// Records the maintenance of a server that is no longer a member.
    pub(super) fn send_away(&mut self, index: u32, maintenance: Maintenance) {
        if self.away.len() < AWAY && maintenance.address.is_some() {
            self.away.push((index, maintenance));
        }
    }

    /// The maintenance of the server at this address, if it had one when it went, and the index that it had.
    pub(super) fn take_back(&mut self, address: &str) -> Option<(u32, Maintenance)> {
        let is_it = |away: &(u32, Maintenance)| away.1.address.as_deref() == Some(address);
        let slot = self.away.iter().position(is_it)?;
        Some(self.away.swap_remove(slot))
    }
}

fn held(maintenance: Maintenance, until: Option<Instant>) -> OperatorHold {
    OperatorHold {
        how: maintenance.how.unwrap_or(TakenOut::Drained),
        until,
        maintenance,
    }
}
