//! The self-check: shortages of evenkeel's own process and machine, evaluated before any server is blamed for them.
//!
//! It answers two questions, both purely: what is wrong with evenkeel itself now ([`SelfCheck::troubles`]), and how to
//! correct an observation of a server that was made while evenkeel itself was stalled ([`SelfCheck::corrected`]). Its
//! own faults become an incident of their own, and evidence against no server.

mod processor;

use std::time::Duration;

use evenkeel_core::stat::SlidingWindow;
use evenkeel_core::{Instant, Observation, Outcome, ProbeOutcome, Recent};

use crate::kind::FaultKind;

use processor::Processor;

/// The service that incidents of evenkeel itself are listed under. They have no servers.
pub const SELF: &str = "evenkeel";

/// Over which time what was lacking is counted …
const WINDOW: Duration = Duration::from_secs(10);
/// … and this many times is no accident.
const ENOUGH: u64 = 3;
/// From this share of a limit on, it is about to be reached.
const NEARLY: f64 = 0.95;
/// A limit beyond this is none.
const NO_LIMIT: u64 = 1 << 50;
/// A timer that is so late tells of a stall; less is the noise of a busy machine.
pub const STALL: Duration = Duration::from_millis(500);
/// A stall of this length is an incident …
const LONG_STALL: Duration = Duration::from_secs(3);
/// … and so are several that take so much …
const STALLS: Duration = Duration::from_secs(6);
/// … of this time.
const STALLS_WITHIN: Duration = Duration::from_secs(30);
/// So many stalls are remembered.
const STALLS_KEPT: usize = 32;
/// An observation is void if evenkeel was stalled for at least this part of it.
const VOID_PART: u32 = 4;
/// A clock that is set by less is being kept, not set.
const CLOCK_STEP: u64 = 5_000;

/// How often something was lacking since the start of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExhaustionCounts {
    /// Descriptors: EMFILE, ENFILE.
    pub descriptors: u64,
    /// Local ports: EADDRNOTAVAIL, EADDRINUSE, EAGAIN of connect.
    pub ports: u64,
    /// Memory: ENOMEM, ENOBUFS.
    pub memory: u64,
}

/// How much of a limit is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// In use.
    pub used: u64,
    /// At most.
    pub limit: u64,
}

impl Usage {
    fn is_nearly_all(self) -> bool {
        self.limit < NO_LIMIT && self.used as f64 >= self.limit as f64 * NEARLY
    }
}

/// A periodic reading of evenkeel's own resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SelfReading {
    /// Resources that were exhausted when connections were accepted or opened.
    pub lacked: ExhaustionCounts,
    /// Descriptors of this process, if they can be counted.
    pub descriptors: Option<Usage>,
    /// Bytes of memory of the control group that it runs in, if that has a limit.
    pub memory: Option<Usage>,
    /// No network interface but the loopback is up.
    pub cut_off: bool,
    /// The unanswered names, and the number of queried ones.
    pub names: Option<ResolverHealth>,
    /// The part of the last ten seconds in which something that could run waited for a processor, in thousandths: of its control group
    /// where that is known, else of the machine.
    pub cpu_wait_permille: Option<u16>,
}

/// How the resolver does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResolverHealth {
    /// Names whose last question was not answered.
    pub unanswered: u32,
    /// The number of queried names.
    pub asked: u32,
}

/// Faults of evenkeel itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SelfFault {
    /// Its descriptors are used up.
    Descriptors,
    /// The local ports of its connections are used up.
    Ports,
    /// Its memory is.
    Memory,
    /// It was stalled: stopped, starved of CPU time, or its machine was paused.
    Stalled,
    /// Its resolver answers no question.
    Resolver,
    /// Its machine has no network.
    Network,
    /// The calendar clock of its machine was set.
    Clock,
}

