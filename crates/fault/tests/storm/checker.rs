//! Invariants checked after every step.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use evenkeel_core::{Directive, EjectionReason, Instant, Observation, Outcome, Signal};
use evenkeel_fault::contract::{ActionOrder, OrderTicket};
use evenkeel_fault::incident::IncidentStatus;
use evenkeel_fault::incident::invariants::violations;
use evenkeel_fault::policy::{Action, Mode};
use evenkeel_fault::{FaultKind, Output};

use crate::{CAP, LIMIT, SERVERS};

/// What is checked of every step.
#[derive(Default)]
pub(crate) struct Checker {
    pub(crate) with_operators: bool,
    pub(crate) acted: Vec<(Instant, u32)>,
    pub(crate) out: [bool; SERVERS as usize],
    pub(crate) dead: [bool; SERVERS as usize],
    pub(crate) kinds: [Option<FaultKind>; SERVERS as usize],
    pub(crate) failed_in_row: [u32; SERVERS as usize],
    /// The mode of the service.
    pub(crate) mode: Option<Mode>,
    /// Whether its process certainly runs: nothing was done to it since its start, which was reported in an earlier
    /// step.
    pub(crate) perhaps_dead: [bool; SERVERS as usize],
    /// Started in this step.
    pub(crate) started: [bool; SERVERS as usize],
    /// Running servers that are being changed, with the incident.
    pub(crate) changing: BTreeMap<u32, String>,
    /// So many attempts in a row had an answer.
    pub(crate) answered_in_row: [u32; SERVERS as usize],
    /// What began before says how the server was, not how it is: its process was started, or its last incident was closed.
    pub(crate) since: [Instant; SERVERS as usize],
    /// It served before this step: others may have been taken out before its process ended or an operator took it out.
    pub(crate) has_served: [bool; SERVERS as usize],
    /// Not configured now.
    pub(crate) gone: [bool; SERVERS as usize],
    /// Incidents that were recorded as closed.
    pub(crate) closed: BTreeSet<String>,
    /// Orders without their last answer.
    pub(crate) open_tickets: BTreeSet<OrderTicket>,
}

impl Checker {
    pub(crate) fn hear(&mut self, signal: &Signal) {
        let index = signal.server.index as usize;
        match &signal.observation {
            Observation::Attempt { latency, .. } | Observation::Probe { latency, .. }
                if signal.at.before(*latency) < self.since[index] =>
            {
                return;
            }
            Observation::Started { .. } => self.since[index] = signal.at,
            Observation::Attempt { .. }
            | Observation::Probe { .. }
            | Observation::Exited(_)
            | Observation::StartFailed(_)
            | Observation::Moved(_) => {}
        }
        let answered = &mut self.answered_in_row[index];
        match &signal.observation {
            Observation::Started { .. } => self.started[index] = true,
            Observation::Exited(_) | Observation::StartFailed(_) => {
                self.perhaps_dead[index] = true;
                self.started[index] = false;
            }
            Observation::Attempt {
                outcome: Outcome::Answered(_),
                ..
            } => {
                *answered += 1;
            }
            Observation::Probe { outcome, .. } if outcome.passed() => {}
            Observation::Attempt { .. } | Observation::Probe { .. } | Observation::Moved(_) => {
                *answered = 0;
            }
        }
        let dead = &mut self.dead[signal.server.index as usize];
        let failed = &mut self.failed_in_row[signal.server.index as usize];
        match &signal.observation {
            Observation::Exited(_) | Observation::StartFailed(_) => *dead = true,
            Observation::Started { .. } => *dead = false,
            Observation::Attempt { outcome, .. } if outcome.is_failure() => *failed += 1,
            Observation::Attempt { outcome, .. } if outcome.is_success() => *failed = 0,
            Observation::Attempt { .. } | Observation::Probe { .. } | Observation::Moved(_) => {}
        }
    }

