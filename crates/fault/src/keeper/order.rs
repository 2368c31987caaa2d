//! Operators' orders. They take precedence over the keeper's own actions: no limit delays them, and each gets an
//! answer.

use evenkeel_core::{Instant, ServerId, ServiceId};

use crate::contract::{OperatorOrder, OrderAnswer, OrderTicket, Output};
use crate::incident::{ActionOutcome, CloseReason, IncidentStatus};
use crate::kind::FaultKind;
use crate::maintenance::{OrderTerms, TakenOut};
use crate::policy::Action;
use crate::recover::Author;

use super::case::Case;
use super::phase::CasePhase;
use super::server::WatchedServer;
use super::shown::{PlannedKind, PublishedState};
use super::{Keeper, ServerContext};

impl Keeper {
    pub(super) fn operator(
        &mut self,
        now: Instant,
        ticket: OrderTicket,
        order: OperatorOrder,
        out: &mut Vec<Output>,
    ) {
        let (at, told) = ((now, ticket), ticket);
        match order {
            OperatorOrder::Approve(id) => self.of_incident(at, &id, out, |work| work.approve(told)),
            OperatorOrder::Reject(id) => self.of_incident(at, &id, out, |work| work.reject(told)),
            OperatorOrder::Close(id) => {
                if let Some(slot) = self.common_of(&id) {
                    self.close_common_by_operator(at, slot, &id, out);
                    return;
                }
                if let Some(slot) = self.poison_of(&id) {
                    self.close_poison_by_operator(at, slot, &id, out);
                    return;
                }
                if self.close_self_by_operator(at, &id, out) {
                    return;
                }
                self.of_incident(at, &id, out, |work| work.close_by_operator(told));
            }
            OperatorOrder::Drain(server, terms) => {
                self.of_server(at, server, out, |work| {
                    work.hold_by_operator(told, TakenOut::Drained, &terms);
                });
            }
            OperatorOrder::Eject(server, terms) => {
                self.of_server(at, server, out, |work| {
                    work.hold_by_operator(told, TakenOut::Ejected, &terms);
                });
            }
            OperatorOrder::Restore(server) => {
                self.of_server(at, server, out, |work| work.restore_by_operator(told));
            }
            OperatorOrder::Restart(server, terms) => {
                self.of_server(at, server, out, |work| {
                    work.restart_by_operator(told, &terms);
                });
            }
            OperatorOrder::MaintenanceOn(service, terms) => {
                self.maintenance_on(now, ticket, service, &terms, out);
            }
            OperatorOrder::LiftQuarantine(service) => self.lift_quarantine(at, service, out),
            OperatorOrder::MaintenanceOff(service, terms) => {
                self.maintenance_off(now, Some(ticket), service, terms.force, out);
            }
        }
    }