impl SelfFault {
    /// The kind of fault that it is reported as.
    #[must_use]
    pub const fn kind(self) -> FaultKind {
        match self {
            Self::Descriptors | Self::Ports => FaultKind::DescriptorExhaustion,
            Self::Memory => FaultKind::OutOfMemory,
            Self::Stalled => FaultKind::ProcessHung,
            Self::Resolver => FaultKind::DnsFailure,
            Self::Network => FaultKind::PartitionedBalancer,
            Self::Clock => FaultKind::ClockSkew,
        }
    }

    /// Whether only an operator can end it, if it persists.
    #[must_use]
    pub const fn lasts(self) -> bool {
        !matches!(self, Self::Stalled | Self::Clock)
    }
}

/// Something is wrong with evenkeel itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What.
    pub cause: SelfFault,
    /// Its first sign.
    pub since: Instant,
    /// Why, in words with their numbers.
    pub evidence: String,
}

/// One resource that connections may lack.
#[derive(Debug, Clone)]
struct ExhaustionWatch {
    cause: SelfFault,
    what: &'static str,
    recent: SlidingWindow,
    /// The total when none had been lacking for a window.
    before: u64,
    total: u64,
    since: Instant,
}

impl ExhaustionWatch {
    fn new((cause, what): (SelfFault, &'static str)) -> Self {
        Self {
            cause,
            what,
            recent: SlidingWindow::new(WINDOW),
            before: 0,
            total: 0,
            since: Instant::ZERO,
        }
    }

    fn read(&mut self, now: Instant, total: u64) {
        let more = total.saturating_sub(self.total);
        if self.recent.tally(now).total == 0 {
            self.before = self.total;
            self.since = now;
        }
        self.total = total;
        for _ in 0..more.min(ENOUGH) {
            self.recent.add(now, true);
        }
    }

    fn trouble(&mut self, now: Instant) -> Option<Trouble> {
        (self.recent.tally(now).total >= ENOUGH).then(|| Trouble {
            cause: self.cause,
            since: self.since,
            evidence: format!(
                "{} connections could not be accepted or opened for lack of {}",
                self.total - self.before,
                self.what
            ),
        })
    }
}

/// The state of the self-check.
#[derive(Debug, Clone)]
pub struct SelfCheck {
    reading: SelfReading,
    has_read: bool,
    lacks: [ExhaustionWatch; 3],
    /// Probes that could not be sent.
    unsent_probes: SlidingWindow,
    unsent_since: Instant,
    processor: Processor,
    /// When each ended, and how long it was.
    stalls: Recent<(Instant, Duration)>,
    clock: Option<(Instant, i64)>,
    /// When each limit was nearly reached, the network was lost, or the resolver stopped answering.
    since: [Option<Instant>; 4],
}

impl Default for SelfCheck {
    fn default() -> Self {
        Self {
            reading: SelfReading::default(),
            has_read: false,
            lacks: [
                (SelfFault::Descriptors, "descriptors (EMFILE, ENFILE)"),
                (SelfFault::Ports, "a free local port (EADDRNOTAVAIL)"),
                (SelfFault::Memory, "memory (ENOMEM, ENOBUFS)"),
            ]
            .map(ExhaustionWatch::new),
            unsent_probes: SlidingWindow::new(WINDOW),
            unsent_since: Instant::ZERO,
            processor: Processor::default(),
            stalls: Recent::new(STALLS_KEPT),
            clock: None,
            since: [None; 4],
        }
    }
}

impl SelfCheck {
    /// Takes in a reading. The first one only says where the totals began.
    pub fn read(&mut self, now: Instant, reading: SelfReading) {
        let totals = [
            reading.lacked.descriptors,
            reading.lacked.ports,
            reading.lacked.memory,
        ];
        for (lack, total) in self.lacks.iter_mut().zip(totals) {
            if self.has_read {
                lack.read(now, total);
            } else {
                (lack.total, lack.before) = (total, total);
            }
        }
        self.has_read = true;
        self.reading = reading;
        self.processor.read(now, reading.cpu_wait_permille);
        let names = reading.names.unwrap_or_default();
        let are_so = [
            reading.descriptors.is_some_and(Usage::is_nearly_all),
            reading.memory.is_some_and(Usage::is_nearly_all),
            reading.cut_off,
            names.asked > 1 && names.unanswered == names.asked,
        ];
        for (since, is_so) in self.since.iter_mut().zip(are_so) {
            *since = is_so.then(|| since.unwrap_or(now));
        }
    }

