//! The same outage twice: with automatic recovery, and with `mode = "off"`.

#![allow(dead_code, reason = "each test file uses another part of it")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use evenkeel_fault::incident::CloseReason;
use evenkeel_fault::{FaultKind, Incident};
use evenkeel_lab::{LoadPlan, LoadStats, OpenLoad, RequestMix};

use crate::common::{PROBED, Program, ask, now, pause, signal, wait_for};

/// Requests a second to each of the two.
pub(crate) const RATE: f64 = 60.0;
/// What chance may take from the one, in parts of all requests: each draws its own requests from a mix, and the moments differ.
pub(crate) const CHANCE: f64 = 0.03;

/// One evenkeel with three servers that it runs, and its load.
pub(crate) struct Side {
    pub(crate) program: Program,
    pub(crate) load: OpenLoad,
    /// Starts its servers.
    script: PathBuf,
    pub(crate) pids: Vec<Option<u32>>,
}

impl Side {
    pub(crate) fn start(mode: &str, more: &str, mix: Vec<RequestMix>) -> Self {
        let more = format!("{PROBED}\n[service.shop.recover]\nmode = \"{mode}\"\n{more}");
        let (program, script) = Program::by_script(|_| more);
        let load = OpenLoad::start(LoadPlan {
            mix,
            connections: 1_000,
            timeout: Duration::from_secs(4),
            ..LoadPlan::new(program.address(), RATE)
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

    /// What the incidents of the service say that it is, those that ended in another one left out, and those for which the machine of the
    /// test is to blame.
    pub(crate) fn kinds(&self) -> BTreeSet<FaultKind> {
        let all = self.program.incidents_of_services();
        let of_machine = |one: &&Incident| {
            let first = one.diagnosis.first();
            first.is_some_and(|finding| {
                let mut evidence = finding.evidence.iter();
                evidence.any(|text| text.contains("short of processor time"))
            })
        };
        let own = all
            .iter()
            .filter(|one| one.end != Some(CloseReason::Merged));
        let own = own.filter(|one| !of_machine(one));
        own.filter_map(|one| Some(one.diagnosis.first()?.fault))
            .collect()
    }

    /// Waits until all servers are up with other processes than at first.
    pub(crate) fn wait_for_new_processes(&self) {
        self.program.wait_for_servers("all up anew", |servers| {
            let mut all = servers.iter().zip(&self.pids);
            all.all(|(server, old)| server.state == "up" && server.pid != *old)
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
        let outage = Self {
            managed: Side::start("automatic", more, mix.to_vec()),
            off: Side::start("off", more, mix.to_vec()),
        };
        for side in outage.sides() {
            let before = side.load.snapshot().ok;
            wait_for("answers", || {
                (side.load.snapshot().ok >= before + 30).then_some(())
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

    /// Ends the load, and compares.
    pub(crate) fn end(self) -> Ended {
        let [managed, off] = self.sides().map(|side| side.load.watch());
        let Self {
            managed: side,
            off: other,
        } = self;
        let (program, script, pids) = (side.program, side.script, side.pids);
        drop((side.load.stop(), other.load.stop()));
        let [numbers, without] = [managed, off].map(|watch| watch.snapshot());
        let share = |one: &LoadStats| one.ok as f64 / (one.ok + one.failed) as f64;
        let (good, good_without) = (share(&numbers), share(&without));
        assert!(
            good + CHANCE >= good_without,
            "{good:.4} of all answers were good, {good_without:.4} with mode off: {:#?}",
            program.incidents()
        );
        let load = OpenLoad::start(LoadPlan::new(program.address(), 1.0)).unwrap();
        Ended {
            managed: Side {
                program,
                load,
                script,
                pids,
            },
            good,
            numbers,
        }
    }
}

impl Ended {
    pub(crate) fn assert_no_restart(&self) -> &Self {
        let incidents = self.managed.program.incidents();
        assert_eq!(self.managed.restarts(), 0, "{incidents:#?}");
        assert_eq!(self.managed.program.pids(), self.managed.pids);
        self
    }

    pub(crate) fn assert_kinds(&self, allowed: &[FaultKind]) -> &Self {
        let kinds = self.managed.kinds();
        let incidents = self.managed.program.incidents();
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
