//! State of one server: its history, the published state, its probe pace, its open case.

use std::net::IpAddr;
use std::time::Duration;

use evenkeel_core::{Directive, EjectionReason, Instant, ServerId};

use crate::common_cause::Symptom;
use crate::contract::{
    Managed, OrderAnswer, OrderId, OrderTicket, Output, ProbePace, ServerSpec, ServerStatus,
};
use crate::detect::Comparison;
use crate::kind::FaultKind;
use crate::maintenance::TakenOut;
use crate::policy::FaultOptions;
use crate::recover::{RecentActions, Repairs};
use crate::signal::{DownReason, ServerHistory};
use crate::verify::{TRICKLE_SHARE, Verification};

use super::case::Case;
use super::phase::CasePhase;
use super::shown::{EXPIRES, OperatorHold, PlannedVerification, PublishedState, RENEWED};
use super::start::StartTimes;
use super::unproven::Unproven;

/// One failed attempt puts a server in doubt for so long.
pub(super) const DOUBT: Duration = Duration::from_secs(2);

/// One server.
#[derive(Debug)]
pub(super) struct WatchedServer {
    pub(super) id: ServerId,
    pub(super) name: String,
    pub(super) managed: Managed,
    /// The machine that it is on, as far as its address in the file tells.
    pub(super) host: Option<IpAddr>,
    /// Whether its service can go back to the version that ran before.
    pub(super) rolls_back: bool,
    pub(super) facts: ServerHistory,
    pub(super) repairs: Repairs,
    /// Recent actions on it, as counted by the second check.
    pub(super) lately: RecentActions,
    pub(super) case: Option<Box<Case>>,
    /// Its last incident, if it is not proven to be over.
    pub(super) unproven: Option<Box<Unproven>>,
    pub(super) routine: Option<Box<PlannedVerification>>,
    /// Its first start: no probe needs to pass before this moment.
    pub(super) starting: Option<Instant>,
    pub(super) held: Option<Box<OperatorHold>>,
    /// The balancer holds an order about it that does not expire.
    lasting: bool,
    /// An operator's order that has not been executed yet.
    pub(super) asked: Option<OrderTicket>,
    pub(super) shown: PublishedState,
    /// Since when it has been out of rotation for a fault.
    pub(super) out_since: Option<Instant>,
    /// Whether its requests in flight were sent elsewhere since it was ejected.
    pub(super) rescued: bool,
    /// Whether the balancer knows that it is being repaired.
    repair_told: bool,
    pub(super) renew_at: Instant,
    pub(super) pace: ProbePace,
    pub(super) doubt_until: Option<Instant>,
    pub(super) slow: Option<Box<Comparison>>,
    /// The slot is empty, or still empty.
    pub(super) vacant: Option<ServerStatus>,
    pub(super) starts: StartTimes,
    /// It cannot start, as another server, which is tried first.
    pub(super) follows: bool,
    /// The longest hang that ended by itself.
    pub(super) longest_pause: Option<Duration>,
    pub(super) order_limit: Duration,
    /// Its process runs by an earlier configuration.
    pub(super) is_outdated: bool,
    /// Why the replacement of its process for a changed configuration failed.
    pub(super) replace_failed: Option<String>,
    pub(super) rise: u32,
}

impl WatchedServer {
    pub(super) fn new(
        id: ServerId,
        spec: &ServerSpec,
        options: &FaultOptions,
        peers: usize,
    ) -> Self {
        Self {
            id,
            name: spec.name.clone(),
            managed: spec.managed,
            host: spec.host(),
            rolls_back: spec.rolls_back,
            order_limit: spec.order_limit,
            facts: ServerHistory::new(&options.detect, peers),
            repairs: Repairs::default(),
            lately: RecentActions::default(),
            case: None,
            unproven: None,
            routine: None,
            starting: None,
            held: None,
            lasting: false,
            asked: None,
            shown: PublishedState::Serving,
            out_since: None,
            rescued: false,
            repair_told: false,
            renew_at: Instant::NEVER,
            pace: ProbePace::Normal,
            doubt_until: None,
            slow: None,
            vacant: None,
            starts: StartTimes::default(),
            follows: false,
            longest_pause: None,
            is_outdated: false,
            replace_failed: None,
            rise: options.detect.probe.rise.max(1),
        }
    }