    /// A probe could not be sent for want of something of evenkeel's own.
    pub fn unsent_probe(&mut self, at: Instant) {
        if self.unsent_probes.tally(at).total == 0 {
            self.unsent_since = at;
        }
        self.unsent_probes.add(at, true);
    }

    /// Its own timers were late: it was stalled until `until`, for so long.
    pub fn stalled(&mut self, until: Instant, lasted: Duration) {
        if lasted >= STALL {
            self.stalls.push((until, lasted));
        }
    }

    /// Whether the machine is short of processor time, or was within the last ten seconds, whose latencies still count: what says so.
    #[must_use]
    pub fn lacks_processor(&self, now: Instant) -> Option<String> {
        let stalled = self.stalled_within(now.before(WINDOW), now);
        self.processor.is_short(now, stalled)
    }

    /// The calendar clock was set forward (or back).
    pub fn clock_set(&mut self, at: Instant, by_millis: i64) {
        if by_millis.unsigned_abs() >= CLOCK_STEP {
            self.clock = Some((at, by_millis));
        }
    }

    /// How long it was stalled between two moments.
    #[must_use]
    pub fn stalled_within(&self, from: Instant, to: Instant) -> Duration {
        let overlap = |(until, lasted): &(Instant, Duration)| {
            let began = until.before(*lasted);
            (*until).min(to).since(began.max(from))
        };
        let all: Duration = self.stalls.iter().map(overlap).sum();
        // Several threads tell of the same stall.
        all.min(to.since(from))
    }

    /// An observation that ended at `at`, corrected for evenkeel's own stalls: a server is not blamed for a timeout
    /// while evenkeel could not have received its answer.
    #[must_use]
    pub fn corrected(&self, at: Instant, observation: Observation) -> Observation {
        let latency = match &observation {
            Observation::Attempt { latency, .. } | Observation::Probe { latency, .. } => *latency,
            Observation::Started { .. }
            | Observation::Exited(_)
            | Observation::StartFailed(_)
            | Observation::Moved(_) => return observation,
        };
        if self.stalls.is_empty() {
            return observation;
        }
        let stalled = self.stalled_within(at.before(latency), at);
        if stalled.is_zero() {
            return observation;
        }
        let is_void = stalled * VOID_PART >= latency;
        let latency = latency.saturating_sub(stalled);
        match observation {
            Observation::Attempt {
                outcome: Outcome::AttemptTimeout | Outcome::ConnectTimeout,
                shape,
                ..
            } if is_void => Observation::Attempt {
                outcome: Outcome::LocalError,
                latency,
                shape,
            },
            Observation::Attempt { outcome, shape, .. } => Observation::Attempt {
                outcome,
                latency,
                shape,
            },
            Observation::Probe {
                outcome: ProbeOutcome::NoAnswer | ProbeOutcome::ConnectTimeout,
                ..
            } if is_void => Observation::Probe {
                outcome: ProbeOutcome::LocalError,
                latency,
            },
            Observation::Probe { outcome, .. } => Observation::Probe { outcome, latency },
            other @ (Observation::Started { .. }
            | Observation::Exited(_)
            | Observation::StartFailed(_)
            | Observation::Moved(_)) => other,
        }
    }

