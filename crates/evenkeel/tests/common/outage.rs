//! The same outage twice: with automatic recovery, and with `mode = "off"`.

#![allow(dead_code, reason = "each test file uses another part of it")]

#[path = "others.rs"]
mod others;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use evenkeel_fault::incident::CloseReason;
use evenkeel_fault::{FaultKind, Incident};
use evenkeel_lab::{LoadPlan, LoadStats, OpenLoad, RequestMix};

use crate::common::{PROBED, Program, ask, now, pause, signal, wait_for};
use others::Servers;

/// Requests a second to each of the two, where a test says nothing else.
pub(crate) const RATE: f64 = 60.0;
/// A fault reaches the one a moment before the other: so many requests may be sent to one of them only with it.
const MOMENT: f64 = 3.0;

/// What both are told, and what they are asked.
#[derive(Clone, Copy)]
pub(crate) struct OutagePlan<'a> {
    /// The probe, and how long a start may take.
    pub(crate) probed: &'a str,
    /// Added to `recover`, and the sections behind it.
    pub(crate) more: &'a str,
    pub(crate) mix: &'a [RequestMix],
    /// How many servers each has.
    pub(crate) servers: usize,
    /// Requests a second to each of the two.
    pub(crate) rate: f64,
    /// Whether evenkeel runs the servers. Else they are probed by `/health`, whatever `probed` says.
    pub(crate) is_supervised: bool,
}

impl<'a> OutagePlan<'a> {
    pub(crate) fn new(mix: &'a [RequestMix]) -> Self {
        Self {
            probed: PROBED,
            more: "",
            mix,
            servers: 3,
            rate: RATE,
            is_supervised: true,
        }
    }
}

/// One evenkeel and its servers.
struct Started {
    program: Program,
    /// Starts its servers.
    script: PathBuf,
    pids: Vec<Option<u32>>,
    /// Those that it does not run.
    others: Option<Servers>,
}

impl Started {
    fn new(mode: &str, plan: &OutagePlan<'_>) -> Self {
        let mode = format!("[service.shop.recover]\nmode = \"{mode}\"\n{}", plan.more);
        if plan.is_supervised {
            let more = format!("{}\n{mode}", plan.probed);
            let (program, script) = Program::servers_by_script(plan.servers, |_| more);
            let pids = program.pids();
            return Self {
                program,
                script,
                pids,
                others: None,
            };
        }
        let others = Servers::start(plan.servers);
        Self {
            program: others.program(0, &mode),
            script: PathBuf::new(),
            pids: vec![None; plan.servers],
            others: Some(others),
        }
    }
}

/// One evenkeel with its servers and its load.
pub(crate) struct Side {
    pub(crate) program: Program,
    pub(crate) load: OpenLoad,
    /// Starts its servers.
    script: PathBuf,
    pub(crate) pids: Vec<Option<u32>>,
    others: Option<Servers>,
}

impl Side {
    fn start(started: Started, plan: &OutagePlan<'_>) -> Self {
        let Started {
            program,
            script,
            pids,
            others,
        } = started;
        let load = OpenLoad::start(LoadPlan {
            mix: plan.mix.to_vec(),
            connections: 1_000,
            timeout: Duration::from_secs(4),
            keeps_outcomes: true,
            ..LoadPlan::new(program.address(), plan.rate)
        });
        Self {
            program,
            load: load.unwrap(),
            script,
            pids,
            others,
        }
    }

    /// What its processes are started by from now on.
    pub(crate) fn deploy(&self, script: &str) {
        std::fs::write(&self.script, script).unwrap();
    }

