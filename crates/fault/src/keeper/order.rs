//! A person's orders. They go before the keeper's own: no guard and no limit holds them up.

use evenkeel_core::{Instant, ServerId, Verdict};

use crate::contract::{ActionOrder, OperatorOrder, Output, Pace};
use crate::incident::{ActionOutcome, Status};
use crate::kind::FaultKind;
use crate::policy::Action;
use crate::verify::Verification;

use super::case::Phase;
use super::server::{Held, Routine};
use super::{Keeper, Work};

impl Keeper {
    pub(super) fn operator(&mut self, now: Instant, order: OperatorOrder, out: &mut Vec<Output>) {
        match order {
            OperatorOrder::Drain(server)
            | OperatorOrder::Eject(server)
            | OperatorOrder::Restore(server)
            | OperatorOrder::Restart(server)
                if self.is_vacant(server) => {}
            OperatorOrder::Approve(id) => self.of_incident(now, &id, out, |work| work.approve()),
            OperatorOrder::Reject(id) => self.of_incident(now, &id, out, |work| work.reject()),
            OperatorOrder::Close(id) => {
                self.of_incident(now, &id, out, |work| work.close_by_hand());
            }
            OperatorOrder::Drain(server) => {
                self.with(now, server, out, |work| work.hold_by_hand(Held::Drained));
            }
            OperatorOrder::Eject(server) => {
                self.with(now, server, out, |work| work.hold_by_hand(Held::Ejected));
            }
            OperatorOrder::Restore(server) => {
                self.with(now, server, out, |work| work.restore_by_hand());
            }
            OperatorOrder::Restart(server) => {
                self.with(now, server, out, |work| work.restart_by_hand());
            }
        }
    }

    fn of_incident(
        &mut self,
        now: Instant,
        id: &str,
        out: &mut Vec<Output>,
        what: impl FnOnce(&mut Work<'_>),
    ) {
        let server: Option<ServerId> = self.find(|server| {
            server
                .case
                .as_ref()
                .is_some_and(|case| case.incident.id == id)
        });
        if let Some(server) = server {
            self.with(now, server, out, what);
        }
    }
}

impl Work<'_> {
    fn approve(&mut self) {
        let now = self.now;
        let Some(case) = self
            .case()
            .filter(|case| case.incident.status == Status::AwaitingApproval)
        else {
            return;
        };
        case.approved = true;
        case.note(now, "approval", "approved".to_owned());
        self.set_status(Status::Recovering);
        self.run(0);
    }

    fn reject(&mut self) {
        let now = self.now;
        let Some(case) = self
            .case()
            .filter(|case| case.incident.status == Status::AwaitingApproval)
        else {
            return;
        };
        case.note(now, "approval", "rejected: it is only watched".to_owned());
        self.set_status(Status::Open);
    }

    fn close_by_hand(&mut self) {
        let now = self.now;
        if let Some(case) = self.case() {
            case.note(now, "approval", "closed by a person".to_owned());
        }
        self.close();
        if self.server.facts.process.down.is_none() {
            self.server.restore(true, self.out);
        }
    }

    fn hold_by_hand(&mut self, held: Held) {
        self.server.hold(held, self.out);
        self.tell(match held {
            Held::Drained => "a person drained the server",
            Held::Ejected => "a person ejected the server",
        });
    }

    fn restore_by_hand(&mut self) {
        self.server.release(self.out);
        self.tell("a person restored the server");
        if self.server.facts.process.down.is_some() && !self.is_off() {
            self.server.eject(self.now, Verdict::Known, self.out);
        } else if matches!(
            self.server.case.as_deref().map(|case| &case.phase),
            Some(Phase::Verifying { .. })
        ) {
            self.watch(None);
        }
    }

    fn restart_by_hand(&mut self) {
        if !self.server.managed.restarts() {
            self.tell("a person asked for a restart, but evenkeel does not run this server");
            return;
        }
        self.tell("a person ordered a restart");
        let (now, server) = (self.now, self.server.id);
        if let Some(case) = self.server.case.as_deref_mut() {
            if matches!(case.phase, Phase::Acting { order: Some(_), .. }) {
                return;
            }
            case.action_ended(
                now,
                ActionOutcome::Failed,
                Some("a person ordered a restart".to_owned()),
            );
            let place = case.steps.iter().position(|step| *step == Action::Restart);
            let step = place.unwrap_or_else(|| {
                case.steps.push(Action::Restart);
                case.steps.len() - 1
            });
            self.restart_now(step);
            return;
        }
        if self
            .server
            .routine
            .as_ref()
            .is_some_and(|routine| routine.order.is_some())
        {
            return;
        }
        let order = self.order();
        self.server.starting = None;
        self.server.eject(now, Verdict::Known, self.out);
        self.server.set_pace(Pace::Paused, self.out);
        let verification = Verification::new(self.rules(true));
        self.server.routine = Some(Box::new(Routine {
            order: Some(order),
            verification,
        }));
        self.out.push(Output::Act(Box::new(ActionOrder {
            id: order,
            server,
            action: Action::Restart,
            at_once: false,
            incident: String::new(),
            fault: FaultKind::Unknown,
        })));
    }

    fn tell(&mut self, text: &str) {
        let now = self.now;
        if let Some(case) = self.case() {
            case.note(now, "action", text.to_owned());
        }
    }
}