    /// Faults of evenkeel itself at `now`, the most severe first. `unreachable` says whether no server can be reached
    /// although at least one was tried: otherwise a machine without a network may simply have local servers only.
    pub fn troubles(&mut self, now: Instant, unreachable: impl FnOnce() -> bool) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        for lack in &mut self.lacks {
            troubles.extend(lack.trouble(now));
        }
        self.used_up(now, &mut troubles);
        troubles.extend(self.stall(now));
        let [_, _, cut_off, unanswered] = self.since;
        if let Some(since) = cut_off
            && unreachable()
        {
            let evidence =
                "no network interface but the loopback is up, and no server can be reached";
            troubles.push(Trouble {
                cause: SelfFault::Network,
                since,
                evidence: evidence.to_owned(),
            });
        }
        if let (Some(since), Some(names)) = (unanswered, self.reading.names) {
            troubles.push(Trouble {
                cause: SelfFault::Resolver,
                since,
                evidence: format!(
                    "the resolver answers none of the {} queried names",
                    names.asked
                ),
            });
        }
        if let Some((at, by)) = self.clock.filter(|(at, _)| now.since(*at) < WINDOW) {
            troubles.push(Trouble {
                cause: SelfFault::Clock,
                since: at,
                evidence: format!(
                    "the system clock was set {} by {:.1} s",
                    if by < 0 { "back" } else { "forward" },
                    by.unsigned_abs() as f64 / 1e3
                ),
            });
        }
        troubles
    }

    /// Whether something may be found, or be over, without another signal.
    #[must_use]
    pub fn is_busy(&mut self, now: Instant) -> bool {
        self.unsent_probes.tally(now).total > 0
            || self.clock.is_some_and(|(at, _)| now.since(at) < WINDOW)
            || self
                .stalls
                .iter()
                .any(|(until, _)| now.since(*until) < STALLS_WITHIN)
    }

    /// Limits that are nearly reached, and probes that could not be sent.
    fn used_up(&mut self, now: Instant, troubles: &mut Vec<Trouble>) {
        let [descriptors, memory, _, _] = self.since;
        let reading = self.reading;
        let uses = [
            (
                SelfFault::Descriptors,
                descriptors,
                reading.descriptors,
                "descriptors are open",
            ),
            (
                SelfFault::Memory,
                memory,
                reading.memory,
                "bytes of memory are in use by its control group",
            ),
        ];
        for (cause, since, usage, what) in uses {
            let Some(usage) = usage else { continue };
            let text = format!("{} of {} {what}", usage.used, usage.limit);
            match (troubles.iter_mut().find(|one| one.cause == cause), since) {
                (Some(known), _) => known.evidence += &format!("; {text}"),
                (None, Some(since)) => troubles.push(Trouble {
                    cause,
                    since,
                    evidence: text,
                }),
                (None, None) => {}
            }
        }
        let unsent = self.unsent_probes.tally(now).total;
        if unsent < ENOUGH {
            return;
        }
        let text = format!(
            "{unsent} probes could not be sent for lack of file descriptors, local ports or memory"
        );
        match troubles.first_mut() {
            Some(known) => known.evidence += &format!("; {text}"),
            None => troubles.push(Trouble {
                cause: SelfFault::Descriptors,
                since: self.unsent_since,
                evidence: text,
            }),
        }
    }

    fn stall(&self, now: Instant) -> Option<Trouble> {
        let recent = self
            .stalls
            .iter()
            .filter(|(until, _)| now.since(*until) < STALLS_WITHIN);
        let (mut longest, mut since) = (Duration::ZERO, now);
        for (until, lasted) in recent {
            longest = longest.max(*lasted);
            since = since.min(until.before(*lasted));
        }
        let all = self.stalled_within(now.before(STALLS_WITHIN), now);
        let mut latest = self
            .stalls
            .iter()
            .filter(|(until, _)| now.since(*until) < WINDOW);
        let is_grave = latest.any(|(_, lasted)| *lasted >= LONG_STALL || all >= STALLS);
        is_grave.then(|| Trouble {
            cause: SelfFault::Stalled,
            since,
            evidence: format!(
                "its own timers were late, by up to {:.1} s: it was stopped, its machine was paused, or it got no CPU time",
                longest.as_secs_f64()
            ),
        })
    }
}

#[cfg(test)]
mod tests;