    pub(crate) fn tell(&self, server: usize, mode: &str) {
        let address = self.program.servers()[server].address;
        // One that is gone, or does not listen, cannot be told.
        if let Ok(answer) = ask(address, "POST", "/mode", mode) {
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
    }

    pub(crate) fn signal(&self, server: usize, name: &str) {
        // One that was replaced since is another process.
        let now = self.program.pids()[server];
        signal(now.or(self.pids[server]).unwrap(), name);
    }

    /// What the incidents of the service say that it is.
    pub(crate) fn kinds(&self) -> BTreeSet<FaultKind> {
        let own = self.incidents().into_iter();
        own.filter_map(|one| Some(one.diagnosis.first()?.fault))
            .collect()
    }

    /// The incidents of the service, those that ended in another one left out, and those for which the machine of the test is to
    /// blame.
    pub(crate) fn incidents(&self) -> Vec<Incident> {
        let mut all = self.program.incidents_of_services();
        let of_machine = |one: &Incident| {
            let first = one.diagnosis.first();
            first.is_some_and(|finding| {
                let mut evidence = finding.evidence.iter();
                evidence.any(|text| text.contains("short of processor time"))
            })
        };
        all.retain(|one| one.end != Some(CloseReason::Merged) && !of_machine(one));
        all
    }

    /// Waits until all servers are up with other processes than at first.
    pub(crate) fn wait_for_new_processes(&self) {
        self.wait_for_new(0..3);
    }

    /// Waits until these servers are up with other processes than at first.
    pub(crate) fn wait_for_new(&self, which: std::ops::Range<usize>) {
        self.program.wait_for_servers("up anew", |servers| {
            which
                .clone()
                .all(|index| servers[index].state == "up" && servers[index].pid != self.pids[index])
        });
    }

    pub(crate) fn restarts(&self) -> usize {
        let all = self.program.incidents();
        let actions = all.iter().flat_map(|incident| &incident.actions);
        actions.filter(|action| action.action == "restart").count()
    }
}

/// The same outage twice.
pub(crate) struct Outage {
    pub(crate) managed: Side,
    pub(crate) off: Side,
}

/// What came of it.
pub(crate) struct Ended {
    pub(crate) managed: Side,
    pub(crate) good: f64,
    pub(crate) numbers: LoadStats,
}

impl Outage {
    pub(crate) fn start(more: &str, mix: &[RequestMix]) -> Self {
        Self::of(&OutagePlan {
            more,
            ..OutagePlan::new(mix)
        })
    }

    pub(crate) fn of(plan: &OutagePlan<'_>) -> Self {
        Self::in_modes(["automatic", "off"], plan)
    }

    /// The same with other modes than usual. Both loads begin together, so that both draw the same requests at the same time.
    pub(crate) fn in_modes(modes: [&str; 2], plan: &OutagePlan<'_>) -> Self {
        let programs = modes.map(|mode| Started::new(mode, plan));
        let [managed, off] = programs.map(|program| Side::start(program, plan));
        let outage = Self { managed, off };
        let enough = (plan.rate / 2.0).ceil() as u64;
        for side in outage.sides() {
            wait_for("answers", || {
                let seen = side.load.snapshot();
                (seen.ok + seen.failed >= enough && seen.ok > 0).then_some(())
            });
        }
        outage
    }

    pub(crate) fn sides(&self) -> [&Side; 2] {
        [&self.managed, &self.off]
    }

    /// To a server of each, or to all three of each.
    pub(crate) fn tell(&self, servers: std::ops::Range<usize>, mode: &str) {
        for side in self.sides() {
            servers.clone().for_each(|server| side.tell(server, mode));
        }
    }

    pub(crate) fn signal(&self, servers: std::ops::Range<usize>, name: &str) {
        for side in self.sides() {
            servers.clone().for_each(|server| side.signal(server, name));
        }
    }

    /// Waits for an incident of this kind that did not end in another one.
    pub(crate) fn wait_for(&self, kind: FaultKind) -> Incident {
        let is_it = |incident: &Incident| {
            incident.end != Some(CloseReason::Merged)
                && incident
                    .diagnosis
                    .first()
                    .is_some_and(|one| one.fault == kind)
        };
        self.managed
            .program
            .wait_for_incident(&kind.to_string(), is_it)
    }

