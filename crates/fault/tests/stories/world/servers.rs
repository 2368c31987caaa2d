//! Simulated servers: how they break and recover, start and exit, and what probes and examinations see.

use std::time::Duration;

use evenkeel_core::{Exit, Instant, Observation, ProbeOutcome, ProgramChange};
use evenkeel_fault::Input;
use evenkeel_fault::contract::{Examination, Managed, OrderId, ProbePace, ProcessState};
use evenkeel_fault::policy::ProbeKind;
use evenkeel_fault::self_check::Usage;

use super::{World, ms};

/// What is wrong with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    Well,
    Dead,
    /// Stopped (state T).
    Hung,
    /// Its descriptors are used up: it accepts no connection, and serves those that it has.
    UsedUp,
    /// It hangs by itself.
    Blocked,
    Deaf,
    /// It has closed its port, and serves the connections that it has.
    StopsAccepting,
    /// Its answers are no HTTP.
    Malformed,
    /// So many of a hundred attempts are answered 500.
    Errors(u32),
    /// Half of the attempts are answered 500, at random.
    Mixed500,
    /// Half of the requests take this many milliseconds, the others up to 800 times as long.
    Mixed(u32),
    /// So many of a hundred attempts are answered 503.
    Sheds(u32),
    /// Its probe is answered 503, and everything else works.
    Unhealthy,
    /// So many times slower.
    Slow(u32),
    /// Requests are slow because of the workload; probes are not.
    Heavy(u32),
    /// Slow for this many first requests since its start.
    Cold(u64),
    Unreachable,
    /// Traffic succeeds, probes get 400.
    BadProbe,
    /// Ready, then exits by itself after this many milliseconds.
    Doomed(u64),
    /// Dead before it is ready, after 20 ms unless the world says otherwise.
    Stillborn,
    /// Cannot be started at all.
    Unstartable,
    /// It is alive, and another process answers at its port.
    PortTaken,
    /// It listens at another port than its own.
    Elsewhere,
    /// It ends well after 20 ms, and the process that it has started holds its port.
    InBackground,
    /// It is alive, and its probe is answered 500.
    Unready,
}

#[derive(Debug)]
pub(super) struct Sim {
    pub(super) condition: Condition,
    /// What a restart makes of it.
    pub(super) reborn: Condition,
    pub(super) managed: Managed,
    pub(super) pid: u32,
    pub(super) since: Instant,
    pub(super) dies_at: Instant,
    pub(super) ready_at: Instant,
    pub(super) pace: ProbePace,
    pub(super) next_probe: Instant,
    pub(super) out_until: Instant,
    pub(super) hung_until: Instant,
    pub(super) known_until: Instant,
    pub(super) trial_until: Instant,
    pub(super) repaired_until: Instant,
    pub(super) drained: bool,
    /// It is not configured any more.
    pub(super) is_gone: bool,
    pub(super) credit: u32,
    pub(super) sent: u64,
    /// What had been sent when its process was started.
    pub(super) sent_before: u64,
    /// What had been changed of its program by then.
    pub(super) started_with: Option<ProgramChange>,
}

impl Sim {
    /// One that is healthy, and whose process is not started yet.
    pub(super) const fn new(managed: Managed) -> Self {
        Self {
            condition: Condition::Well,
            reborn: Condition::Well,
            managed,
            pid: 0,
            since: Instant::ZERO,
            dies_at: Instant::NEVER,
            ready_at: Instant::ZERO,
            pace: ProbePace::Normal,
            next_probe: Instant::from_millis(7),
            out_until: Instant::ZERO,
            hung_until: Instant::ZERO,
            known_until: Instant::ZERO,
            trial_until: Instant::ZERO,
            repaired_until: Instant::ZERO,
            drained: false,
            is_gone: false,
            credit: 0,
            sent: 0,
            sent_before: 0,
            started_with: None,
        }
    }
}

