//! A person's orders. They go before the keeper's own: no limit holds them up, and each is told what came of it.

use evenkeel_core::{Instant, ServerId, ServiceId};

use crate::contract::{OperatorOrder, OrderAnswer, Output, Ticket};
use crate::incident::{ActionOutcome, End, Status};
use crate::kind::FaultKind;
use crate::maintenance::{OrderTerms, TakenOut};
use crate::policy::Action;
use crate::recover::Author;

use super::phase::Phase;
use super::shown::{RoutineKind, Shown};
use super::{Keeper, Work};

impl Keeper {
    pub(super) fn operator(
        &mut self,
        now: Instant,
        ticket: Ticket,
        order: OperatorOrder,
        out: &mut Vec<Output>,
    ) {
        let (at, told) = ((now, ticket), ticket);
        match order {
            OperatorOrder::Approve(id) => self.of_incident(at, &id, out, |work| work.approve(told)),
            OperatorOrder::Reject(id) => self.of_incident(at, &id, out, |work| work.reject(told)),
            OperatorOrder::Close(id) => {
                if let Some(place) = self.common_of(&id) {
                    self.close_common_by_hand(at, place, &id, out);
                    return;
                }
                if let Some(place) = self.poison_of(&id) {
                    self.close_poison_by_hand(at, place, &id, out);
                    return;
                }
                if self.close_self_by_hand(at, &id, out) {
                    return;
                }
                self.of_incident(at, &id, out, |work| work.close_by_hand(told));
            }
            OperatorOrder::Drain(server, terms) => {
                self.of_server(at, server, out, |work| {
                    work.hold_by_hand(told, TakenOut::Drained, &terms);
                });
            }
            OperatorOrder::Eject(server, terms) => {
                self.of_server(at, server, out, |work| {
                    work.hold_by_hand(told, TakenOut::Ejected, &terms);
                });
            }
            OperatorOrder::Restore(server) => {
                self.of_server(at, server, out, |work| work.restore_by_hand(told));
            }
            OperatorOrder::Restart(server, terms) => {
                self.of_server(at, server, out, |work| work.restart_by_hand(told, &terms));
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
        (now, ticket): (Instant, Ticket),
        server: ServerId,
        out: &mut Vec<Output>,
        what: impl FnOnce(&mut Work<'_>),
    ) {
        let service = self.services.get(server.service.0 as usize);
        let known = service.and_then(|service| service.servers.get(server.index as usize));
        if known.is_some_and(|server| server.vacant.is_none()) {
            self.with(now, server, out, what);
            return;
        }
        let answer = OrderAnswer::Refused("there is no server at this place now".to_owned());
        out.push(Output::Answer { ticket, answer });
    }

    fn of_incident(
        &mut self,
        (now, ticket): (Instant, Ticket),
        id: &str,
        out: &mut Vec<Output>,
        what: impl FnOnce(&mut Work<'_>),
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
            Some(_) => "nothing waits for approval: nothing is done to servers for what they share"
                .to_owned(),
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

    /// A person closes the incident of a service as it is.
    fn close_common_by_hand(
        &mut self,
        (now, ticket): (Instant, Ticket),
        place: usize,
        id: &str,
        out: &mut Vec<Output>,
    ) {
        if let Some(common) = &mut self.services[place].common {
            let text = "closed by a person".to_owned();
            common.case.note(now, "approval", text);
        }
        self.close_common(now, place, None, End::ClosedByPerson, out);
        let answer = OrderAnswer::Done(format!("incident {id} is closed"));
        out.push(Output::Answer { ticket, answer });
    }
}

impl Keeper {
    /// A person closes the incident of a request that brought servers down. What is in quarantine stays there.
    fn close_poison_by_hand(
        &mut self,
        (now, ticket): (Instant, Ticket),
        place: usize,
        id: &str,
        out: &mut Vec<Output>,
    ) {
        if let Some(open) = &mut self.services[place].poison.open {
            let text = "closed by a person".to_owned();
            open.case.note(now, "approval", text);
        }
        self.close_poison(now, place, None, End::ClosedByPerson, out);
        let answer = OrderAnswer::Done(format!("incident {id} is closed"));
        out.push(Output::Answer { ticket, answer });
    }

    /// A person ends the quarantine of a service's requests.
    fn lift_quarantine(
        &mut self,
        (now, ticket): (Instant, Ticket),
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

impl Work<'_> {
    /// The answers to this order come as the work on it goes on.
    fn follow(&mut self, ticket: Ticket, text: String) {
        let replaced = OrderAnswer::Failed("another order took its place".to_owned());
        self.server.answer(replaced, self.out);
        self.server.asked = Some(ticket);
        self.server.answer(OrderAnswer::Accepted(text), self.out);
    }

    /// The incident that a person is to decide about; else says why there is nothing to decide.
    fn proposal(&mut self, ticket: Ticket) -> Option<&mut super::case::Case> {
        let status = self.case().map(|case| case.incident.status);
        if status != Some(Status::AwaitingApproval) {
            let status = status.map_or("closed", Status::word);
            let why = format!("nothing waits for approval: the incident is {status}");
            self.reply(ticket, OrderAnswer::Refused(why));
            return None;
        }
        self.case()
    }

    fn approve(&mut self, ticket: Ticket) {
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
        self.set_status(Status::Recovering);
        self.run(proposal.step);
    }

    fn reject(&mut self, ticket: Ticket) {
        let now = self.now;
        let Some(case) = self.proposal(ticket) else {
            return;
        };
        if let Some(proposal) = &mut case.proposal {
            proposal.rejected = true;
        }
        case.note(now, "approval", "rejected: it is only watched".to_owned());
        let text = format!("rejected {}: it is only watched", case.incident.id);
        self.set_status(Status::Open);
        self.reply(ticket, OrderAnswer::Done(text));
    }

    fn close_by_hand(&mut self, ticket: Ticket) {
        let now = self.now;
        if let Some(unproven) = &mut self.server.unproven {
            let case = &mut unproven.case;
            case.note(now, "approval", "closed by a person".to_owned());
            let text = format!("incident {} is closed", case.incident.id);
            self.close_unproven(End::ClosedByPerson, false);
            self.reply(ticket, OrderAnswer::Done(text));
            return;
        }
        if let Some(case) = self.case() {
            case.note(now, "approval", "closed by a person".to_owned());
            let text = format!("incident {} is closed", case.incident.id);
            self.close(End::ClosedByPerson);
            self.reply(ticket, OrderAnswer::Done(text));
        }
        if self.server.facts.process.down.is_none() {
            self.server.restore(true, self.out);
        }
    }

    /// Puts a server back that evenkeel, not a person, keeps out.
    pub(super) fn restore_ejected(&mut self, ticket: Ticket) {
        let name = self.full_name();
        if self.server.facts.process.down.is_some() {
            let why = format!("the process of {name} does not run: restart it instead");
            self.reply(ticket, OrderAnswer::Refused(why));
            return;
        }
        if self.server.shown == Shown::Serving {
            self.reply(
                ticket,
                OrderAnswer::Refused(format!("{name} is in service")),
            );
            return;
        }
        self.server.release(self.out);
        self.tell("a person restored the server");
        if matches!(
            self.server.case.as_deref().map(|case| &case.phase),
            Some(Phase::Verifying { .. })
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

    pub(super) fn restart_by_hand(&mut self, ticket: Ticket, terms: &OrderTerms) {
        if let Err(why) = self.may_restart_by_hand(terms) {
            self.reply(ticket, OrderAnswer::Refused(why));
            return;
        }
        self.tell("a person ordered a restart");
        let name = self.full_name();
        self.follow(ticket, format!("{name} is restarted"));
        let now = self.now;
        let Some(case) = self.server.case.as_deref_mut() else {
            self.order_routine(RoutineKind::Restart, Author::Person, FaultKind::Unknown);
            return;
        };
        case.action_ended(
            now,
            ActionOutcome::Failed,
            Some("a person ordered a restart".to_owned()),
        );
        case.by_person = true;
        let place = case.steps.iter().position(|step| *step == Action::Restart);
        let step = place.unwrap_or_else(|| {
            case.steps.push(Action::Restart);
            case.steps.len() - 1
        });
        self.restart_now(step);
    }

    fn may_restart_by_hand(&self, terms: &OrderTerms) -> Result<(), String> {
        let name = self.full_name();
        if !self.server.managed.restarts() {
            return Err(format!(
                "evenkeel does not run {name} and has no command that restarts it (`managed_by`)"
            ));
        }
        let case = self.server.case.as_deref();
        let acts =
            case.is_some_and(|case| matches!(case.phase, Phase::Acting { order: Some(_), .. }));
        let routine = self.server.routine.as_deref();
        if acts || routine.is_some_and(|routine| routine.order.is_some()) {
            return Err(format!(
                "an action on {name} is under way; wait for its end"
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
                "{start} in {service} since the last restart: {name}, which runs, would perhaps not start again either; --force does it all the same"
            ));
        }
        if self.server.serves() && !terms.force {
            self.is_restarted_alone()?;
        }
        if self.server.serves() && self.capacity.others_serving == 0 && !terms.force {
            let service = &self.spec.name;
            return Err(format!(
                "no other server of {service} is in service: during a restart of {name} its requests would have no answer; --force does it all the same"
            ));
        }
        Ok(())
    }

    /// Servers that run are restarted one after the other, so that a version that cannot start costs one of them.
    fn is_restarted_alone(&self) -> Result<(), String> {
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
    pub(super) fn restore_by_hand(&mut self, ticket: Ticket) {
        let name = self.full_name();
        if self.server.held.is_none() {
            self.restore_ejected(ticket);
            return;
        }
        self.server.answer(
            OrderAnswer::Failed("another order took its place".to_owned()),
            self.out,
        );
        self.server.asked = Some(ticket);
        self.end_maintenance();
        self.server.answer(
            OrderAnswer::Accepted(format!("{name} is verified, then it takes requests again")),
            self.out,
        );
    }
}