    /// Ends both loads at the same time: what was answered by the one, and how that compares with the other.
    fn stop(self) -> (Side, LoadStats, Pairs) {
        let Self { managed, off } = self;
        let watched = [managed.load.watch(), off.load.watch()];
        let Side {
            load: load_without, ..
        } = off;
        let stops = std::thread::spawn(move || drop(load_without.stop()));
        let Side {
            program,
            load,
            script,
            pids,
            others,
        } = managed;
        let numbers = load.stop();
        stops.join().unwrap();
        let [one, other] = watched.map(|watch| watch.outcomes());
        let side = Side {
            load: OpenLoad::start(LoadPlan::new(program.address(), 1.0)).unwrap(),
            program,
            script,
            pids,
            others,
        };
        (side, numbers, Pairs::of(&one, &other))
    }

    /// Ends the load, and compares.
    #[expect(clippy::print_stdout, reason = "a test says what it has measured")]
    pub(crate) fn end(self) -> Ended {
        let (managed, numbers, pairs) = self.stop();
        println!("with recovery and without: {pairs:?}");
        assert!(
            pairs.lost <= pairs.won + pairs.by_chance(),
            "{pairs:?}, failures with recovery {:?}: {:#?}",
            numbers.failures,
            managed.program.incidents()
        );
        Ended {
            managed,
            good: good_share(&numbers),
            numbers,
        }
    }

    /// Ends the load: how the two compare.
    pub(crate) fn compare(self) -> Pairs {
        self.stop().2
    }
}

/// The same requests, sent to both at the same times, one by one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pairs {
    pub(crate) all: f64,
    /// Succeeded only without recovery.
    pub(crate) lost: f64,
    /// Succeeded only with it.
    pub(crate) won: f64,
}

impl Pairs {
    fn of(with: &[Option<bool>], without: &[Option<bool>]) -> Self {
        let pairs = with.iter().zip(without);
        let count = |one: bool, other: bool| {
            let is_it = |pair: &(&Option<bool>, &Option<bool>)| {
                (*pair.0, *pair.1) == (Some(one), Some(other))
            };
            pairs.clone().filter(is_it).count() as f64
        };
        Self {
            all: pairs.len() as f64,
            lost: count(false, true),
            won: count(true, false),
        }
    }

    /// How many more than were won may be lost by chance. Where chance alone decides for which of two a request fails, it is either with
    /// the same probability, and the difference has the variance of their sum (McNemar's test): three standard deviations.
    pub(crate) fn by_chance(&self) -> f64 {
        3.0 * (self.lost + self.won).sqrt() + MOMENT
    }
}

fn good_share(one: &LoadStats) -> f64 {
    one.ok as f64 / (one.ok + one.failed) as f64
}

impl Ended {
    pub(crate) fn assert_no_restart(&self) -> &Self {
        let incidents = self.managed.program.incidents();
        assert_eq!(self.managed.restarts(), 0, "{incidents:#?}");
        assert_eq!(self.managed.program.pids(), self.managed.pids);
        self
    }

    /// Every incident is of one of these kinds, and there is at least one; no incident, if none is allowed.
    pub(crate) fn assert_kinds(&self, allowed: &[FaultKind]) -> &Self {
        let kinds = self.managed.kinds();
        let incidents = self.managed.program.incidents();
        assert_eq!(kinds.is_empty(), allowed.is_empty(), "{incidents:#?}");
        assert!(
            kinds.iter().all(|kind| allowed.contains(kind)),
            "{incidents:#?}"
        );
        self
    }

    pub(crate) fn assert_all_serve(&self) -> &Self {
        let is_in = |state: &str| matches!(state, "up" | "suspect");
        self.managed
            .program
            .wait_for_servers("all in rotation", |servers| {
                servers.iter().all(|one| is_in(&one.state))
            });
        self
    }
}

/// Lets time pass while the load runs.
pub(crate) fn go_on(time: Duration) {
    let end = now() + time;
    while now() < end {
        pause();
    }
}

pub(crate) const SECOND: Duration = Duration::from_secs(1);