    /// Whether it takes its full share of traffic.
    pub(super) fn serves(&self) -> bool {
        self.shown == PublishedState::Serving
            && self.held.is_none()
            && self.facts.process.down.is_none()
            && self.vacant.is_none()
    }

    /// Whether nothing is wrong with it, as far as is known.
    pub(super) fn is_well(&self) -> bool {
        self.case.is_none() && self.routine.is_none() && self.serves()
    }

    /// Whether it runs, or ran, and is being restarted or stopped for a fault.
    pub(super) fn is_being_changed(&self) -> bool {
        self.case.as_ref().is_some_and(|case| case.costly)
    }

    /// Whether its open incident may end in one of the whole service: nothing is being done to its process.
    pub(super) fn may_merge(&self) -> bool {
        self.facts.process.down.is_none()
            && self.case.as_ref().is_none_or(|case| {
                !case.repaired
                    && !case.costly
                    && !matches!(case.phase, CasePhase::Acting { order: Some(_), .. })
            })
    }

    /// Whether a successful attempt can change nothing here but numbers.
    pub(super) const fn is_quiet(&self) -> bool {
        self.case.is_none() && self.routine.is_none() && self.starting.is_none()
    }

    /// When its doubt ends: after a while, once the probes agree.
    pub(super) fn doubt_ends(&self) -> Option<Instant> {
        let probes = &self.facts.probes;
        let agree = probes.failed_in_row == 0
            && (probes.last.is_none() || probes.passed_in_row >= self.rise);
        self.doubt_until.filter(|_| agree && self.is_quiet())
    }