impl World {
    pub(crate) fn break_server(&mut self, index: usize, condition: Condition) {
        if condition == Condition::Dead {
            let last_lines = vec!["bye".to_owned()];
            self.die(
                index,
                Exit {
                    last_lines,
                    ..self.exit_by(9, index)
                },
            );
        } else {
            self.sims[index].condition = condition;
            if let Condition::Doomed(millis) = condition {
                self.sims[index].dies_at = self.now + ms(millis);
            }
        }
    }

    /// From now on a server is ready this many milliseconds after its process was started.
    pub(crate) fn starts_in(&mut self, millis: u64) {
        self.start_millis = millis;
    }

    /// From now on what is dead before it is ready dies so many milliseconds after its start.
    pub(crate) fn stillborn_after(&mut self, millis: u64) {
        self.stillborn_millis = millis;
    }

    /// The guardian is killed, and all processes with it.
    pub(crate) fn guardian_dies(&mut self) {
        for index in 0..self.sims.len() {
            let guardian = Some("the guardian (process 7) ended: signal: 9".to_owned());
            self.die(
                index,
                Exit {
                    guardian,
                    ..self.exit_by(9, index)
                },
            );
        }
    }

    pub(crate) fn reborn(&mut self, index: usize, condition: Condition) {
        self.sims[index].reborn = condition;
    }

    pub(crate) fn heal(&mut self, index: usize) {
        self.sims[index].condition = Condition::Well;
        self.sims[index].reborn = Condition::Well;
        self.sims[index].ready_at = self.now;
    }

    /// Mends what goes away by itself: a process that ended, or closed its port, needs a start.
    pub(crate) fn heal_unless_gone(&mut self, index: usize) {
        if !matches!(
            self.sims[index].condition,
            Condition::Dead | Condition::Deaf | Condition::StopsAccepting
        ) {
            self.heal(index);
        }
    }

    /// How many servers there are.
    pub(crate) fn servers(&self) -> usize {
        self.sims.len()
    }

    pub(crate) fn condition(&self, index: usize) -> Condition {
        self.sims[index].condition
    }

    /// The unexpected exit of its process by a signal, now, without output.
    pub(super) fn exit_by(&self, signal: i32, index: usize) -> Exit {
        Exit {
            code: None,
            signal: Some(signal),
            asked: false,
            uptime: self.now - self.sims[index].since,
            last_lines: vec![],
            guardian: None,
            port_holder: None,
            changed: None,
            changed_since: None,
        }
    }

    /// What was changed of its program since its process was started.
    fn changed_since(&self, index: usize) -> Option<ProgramChange> {
        let is_new = self.changed != self.sims[index].started_with;
        self.changed.clone().filter(|_| is_new)
    }

    pub(super) fn die(&mut self, index: usize, exit: Exit) {
        self.deaths += u32::from(!exit.asked);
        self.break_off(index);
        let changed_since = self.changed_since(index).filter(|_| !exit.asked);
        let exit = Exit {
            changed_since,
            ..exit
        };
        let sim = &mut self.sims[index];
        sim.condition = Condition::Dead;
        sim.dies_at = Instant::NEVER;
        self.signal(ms(1), index, Observation::Exited(Box::new(exit)));
    }

    pub(super) fn start(&mut self, index: usize, condition: Condition, after: u64) {
        let now = self.now;
        let pid = self.next_pid;
        let stillborn = now + ms(after + self.stillborn_millis);
        self.next_pid += 1;
        let changed = self.changed.clone().map(Box::new);
        let sim = &mut self.sims[index];
        sim.pid = pid;
        sim.sent_before = sim.sent;
        sim.started_with = self.changed.clone();
        sim.condition = condition;
        sim.since = now + ms(after);
        sim.ready_at = now + ms(after + self.start_millis);
        sim.dies_at = match condition {
            Condition::Doomed(millis) => now + ms(after + 30 + millis),
            Condition::Stillborn | Condition::InBackground => {
                sim.ready_at = Instant::NEVER;
                stillborn
            }
            _ => Instant::NEVER,
        };
        self.signal(ms(after), index, Observation::Started { pid, changed });
    }

