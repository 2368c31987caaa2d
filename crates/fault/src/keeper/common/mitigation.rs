//! What the user's playbook does about a shared cause: fail over to later tiers, shed requests, or serve the fallback.
//! All of it ends with the incident, or once the incident gets another diagnosis. Actions for single servers are
//! skipped: a shared cause is no reason to act on many servers.

use std::time::Duration;

use evenkeel_core::{ClosedRoute, Instant, LimitHint, ServiceOrders};

use crate::common_cause::{JudgedServer, Symptom};
use crate::incident::ActionOutcome;
use crate::keeper::server::WatchedServer;
use crate::keeper::service::WatchedService;
use crate::kind::FaultKind;
use crate::policy::{Action, Mode};
use crate::recover::{MeasureFacts, check_measure};

use super::CommonIncident;

/// After so long it has been seen whether a part is served …
const SEEN: Duration = Duration::from_secs(1);
/// … which is more than this. Then it is not answered for.
const SERVED: f64 = 0.1;
/// If more trials than this succeed, of this many recent ones, the requests reach the servers again.
const RETURNS: f64 = 0.3;
const ENOUGH: u64 = 10;

impl CommonIncident {
    /// Begins what the user's playbook says of the kind. What was done for another kind ends.
    pub(super) fn choose_mitigation(&mut self, now: Instant, service: &WatchedService) {
        self.end_mitigation(now);
        let recover = &service.spec.options.recover;
        // During a slow burn most requests succeed.
        if recover.mode == Mode::Off || self.cause.by_statistics {
            return;
        }
        let mut playbooks = recover.playbooks.iter();
        let playbook = playbooks.find(|playbook| playbook.when.contains(&self.cause.kind));
        self.mitigation.steps = playbook.map_or_else(Vec::new, |one| one.actions.clone());
        self.mitigation.at = now;
        self.mitigate(now, service);
    }

    /// Goes on with it as far as its waits allow.
    pub(super) fn mitigate(&mut self, now: Instant, service: &WatchedService) {
        if self.mitigation.fails_over
            && !behind(now, service).any(|(_, server, view)| still_answers(server, view))
        {
            self.mitigation.fails_over = false;
            let text = "later tiers fail, too: the first tier gets its requests again";
            self.case.note(now, "action", text.to_owned());
        }
        let succeeds = self.ends.clone().tally(now).total >= ENOUGH && self.served(now) > RETURNS;
        if self.mitigation.falls_back && succeeds {
            self.mitigation.falls_back = false;
            let text = "requests succeed: they reach the servers again";
            self.case.note(now, "action", text.to_owned());
        }
        while let Some(action) = self.mitigation.steps.get(self.mitigation.step).cloned() {
            if now < self.mitigation.at || action == Action::FallBack && !self.may_fall_back(now) {
                return;
            }
            self.mitigation.step += 1;
            if !self.is_vetoed(now, &action, service) {
                self.carry_out(now, &action, service);
            }
        }
    }

    /// Puts a measure for the whole service to the second check, unless it is refused before. A veto is recorded.
    fn is_vetoed(&mut self, now: Instant, action: &Action, service: &WatchedService) -> bool {
        let is_due = match action {
            Action::FailOver => self.later_tiers_carry(now, service),
            Action::Shed | Action::FallBack => true,
            Action::Eject
            | Action::Drain
            | Action::Restore
            | Action::Restart
            | Action::Stop
            | Action::RollBack
            | Action::Exec(_)
            | Action::Wait(_)
            | Action::Escalate => false,
        };
        let tier = |index: usize| service.spec.servers.get(index).map_or(0, |spec| spec.tier);
        let servers = service.servers.iter().enumerate();
        let facts = MeasureFacts {
            mode: service.spec.options.recover.mode,
            in_maintenance: service.is_suspended(),
            servers: servers
                .map(|(index, server)| server.facts_for_check(now, tier(index)))
                .collect(),
        };
        let Some(veto) = check_measure(action, &facts).err().filter(|_| is_due) else {
            return false;
        };
        let why = format!("second check: {}", veto.words());
        self.case
            .action(now, action, ActionOutcome::Refused, Some(why));
        self.vetoes.push(veto);
        true
    }

    /// No fallback is needed while servers answer successfully, and partial service is better than none.
    fn may_fall_back(&self, now: Instant) -> bool {
        !self.mitigation.fails_over
            && now.since(self.case.detected) >= SEEN
            && self.served(now) <= SERVED
    }

    /// The share of the requests that it is about which succeeded lately.
    fn served(&self, now: Instant) -> f64 {
        let tally = self.ends.clone().tally(now);
        if tally.total == 0 {
            return 0.0;
        }
        1.0 - tally.hits as f64 / tally.total as f64
    }