    pub(crate) fn see(&mut self, now: Instant, outputs: &[Output]) {
        let mut taken_out = Vec::new();
        for output in outputs {
            match output {
                Output::Act(order) => self.acts(now, order),
                Output::Directive(directive) => {
                    if let Some(server) = self.direct(now, *directive) {
                        taken_out.push(server);
                    }
                }
                Output::Record(incident) => {
                    let was_closed = self.closed.contains(&incident.id);
                    assert!(!was_closed, "closed once: {incident:#?}");
                    if incident.status == IncidentStatus::Closed {
                        self.closed.insert(incident.id.clone());
                        self.changing.retain(|_, id| *id != incident.id);
                    }
                    assert!(incident.timeline.len() <= 400 && incident.actions.len() <= 110);
                    assert_eq!(violations(incident), Vec::<String>::new(), "{incident:#?}");
                    let text = serde_json::to_string(incident).expect("serialises");
                    let back: evenkeel_fault::Incident =
                        serde_json::from_str(&text).expect("parses");
                    assert_eq!(back.id, incident.id);
                    // One about evenkeel itself is about no server.
                    let Some(server) = incident.servers.first() else {
                        continue;
                    };
                    let index: usize = server.trim_start_matches('s').parse().expect("a number");
                    if incident.status == IncidentStatus::Closed {
                        self.since[index] = now;
                    }
                    // The request that crashed it says nothing about whether it serves; the exit does.
                    let mut kinds = incident.diagnosis.iter().map(|finding| finding.fault);
                    let own = kinds.find(|kind| *kind != FaultKind::PoisonRequest);
                    if own.is_some() || incident.diagnosis.is_empty() {
                        self.kinds[index] = own;
                    }
                }
                Output::Answer { ticket, answer } => {
                    let known = if answer.is_last() {
                        self.open_tickets.remove(ticket)
                    } else {
                        self.open_tickets.contains(ticket)
                    };
                    assert!(known, "an order is answered once: {answer:?}");
                }
                Output::Examine { .. }
                | Output::Pace { .. }
                | Output::Shapes(_)
                | Output::Service(_)
                | Output::Maintenance { .. }
                | Output::Gate { .. } => {}
            }
        }
        for &index in &taken_out {
            self.kept_serving(index, &taken_out);
            self.is_not_the_last_that_answers(index);
        }
        for (index, has_served) in self.has_served.iter_mut().enumerate() {
            *has_served = !self.out[index] && !self.dead[index];
        }
        for (perhaps_dead, started) in self.perhaps_dead.iter_mut().zip(&mut self.started) {
            *perhaps_dead &= !std::mem::take(started);
        }
    }

    pub(crate) fn acts(&mut self, now: Instant, order: &ActionOrder) {
        let server = order.server.index;
        assert!(matches!(
            order.action,
            Action::Restart | Action::Stop | Action::RollBack | Action::Exec(_)
        ));
        self.acts_by_the_rules(order);
        self.acted.push((now, server));
        let recent = self
            .acted
            .iter()
            .filter(|(at, index)| *index == server && now - *at < LIMIT.within);
        // Where servers are wanting, and for starts that are verified, only the back-off counts: eight steps up to its cap, then one
        // start per cap.
        let most = 8 + LIMIT.within.as_millis() / CAP.as_millis() + 1;
        assert!(
            self.with_operators || (recent.count() as u128) <= most,
            "more than {most} actions"
        );
    }

    /// The rules of the second check, as far as they can be seen from outside.
    fn acts_by_the_rules(&mut self, order: &ActionOrder) {
        let server = order.server.index;
        if self.with_operators {
            return;
        }
        assert_eq!(self.mode, Some(Mode::Automatic), "nobody has approved it");
        let place = server as usize;
        if !std::mem::replace(&mut self.perhaps_dead[place], true) {
            let others = self.changing.keys().filter(|other| **other != server);
            assert_eq!(others.count(), 0, "one restarter: {order:?}");
            self.changing.insert(server, order.incident.clone());
        }
    }

    /// A server that has answered all through this step and the one before.
    fn is_not_the_last_that_answers(&self, index: usize) {
        let others = (0..self.out.len()).filter(|other| *other != index);
        let others = others.filter(|other| !self.out[*other] && !self.dead[*other]);
        assert!(
            self.with_operators || self.answered_in_row[index] < 24 || others.count() > 0,
            "{index} was the last that answered"
        );
    }

    /// The server, if it is one that served until now and was only suspected.
    pub(crate) fn direct(&mut self, now: Instant, directive: Directive) -> Option<usize> {
        let index = directive.server().index as usize;
        let was_out = self.out[index] || self.dead[index];
        match directive {
            Directive::Eject { until, verdict, .. } => {
                let by_hand = self.with_operators && until == Instant::NEVER;
                assert!(by_hand || until > now && until <= now + Duration::from_secs(6));
                self.out[index] = true;
                (verdict != EjectionReason::Known && !was_out).then_some(index)
            }
            Directive::Trial { until, .. } => {
                assert!(until > now && until <= now + Duration::from_secs(6));
                // It takes a trickle: that is no service.
                self.out[index] = true;
                None
            }
            Directive::Rescue { .. } => {
                assert!(
                    self.out[index],
                    "only what is out of rotation is rescued from"
                );
                None
            }
            Directive::Repair { .. } => None,
            Directive::Drain { .. } => {
                self.out[index] = true;
                None
            }
            Directive::Restore { .. } => {
                self.out[index] = false;
                // It was verified. Who started the process of a server that evenkeel does not run is not told to it.
                self.dead[index] = false;
                None
            }
        }
    }

    pub(crate) fn kept_serving(&self, index: usize, taken_out: &[usize]) {
        let dead_or_deaf = self.kinds[index].is_some_and(evenkeel_fault::recover::serves_nothing);
        let costs_nothing = dead_or_deaf || self.failed_in_row[index] >= 5;
        let serving = (0..self.out.len())
            .filter(|other| !self.gone[*other])
            .filter(|other| {
                let serves = !self.out[*other] && !self.dead[*other];
                serves || self.has_served[*other] && !taken_out.contains(other)
            })
            .count();
        let there = self.gone.iter().filter(|gone| !**gone).count();
        assert!(
            costs_nothing || serving >= there.div_ceil(2),
            "{serving} left after {:?} of {index}",
            self.kinds[index]
        );
    }
}