    pub(super) fn probe_result(&self, index: usize) -> (ProbeOutcome, Duration) {
        let connects = self.spec.detect.probe.kind == ProbeKind::Tcp;
        match self.http_result(index) {
            // The kernel takes connections for a process that hangs.
            (ProbeOutcome::NoAnswer, _) if connects => (ProbeOutcome::Passed, ms(0)),
            result => result,
        }
    }

    pub(super) fn http_result(&self, index: usize) -> (ProbeOutcome, Duration) {
        let sim = &self.sims[index];
        if self.now < sim.ready_at {
            return (ProbeOutcome::Refused, ms(0));
        }
        match sim.condition {
            Condition::Well
            | Condition::Doomed(_)
            | Condition::Errors(_)
            | Condition::Sheds(_)
            | Condition::Heavy(_)
            | Condition::Cold(_)
            | Condition::Mixed500
            | Condition::Malformed
            | Condition::Mixed(_) => (ProbeOutcome::Passed, ms(2)),
            Condition::Slow(times) => (ProbeOutcome::Passed, ms(5) * times),
            Condition::Dead
            | Condition::Deaf
            | Condition::StopsAccepting
            | Condition::Stillborn
            | Condition::Elsewhere
            | Condition::InBackground
            | Condition::Unstartable => (ProbeOutcome::Refused, ms(0)),
            Condition::Hung | Condition::Blocked | Condition::UsedUp => {
                (ProbeOutcome::NoAnswer, self.spec.detect.probe.timeout)
            }
            Condition::Unreachable => {
                (ProbeOutcome::ConnectTimeout, self.spec.detect.probe.timeout)
            }
            Condition::PortTaken => (ProbeOutcome::PortTaken, ms(2)),
            Condition::Unready => (ProbeOutcome::WrongStatus(500), ms(2)),
            Condition::BadProbe => (ProbeOutcome::WrongStatus(400), ms(2)),
            Condition::Unhealthy => (ProbeOutcome::WrongStatus(503), ms(2)),
        }
    }

    pub(super) fn probe(&mut self, index: usize) {
        let (outcome, latency) = self.probe_result(index);
        let every = match self.sims[index].pace {
            ProbePace::Normal => self.spec.detect.probe.every,
            ProbePace::Fast => self.spec.detect.probe.fast,
            ProbePace::Every(every) => every,
            ProbePace::Paused => return,
        };
        self.sims[index].next_probe = self.now + every.max(latency);
        self.signal(latency, index, Observation::Probe { outcome, latency });
    }

    pub(super) fn examine(&mut self, id: OrderId, index: usize, timeout: Duration) {
        let (http, took) = self.http_result(index);
        let sim = &self.sims[index];
        let tcp = match http {
            ProbeOutcome::Refused | ProbeOutcome::ConnectTimeout | ProbeOutcome::PortTaken => {
                (http, took)
            }
            _ => (ProbeOutcome::Passed, Duration::from_micros(400)),
        };
        let dead = matches!(sim.condition, Condition::Dead | Condition::Unstartable);
        let process = (sim.managed == Managed::Child).then(|| ProcessState {
            pid: (!dead).then_some(sim.pid),
            state: Some(if sim.condition == Condition::Hung {
                'T'
            } else {
                'S'
            }),
            listening: Some(tcp.0.passed()),
            listens_at: match sim.condition {
                Condition::Elsewhere => vec!["127.0.0.1:9999".to_owned()],
                _ => Vec::new(),
            },
            cpu_wait_permille: self.cpu_wait,
            accept_queue: match sim.condition {
                Condition::Unreachable => Some(0),
                Condition::Hung | Condition::Blocked | Condition::UsedUp => Some(3),
                _ => None,
            },
            descriptors: Some(Usage {
                used: if sim.condition == Condition::UsedUp {
                    1024
                } else {
                    60
                },
                limit: 1024,
            }),
            ..ProcessState::default()
        });
        let after = took.min(timeout) + ms(1) + self.examined_late;
        let at = self.now + after;
        let examination = Examination {
            tcp: Some(tcp),
            http: tcp.0.passed().then_some((http, took)),
            process,
        };
        self.pending.push((
            at,
            Input::Examined {
                id,
                at,
                examination: Box::new(examination),
            },
        ));
    }
}
