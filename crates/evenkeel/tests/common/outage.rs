//! The same outage twice: with automatic recovery, and with `mode = "off"`.

#![allow(dead_code, reason = "each test file uses another part of it")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use evenkeel_fault::incident::CloseReason;
use evenkeel_fault::{FaultKind, Incident};
use evenkeel_lab::{LoadPlan, LoadStats, OpenLoad, RequestMix};

use crate::common::{PROBED, Program, ask, now, pause, signal, wait_for};

/// Requests a second to each of the two, where a test says nothing else.
pub(crate) const RATE: f64 = 60.0;
/// What chance may take from the one, in parts of all requests: each draws its own requests from a mix, and the moments differ.
pub(crate) const CHANCE: f64 = 0.03;

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
}

impl<'a> OutagePlan<'a> {
    pub(crate) fn new(mix: &'a [RequestMix]) -> Self {
        Self {
            probed: PROBED,
            more: "",
            mix,
            servers: 3,
            rate: RATE,
        }
    }
}

/// One evenkeel with servers that it runs, and its load.
pub(crate) struct Side {
    pub(crate) program: Program,
    pub(crate) load: OpenLoad,
    /// Starts its servers.
    script: PathBuf,
    pub(crate) pids: Vec<Option<u32>>,
}

impl Side {
    fn start((program, script): (Program, PathBuf), plan: &OutagePlan<'_>) -> Self {
        let load = OpenLoad::start(LoadPlan {
            mix: plan.mix.to_vec(),
            connections: 1_000,
            timeout: Duration::from_secs(4),
            ..LoadPlan::new(program.address(), plan.rate)
        });
        let pids = program.pids();
        Self {
            program,
            load: load.unwrap(),
            script,
            pids,
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
        let OutagePlan {
            probed,
            more,
            servers,
            ..
        } = plan;
        let programs = modes.map(|mode| {
            let more = format!("{probed}\n[service.shop.recover]\nmode = \"{mode}\"\n{more}");
            Program::servers_by_script(*servers, |_| more)
        });
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

    /// Ends both loads at the same time: what was answered by the one, and by the other.
    fn stop(self) -> (Side, [LoadStats; 2]) {
        let Self { managed, off } = self;
        let (program, script, pids) = (managed.program, managed.script, managed.pids);
        let other = off.load;
        let stops = std::thread::spawn(move || other.stop());
        let numbers = managed.load.stop();
        let without = stops.join().unwrap();
        let load = OpenLoad::start(LoadPlan::new(program.address(), 1.0)).unwrap();
        let side = Side {
            program,
            load,
            script,
            pids,
        };
        (side, [numbers, without])
    }

    /// Ends the load, and compares.
    pub(crate) fn end(self) -> Ended {
        let (managed, [numbers, without]) = self.stop();
        let (good, good_without) = (good_share(&numbers), good_share(&without));
        assert!(
            good + CHANCE >= good_without,
            "{good:.4} of all answers were good, {good_without:.4} with mode off: {:#?}",
            managed.program.incidents()
        );
        Ended {
            managed,
            good,
            numbers,
        }
    }

    /// Ends the load: how far the two are apart, in parts of all requests.
    pub(crate) fn difference(self) -> f64 {
        let (_, [one, other]) = self.stop();
        (good_share(&one) - good_share(&other)).abs()
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