    /// Whether it is due for evaluation, because of time or a change of its record.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.wake() || self.case.as_ref().is_some_and(|case| case.changed)
    }

    pub(super) fn eject(&mut self, now: Instant, verdict: EjectionReason, out: &mut Vec<Output>) {
        self.out_since.get_or_insert(now);
        if self.shown != PublishedState::Ejected(verdict) {
            self.show(now, PublishedState::Ejected(verdict), out);
        }
    }

    /// Whether it is much slower than its peers, or was when it was taken out.
    pub(super) fn is_slow(&self) -> bool {
        let has_case = |case: &Case| case.kind == FaultKind::SlowServer;
        self.slow.is_some() || self.case.as_deref().is_some_and(has_case)
    }

    /// The evidence against it: no answers at all, or something milder.
    pub(super) fn suspicion(&self) -> EjectionReason {
        let hangs = |case: &Case| {
            matches!(case.kind, FaultKind::ProcessHung | FaultKind::Unreachable)
                || matches!(case.symptom, Some(Symptom::Hangs | Symptom::Unreachable))
        };
        match self.case.as_deref() {
            Some(case) if hangs(case) => EjectionReason::Hung,
            _ => EjectionReason::Suspected,
        }
    }

    /// Rescues its requests in flight, once per ejection. Not for an operator's hold, which lets them finish.
    pub(super) fn rescue(&mut self, out: &mut Vec<Output>) {
        let is_out = matches!(self.shown, PublishedState::Ejected(_)) && self.held.is_none();
        if is_out && !self.rescued {
            self.rescued = true;
            out.push(Output::Directive(Directive::Rescue { server: self.id }));
        }
    }

    pub(super) fn trial(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.shown != PublishedState::Trial {
            // A trial does not end an order that lasts.
            if std::mem::take(&mut self.lasting) {
                out.push(Output::Directive(Directive::Restore {
                    server: self.id,
                    slowly: true,
                }));
            }
            self.show(now, PublishedState::Trial, out);
        }
    }

    /// Ends an ejection or a trial. Maintenance stays.
    pub(super) fn restore(&mut self, slowly: bool, out: &mut Vec<Output>) {
        if self.shown == PublishedState::Serving {
            return;
        }
        self.shown = PublishedState::Serving;
        self.out_since = None;
        self.rescued = false;
        self.renew_at = Instant::NEVER;
        if self.held.is_some() {
            self.show_held(out);
            return;
        }
        self.lasting = false;
        // The directive ends that as well.
        self.repair_told = false;
        out.push(Output::Directive(Directive::Restore {
            server: self.id,
            slowly,
        }));
    }

    /// Begins a maintenance, or changes its terms.
    pub(super) fn hold(&mut self, held: OperatorHold, out: &mut Vec<Output>) {
        self.held = Some(Box::new(held));
        self.show_held(out);
    }

    /// Tells the balancer of the maintenance. Such a directive does not expire.
    fn show_held(&mut self, out: &mut Vec<Output>) {
        let Some(held) = &self.held else { return };
        self.lasting = true;
        out.push(Output::Directive(match held.how {
            TakenOut::Drained => Directive::Drain { server: self.id },
            TakenOut::Ejected => Directive::Eject {
                server: self.id,
                verdict: EjectionReason::Known,
                until: Instant::NEVER,
            },
        }));
    }

    /// Puts it in service at once, whatever keeps it out.
    pub(super) fn release(&mut self, out: &mut Vec<Output>) {
        self.held = None;
        self.lasting = false;
        self.shown = PublishedState::Serving;
        self.out_since = None;
        self.rescued = false;
        self.repair_told = false;
        self.renew_at = Instant::NEVER;
        out.push(Output::Directive(Directive::Restore {
            server: self.id,
            slowly: true,
        }));
    }

    /// Answers the operator's order in progress, if there is one.
    pub(super) fn answer(&mut self, answer: OrderAnswer, out: &mut Vec<Output>) {
        let ticket = if answer.is_last() {
            self.asked.take()
        } else {
            self.asked
        };
        out.extend(ticket.map(|ticket| Output::Answer { ticket, answer }));
    }

    pub(super) fn set_pace(&mut self, pace: ProbePace, out: &mut Vec<Output>) {
        if self.pace != pace {
            self.pace = pace;
            out.push(Output::Pace {
                server: self.id,
                pace,
            });
        }
    }

    /// Renews what would expire.
    pub(super) fn renew(&mut self, now: Instant, out: &mut Vec<Output>) {
        if now >= self.renew_at {
            self.show(now, self.shown, out);
        }
    }

    fn show(&mut self, now: Instant, shown: PublishedState, out: &mut Vec<Output>) {
        self.shown = shown;
        self.rescued &= matches!(shown, PublishedState::Ejected(_));
        self.renew_at = now + RENEWED;
        let (server, until) = (self.id, now + EXPIRES);
        let directive = match (shown, self.held.as_ref()) {
            // Maintenance is the stronger one and does not expire; it needs no company.
            (_, Some(_)) => return,
            (PublishedState::Serving, None) => {
                self.renew_at = Instant::NEVER;
                return;
            }
            (PublishedState::Ejected(verdict), None) => Directive::Eject {
                server,
                verdict,
                until,
            },
            (PublishedState::Trial, None) => Directive::Trial {
                server,
                share: TRICKLE_SHARE,
                until,
            },
        };
        if self.repair_told {
            out.push(Output::Directive(Directive::Repair { server, until }));
        }
        out.push(Output::Directive(directive));
    }

    /// Publishes whether it is being repaired, if that has changed: before everything else about it from index `at` on,
    /// so that no request finds it out of service without knowing of the repair.
    pub(super) fn report_repair(&mut self, now: Instant, at: usize, out: &mut Vec<Output>) {
        let is_repaired = self.is_being_repaired();
        if is_repaired == self.repair_told {
            return;
        }
        self.repair_told = is_repaired;
        let (at, until) = if is_repaired {
            (at, now + EXPIRES)
        } else {
            (out.len(), now)
        };
        let server = self.id;
        out.insert(at, Output::Directive(Directive::Repair { server, until }));
    }

    /// Whether it is out of service and on its way back: started, repaired, or verified.
    fn is_being_repaired(&self) -> bool {
        let is_out = self.shown != PublishedState::Serving && self.held.is_none();
        is_out
            && matches!(
                self.state(),
                ServerStatus::Starting | ServerStatus::Recovering | ServerStatus::Verifying
            )
    }

    /// Its state, for operators.
    pub(super) fn state(&self) -> ServerStatus {
        if let Some(vacant) = self.vacant {
            return vacant;
        }
        if self.held.is_some() {
            return ServerStatus::Maintenance;
        }
        let out_of_service = || match self.shown {
            _ if self.facts.process.down.is_some() => ServerStatus::Down,
            PublishedState::Ejected(_) => ServerStatus::Ejected,
            PublishedState::Trial => ServerStatus::Verifying,
            PublishedState::Serving => ServerStatus::Doubtful,
        };
        if let Some(case) = &self.case {
            return match &case.phase {
                CasePhase::Acting { .. } => ServerStatus::Recovering,
                CasePhase::Verifying { verification, .. }
                    if verification.rules.ends || verification.in_trickle() =>
                {
                    ServerStatus::Verifying
                }
                CasePhase::Verifying { retry: Some(_), .. } if !case.escalated => {
                    ServerStatus::Recovering
                }
                CasePhase::Judged | CasePhase::Verifying { .. } | CasePhase::Examining { .. } => {
                    out_of_service()
                }
            };
        }
        match self.routine.as_deref() {
            Some(PlannedVerification { order: Some(_), .. }) => return ServerStatus::Recovering,
            Some(PlannedVerification { order: None, .. }) => return ServerStatus::Verifying,
            None => {}
        }
        if self.starting.is_some() {
            return ServerStatus::Starting;
        }
        match out_of_service() {
            ServerStatus::Doubtful if self.doubt_until.is_none() => ServerStatus::Up,
            state @ (ServerStatus::Doubtful
            | ServerStatus::Starting
            | ServerStatus::Up
            | ServerStatus::Ejected
            | ServerStatus::Recovering
            | ServerStatus::Verifying
            | ServerStatus::Maintenance
            | ServerStatus::Down
            | ServerStatus::Unresolved
            | ServerStatus::Absent) => state,
        }
    }

    /// Its last start failed: the process could not be started, or ended before it was ever ready.
    pub(super) fn cannot_start(&self) -> bool {
        let has_failed = match &self.facts.process.down {
            Some(DownReason::NotStarted { .. }) => true,
            Some(DownReason::Ended(ended)) => {
                ended.ready_for.is_none() && ended.exit.guardian.is_none()
            }
            Some(DownReason::Stopped) | None => false,
        };
        has_failed && self.held.is_none() && self.vacant.is_none()
    }

    /// Whether an answer to this order is waited for.
    pub(super) fn awaits_action(&self, id: OrderId) -> bool {
        let by_case = self.case.as_ref().is_some_and(
            |case| matches!(&case.phase, CasePhase::Acting { order: Some(order), .. } if *order == id),
        );
        by_case
            || self
                .routine
                .as_ref()
                .is_some_and(|routine| routine.order == Some(id))
    }

    /// When something of it is to be done next.
    pub(super) fn wake(&self) -> Instant {
        let mut next = self.renew_at;
        let unproven = self.unproven.as_ref().map(|unproven| unproven.wake());
        let held_until = self.held.as_ref().and_then(|held| held.until);
        let impact_at = self.case.as_ref().map(|case| case.impact_at);
        let reexamined = self.case.as_ref().and_then(|case| case.reexamines_at());
        let times = [
            self.starting,
            self.doubt_ends(),
            held_until,
            impact_at,
            reexamined,
            unproven,
        ];
        for at in times.into_iter().flatten() {
            next = next.min(at);
        }
        if let Some(routine) = &self.routine {
            next = next.min(match routine.order {
                Some(_) => routine.until,
                None => wake_of(&routine.verification),
            });
        }
        match self.case.as_ref().map(|case| &case.phase) {
            None | Some(CasePhase::Judged) => next,
            Some(CasePhase::Examining { until, .. } | CasePhase::Acting { until, .. }) => {
                next.min(*until)
            }
            Some(CasePhase::Verifying {
                verification,
                retry,
                ..
            }) => {
                let retry = retry.filter(|_| !verification.in_trickle());
                next.min(wake_of(verification))
                    .min(retry.map_or(Instant::NEVER, |retry| retry.at))
            }
        }
    }
}

/// A verification is re-evaluated whenever time alone could decide it.
fn wake_of(verification: &Verification) -> Instant {
    verification
        .wake(verification.judged)
        .unwrap_or(Instant::NEVER)
}