    fn carry_out(&mut self, now: Instant, action: &Action, service: &WatchedService) {
        let (outcome, detail) = match action {
            Action::Wait(length) => {
                self.mitigation.at = now + *length;
                return;
            }
            Action::FailOver if self.mitigation.falls_back => return,
            Action::FailOver if self.later_tiers_carry(now, service) => {
                self.mitigation.fails_over = true;
                (
                    ActionOutcome::Done,
                    "later tiers get all but a few requests, which show when the first tier is back",
                )
            }
            Action::FailOver => (
                ActionOutcome::Refused,
                "no server in a later tier is healthy",
            ),
            Action::Shed if !service.spec.is_unlimited => (
                ActionOutcome::Refused,
                "every server has a configured limit already, which sheds requests",
            ),
            Action::Shed => {
                self.mitigation.sheds = true;
                self.bound(now, service);
                return;
            }
            Action::FallBack => {
                self.mitigation.falls_back = true;
                (
                    ActionOutcome::Done,
                    "failing requests get the fallback, except for trials, which show when it is back",
                )
            }
            Action::Eject
            | Action::Drain
            | Action::Restore
            | Action::Restart
            | Action::Stop
            | Action::RollBack
            | Action::Exec(_)
            | Action::Escalate => return,
        };
        self.case
            .action(now, action, outcome, Some(detail.to_owned()));
    }

    /// If there is more to do than the servers can, and no limit is configured, one is to be found.
    pub(super) fn find_limits(&mut self, now: Instant, service: &WatchedService) {
        let may = service.spec.options.recover.mode != Mode::Off && service.spec.is_unlimited;
        if may && self.cause.kind == FaultKind::Overload {
            self.bound(now, service);
        }
    }

    fn bound(&mut self, now: Instant, service: &WatchedService) {
        if !self.limits.is_empty() {
            return;
        }
        self.limits = service.load.hints();
        self.limits
            .resize(service.servers.len(), LimitHint::default());
        let detail = "each server without a configured limit gets as many requests at once as it can work on; \
                      the others wait for a moment, those that matter most first, or are answered 503";
        self.case.sheds(now, detail.to_owned());
    }

    /// Takes back what the playbook has done.
    pub(super) fn end_mitigation(&mut self, now: Instant) {
        let mitigation = std::mem::take(&mut self.mitigation);
        if mitigation.fails_over {
            let text = "the first tier gets its requests again";
            self.case.note(now, "action", text.to_owned());
        }
        if mitigation.falls_back {
            let text = "requests reach the servers again";
            self.case.note(now, "action", text.to_owned());
        }
    }

    /// Whether a server behind the first tier is in rotation and shows nothing.
    fn later_tiers_carry(&self, now: Instant, service: &WatchedService) -> bool {
        behind(now, service).any(|(index, server, view)| {
            server.is_well() && view.symptom.is_none() && !self.cause.servers.contains(&index)
        })
    }

    /// Adds the directives for the service.
    pub(in crate::keeper) fn order(&self, orders: &mut ServiceOrders) {
        orders.limits = self.limits().to_vec();
        orders.fails_over = self.mitigation.fails_over;
        orders.until_success = self.mitigation.falls_back;
        orders.closed = self.closed();
        if self.mitigation.falls_back {
            let failing = self.failing_routes();
            orders.closed = if failing.is_empty() {
                vec![ClosedRoute::All]
            } else {
                failing
            };
        }
    }

    /// The measures in words.
    pub(in crate::keeper) fn mitigation_words(&self) -> Vec<String> {
        let mut texts = Vec::new();
        if self.mitigation.fails_over {
            texts.push("the first tier fails: later tiers get all but a few requests".to_owned());
        }
        if self.mitigation.falls_back {
            texts.push("failing requests get the fallback, except for trials".to_owned());
        }
        texts
    }
}

/// The servers behind the first tier, with what each shows.
fn behind(
    now: Instant,
    service: &WatchedService,
) -> impl Iterator<Item = (usize, &WatchedServer, JudgedServer)> {
    let views = service.views(now).into_iter().enumerate();
    views.filter_map(move |(index, view)| {
        let spec = service.spec.servers.get(index)?;
        let server = service.servers.get(index).filter(|_| spec.tier > 0)?;
        Some((index, server, view?))
    })
}

/// Whether it answers requests, be it slowly.
fn still_answers(server: &WatchedServer, view: JudgedServer) -> bool {
    let symptom = view.symptom;
    server.serves() && matches!(symptom, None | Some(Symptom::Lags | Symptom::FailsProbes))
}
