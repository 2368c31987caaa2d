//! Executes the keeper's outputs.

use std::time::Duration;

use evenkeel_core::{Directive, EjectionReason, Exit, Instant, Observation, StartFailure};
use evenkeel_fault::contract::{ActionOrder, Managed, ProbePace};
use evenkeel_fault::incident::ActionOutcome;
use evenkeel_fault::policy::Action;
use evenkeel_fault::{Input, MaintenanceRecord, Output};

use super::servers::Condition;
use super::{NAMES, World, ms};

impl World {
    pub(super) fn carry_out(&mut self, output: &Output) {
        match output {
            Output::Directive(directive) => self.direct(*directive),
            Output::Act(order) => self.act(order),
            Output::Examine {
                id,
                server,
                timeout,
            } => self.examine(*id, server.index as usize, *timeout),
            Output::Pace { server, pace } => {
                let sim = &mut self.sims[server.index as usize];
                sim.pace = *pace;
                sim.next_probe = match pace {
                    ProbePace::Every(_) => self.now,
                    ProbePace::Fast => self.now + self.spec.detect.probe.fast,
                    ProbePace::Normal | ProbePace::Paused => {
                        self.now + self.spec.detect.probe.every
                    }
                };
            }
            Output::Record(incident) => {
                self.incidents
                    .insert(incident.id.clone(), (**incident).clone());
            }
            Output::Maintenance {
                service: _,
                server,
                maintenance: None,
            } => {
                self.maintenance.remove(server);
            }
            Output::Maintenance {
                service: _,
                server,
                maintenance: Some(maintenance),
            } => {
                let name = |index: u32| NAMES[index as usize].to_owned();
                let record = MaintenanceRecord {
                    service: "shop".to_owned(),
                    server: server.map(name),
                    maintenance: (**maintenance).clone(),
                };
                self.maintenance.insert(*server, record);
            }
            Output::Shapes(orders) => {
                assert!(orders.until > self.now, "they do not expire at once");
                assert!(orders.refused.len() + orders.watched.len() <= 64);
                self.shapes = Some((**orders).clone());
            }
            Output::Service(orders) => {
                self.closing.follow(orders, self.now);
                self.ordered = (**orders).clone();
            }
            Output::Gate { service: _, open } => self.gate = *open,
            Output::Answer { ticket, answer } => {
                let answers = &mut self.answers[usize::try_from(ticket.0).expect("small")];
                assert!(
                    answers.last().is_none_or(|last| !last.is_last()),
                    "one last answer"
                );
                answers.push(answer.clone());
            }
        }
    }

    pub(super) fn direct(&mut self, directive: Directive) {
        let now = self.now;
        let sim = &mut self.sims[directive.server().index as usize];
        match directive {
            Directive::Eject { verdict, until, .. } => {
                assert!(until > now);
                match verdict {
                    EjectionReason::Suspected => sim.out_until = until,
                    EjectionReason::Hung => sim.hung_until = until,
                    EjectionReason::Known => sim.known_until = until,
                }
                sim.trial_until = Instant::ZERO;
            }
            Directive::Trial { until, .. } => {
                sim.out_until = Instant::ZERO;
                sim.hung_until = Instant::ZERO;
                sim.known_until = Instant::ZERO;
                sim.trial_until = until;
            }
            Directive::Rescue { .. } => {
                let out_until = sim.known_until.max(sim.hung_until).max(sim.out_until);
                assert!(out_until > now, "it is out");
            }
            Directive::Repair { until, .. } => sim.repaired_until = until,
            Directive::Drain { .. } => sim.drained = true,
            Directive::Restore { .. } => {
                sim.out_until = Instant::ZERO;
                sim.hung_until = Instant::ZERO;
                sim.known_until = Instant::ZERO;
                sim.trial_until = Instant::ZERO;
                sim.repaired_until = Instant::ZERO;
                sim.drained = false;
            }
        }
    }

    pub(super) fn act(&mut self, order: &ActionOrder) {
        let index = order.server.index as usize;
        let (now, id) = (self.now, order.id);
        let mut answer = |after: u64, outcome: ActionOutcome, detail: Option<&str>| {
            let at = now + ms(after);
            let detail = detail.map(str::to_owned);
            self.pending.push((
                at,
                Input::ActionEnded {
                    id,
                    at,
                    outcome,
                    detail,
                },
            ));
        };
        match order.action {
            Action::Restart => {
                let reborn = self.sims[index].reborn;
                if reborn == Condition::Unstartable {
                    answer(5, ActionOutcome::Failed, Some("no such file: ./shop"));
                    let failure = StartFailure {
                        reason: "./shop: no such file".to_owned(),
                        changed: self.changed.clone(),
                    };
                    self.signal(ms(4), index, Observation::StartFailed(Box::new(failure)));
                } else {
                    answer(12, ActionOutcome::Done, None);
                    let living = !matches!(
                        self.sims[index].condition,
                        Condition::Dead | Condition::Unstartable
                    );
                    if living && self.sims[index].managed == Managed::Child {
                        let uptime = now - self.sims[index].since;
                        self.die(index, asked_exit(None, Some(9), uptime));
                    }
                    self.start(index, reborn, 10);
                }
                self.restarts.push((now, order.server, order.clone()));
            }
            Action::RollBack => {
                answer(
                    20,
                    ActionOutcome::Done,
                    Some("rolled back to the copy of shop"),
                );
                self.roll_backs += 1;
                let back = self.rolls_back_to;
                self.sims.iter_mut().for_each(|sim| sim.reborn = back);
            }
            Action::Stop => {
                answer(5, ActionOutcome::Done, None);
                let uptime = now - self.sims[index].since;
                self.die(index, asked_exit(Some(0), None, uptime));
            }
            _ => answer(20, ActionOutcome::Done, Some("printed this")),
        }
    }
}

/// A requested process exit.
fn asked_exit(code: Option<i32>, signal: Option<i32>, uptime: Duration) -> Exit {
    Exit {
        code,
        signal,
        asked: true,
        uptime,
        last_lines: vec![],
        guardian: None,
        port_holder: None,
        changed: None,
        changed_since: None,
    }
}