    fn of_server(
        &mut self,
        (now, ticket): (Instant, OrderTicket),
        server: ServerId,
        out: &mut Vec<Output>,
        what: impl FnOnce(&mut ServerContext<'_>),
    ) {
        let service = self.services.get(server.service.0 as usize);
        let known = service.and_then(|service| service.servers.get(server.index as usize));
        if known.is_some_and(|server| server.vacant.is_none()) {
            self.with(now, server, out, what);
            return;
        }
        let answer = OrderAnswer::Refused("there is no server in this slot now".to_owned());
        out.push(Output::Answer { ticket, answer });
    }

    fn of_incident(
        &mut self,
        (now, ticket): (Instant, OrderTicket),
        id: &str,
        out: &mut Vec<Output>,
        what: impl FnOnce(&mut ServerContext<'_>),
    ) {
        let server: Option<ServerId> = self.find(|server| {
            let unproven = server.unproven.as_deref().map(|one| &one.case);
            let mut cases = server.case.iter().chain(unproven);
            cases.any(|case| case.incident.id == id)
        });
        if let Some(server) = server {
            self.with(now, server, out, what);
            return;
        }
        // An incident of a whole service proposes nothing.
        let answer = OrderAnswer::Refused(match self.common_of(id).or(self.poison_of(id)) {
            Some(_) => {
                "nothing waits for approval: evenkeel does not act on servers for a shared cause"
                    .to_owned()
            }
            None => format!("incident {id} is not open"),
        });
        out.push(Output::Answer { ticket, answer });
    }

    /// The place of the service whose own incident this is.
    fn common_of(&self, id: &str) -> Option<usize> {
        self.services.iter().position(|service| {
            let common = service.common.as_ref();
            common.is_some_and(|common| common.case.incident.id == id && common.follows.is_none())
        })
    }

    /// An operator closes the incident of a service as it is.
    fn close_common_by_operator(
        &mut self,
        (now, ticket): (Instant, OrderTicket),
        slot: usize,
        id: &str,
        out: &mut Vec<Output>,
    ) {
        if let Some(common) = &mut self.services[slot].common {
            let text = "closed by an operator".to_owned();
            common.case.note(now, "approval", text);
        }
        self.close_common(now, slot, None, CloseReason::ClosedByPerson, out);
        let answer = OrderAnswer::Done(format!("incident {id} is closed"));
        out.push(Output::Answer { ticket, answer });
    }
}

impl Keeper {
    /// An operator closes the incident of a request that crashed servers. Requests in quarantine stay there.
    fn close_poison_by_operator(
        &mut self,
        (now, ticket): (Instant, OrderTicket),
        slot: usize,
        id: &str,
        out: &mut Vec<Output>,
    ) {
        if let Some(open) = &mut self.services[slot].poison.open {
            let text = "closed by an operator".to_owned();
            open.case.note(now, "approval", text);
        }
        self.close_poison(now, slot, None, CloseReason::ClosedByPerson, out);
        let answer = OrderAnswer::Done(format!("incident {id} is closed"));
        out.push(Output::Answer { ticket, answer });
    }

    /// Ends the quarantine of a service's requests on an operator's order.
    fn lift_quarantine(
        &mut self,
        (now, ticket): (Instant, OrderTicket),
        service: ServiceId,
        out: &mut Vec<Output>,
    ) {
        let answer = match self.services.get_mut(service.0 as usize) {
            Some(service) => {
                let name = &service.spec.name;
                match service.poison.judge.lift(now) {
                    0 => OrderAnswer::Refused(format!("no request of {name} is in quarantine")),
                    1 => OrderAnswer::Done(format!("1 request of {name} is sent to servers again")),
                    n => OrderAnswer::Done(format!(
                        "{n} requests of {name} are sent to servers again"
                    )),
                }
            }
            None => OrderAnswer::Refused("there is no such service".to_owned()),
        };
        out.push(Output::Answer { ticket, answer });
    }
}

impl WatchedServer {
    /// Whether it is being restarted or stopped, for a fault or since a person ordered it, and is not verified yet.
    pub(super) fn is_being_restarted(&self) -> bool {
        let routine = self.routine.as_deref();
        let process = &self.facts.process;
        // A process that was started and is not ready may end at once, as the one before it did.
        let is_unready = process.started.is_some() && process.ready.is_none();
        let is_repaired =
            |case: &Case| process.down.is_some() || is_unready || case.repaired_by.is_some();
        self.case.as_deref().is_some_and(is_repaired)
            || self.is_being_changed()
            || routine.is_some_and(|routine| {
                matches!(routine.kind, PlannedKind::Restart | PlannedKind::Replace)
            })
    }
}

impl ServerContext<'_> {
    /// The answers to this order come as the work on it goes on.
    fn follow(&mut self, ticket: OrderTicket, text: String) {
        let replaced = OrderAnswer::Failed("another order replaced it".to_owned());
        self.server.answer(replaced, self.out);
        self.server.asked = Some(ticket);
        self.server.answer(OrderAnswer::Accepted(text), self.out);
    }

    /// The incident that awaits an operator's decision; otherwise the reason why there is nothing to decide.
    fn proposal(&mut self, ticket: OrderTicket) -> Option<&mut Case> {
        let status = self.case().map(|case| case.incident.status);
        if status != Some(IncidentStatus::AwaitingApproval) {
            let status = status.map_or("closed", IncidentStatus::word);
            let why = format!("nothing waits for approval: the incident is {status}");
            self.reply(ticket, OrderAnswer::Refused(why));
            return None;
        }
        self.case()
    }

    fn approve(&mut self, ticket: OrderTicket) {
        let now = self.now;
        let Some(case) = self.proposal(ticket) else {
            return;
        };
        let Some(proposal) = case.proposal.take() else {
            return;
        };
        case.approved = true;
        case.note(now, "approval", "approved".to_owned());
        let actions: Vec<&str> = proposal.actions.iter().map(Action::word).collect();
        let text = format!("approved {}: {}", case.incident.id, actions.join(", "));
        self.follow(ticket, text);
        self.set_status(IncidentStatus::Recovering);
        self.run(proposal.step);
    }

    fn reject(&mut self, ticket: OrderTicket) {
        let now = self.now;
        let Some(case) = self.proposal(ticket) else {
            return;
        };
        if let Some(proposal) = &mut case.proposal {
            proposal.rejected = true;
        }
        case.note(now, "approval", "rejected: it is only watched".to_owned());
        let text = format!("rejected {}: it is only watched", case.incident.id);
        self.set_status(IncidentStatus::Open);
        self.reply(ticket, OrderAnswer::Done(text));
    }

    fn close_by_operator(&mut self, ticket: OrderTicket) {
        let now = self.now;
        if let Some(unproven) = &mut self.server.unproven {
            let case = &mut unproven.case;
            case.note(now, "approval", "closed by an operator".to_owned());
            let text = format!("incident {} is closed", case.incident.id);
            self.close_unproven(CloseReason::ClosedByPerson, false);
            self.reply(ticket, OrderAnswer::Done(text));
            return;
        }
        if let Some(case) = self.case() {
            case.note(now, "approval", "closed by an operator".to_owned());
            let text = format!("incident {} is closed", case.incident.id);
            self.close(CloseReason::ClosedByPerson);
            self.reply(ticket, OrderAnswer::Done(text));
        }
        if self.server.facts.process.down.is_none() {
            self.server.restore(true, self.out);
        }
    }

    /// Returns a server to rotation that evenkeel, not an operator, keeps out.
    pub(super) fn restore_ejected(&mut self, ticket: OrderTicket) {
        let name = self.full_name();
        if self.server.facts.process.down.is_some() {
            let why = format!("the process of {name} is not running: restart it instead");
            self.reply(ticket, OrderAnswer::Refused(why));
            return;
        }
        if self.server.shown == PublishedState::Serving {
            self.reply(
                ticket,
                OrderAnswer::Refused(format!("{name} is in service")),
            );
            return;
        }
        self.server.release(self.out);
        self.tell("an operator restored the server");
        if matches!(
            self.server.case.as_deref().map(|case| &case.phase),
            Some(CasePhase::Verifying { .. })
        ) {
            self.watch(None);
        }
        let open = self.case().map(|case| case.incident.id.clone());
        let text = match open {
            Some(id) => format!("{name} takes requests again; incident {id} is still open"),
            None => format!("{name} takes requests again"),
        };
        self.reply(ticket, OrderAnswer::Done(text));
    }

    pub(super) fn restart_by_operator(&mut self, ticket: OrderTicket, terms: &OrderTerms) {
        if let Err(why) = self.may_restart_by_operator(terms) {
            self.reply(ticket, OrderAnswer::Refused(why));
            return;
        }
        self.tell("an operator ordered a restart");
        let name = self.full_name();
        self.follow(ticket, format!("{name} is restarted"));
        let now = self.now;
        let Some(case) = self.server.case.as_deref_mut() else {
            self.order_routine(PlannedKind::Restart, Author::Person, FaultKind::Unknown);
            return;
        };
        case.action_ended(
            now,
            ActionOutcome::Failed,
            Some("an operator ordered a restart".to_owned()),
        );
        self.restart_for_person();
    }

    /// Orders the restart of a server with an open incident on behalf of a person.
    pub(super) fn restart_for_person(&mut self) {
        let Some(case) = self.server.case.as_deref_mut() else {
            return;
        };
        case.by_person = true;
        let slot = case.steps.iter().position(|step| *step == Action::Restart);
        let step = slot.unwrap_or_else(|| {
            case.steps.push(Action::Restart);
            case.steps.len() - 1
        });
        self.restart_now(step);
    }

    fn may_restart_by_operator(&self, terms: &OrderTerms) -> Result<(), String> {
        let name = self.full_name();
        if !self.server.managed.restarts() {
            return Err(format!(
                "evenkeel does not run {name} and has no command that restarts it (`managed_by`)"
            ));
        }
        let case = self.server.case.as_deref();
        let acts =
            case.is_some_and(|case| matches!(case.phase, CasePhase::Acting { order: Some(_), .. }));
        let routine = self.server.routine.as_deref();
        if acts || routine.is_some_and(|routine| routine.order.is_some()) {
            return Err(format!(
                "an action on {name} is in progress; wait until it has ended"
            ));
        }
        if self.server.facts.process.down.is_none() && self.failed_starts > 0 && !terms.force {
            let (service, n) = (&self.spec.name, self.failed_starts);
            let start = if n == 1 {
                "1 server does not start".to_owned()
            } else {
                format!("{n} servers do not start")
            };
            return Err(format!(
                "{start} in {service} since the last restart: {name}, which is running, might not start again either; use --force to do it anyway"
            ));
        }
        if self.server.serves() && !terms.force {
            self.is_restarted_alone()?;
        }
        if self.server.serves() && self.capacity.others_serving == 0 && !terms.force {
            let service = &self.spec.name;
            return Err(format!(
                "no other server of {service} is in service: during a restart of {name} its requests would fail; use --force to do it anyway"
            ));
        }
        Ok(())
    }

    /// Servers that run are restarted one after the other, so that a version that cannot start costs one of them.
    pub(super) fn is_restarted_alone(&self) -> Result<(), String> {
        let (before, after) = &self.peers;
        let mut peers = before.iter().chain(after.iter());
        let Some(other) = peers.find(|peer| peer.is_being_restarted()) else {
            return Ok(());
        };
        let (service, other) = (&self.spec.name, &other.name);
        Err(format!(
            "{service}/{other} is being restarted; wait for its end (--wait does), or use --force"
        ))
    }

    fn tell(&mut self, text: &str) {
        let now = self.now;
        if let Some(case) = self.case() {
            case.note(now, "action", text.to_owned());
        }
    }

    /// Ends a maintenance, or puts a server back that evenkeel has taken out.
    pub(super) fn restore_by_operator(&mut self, ticket: OrderTicket) {
        let name = self.full_name();
        if self.server.held.is_none() {
            self.restore_ejected(ticket);
            return;
        }
        self.server.answer(
            OrderAnswer::Failed("another order replaced it".to_owned()),
            self.out,
        );
        self.server.asked = Some(ticket);
        self.end_maintenance();
        self.server.answer(
            OrderAnswer::Accepted(format!(
                "{name} is being verified, then it takes requests again"
            )),
            self.out,
        );
    }
}
