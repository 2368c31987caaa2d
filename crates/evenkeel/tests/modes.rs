//! `mode = "ask"` and `mode = "dry-run"` with real processes: a server that fails leaves the rotation and comes back, and
//! nothing costly is done to it unless an operator approves.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{Called, Program, ask, call, signal, wait_for};
use evenkeel_fault::incident::{ActionOutcome, IncidentStatus};
use evenkeel_fault::{FaultKind, Incident};
use evenkeel_lab::{LoadPlan, OpenLoad};

struct Case {
    program: Program,
    load: OpenLoad,
    pids: Vec<Option<u32>>,
}

impl Case {
    fn start(mode: &str) -> Self {
        let more = format!(
            "[service.shop.recover]\nmode = \"{mode}\"\n[service.shop.timeout]\nattempt = \"1s\"\n"
        );
        let program = Program::with_three(&more);
        let load = OpenLoad::start(LoadPlan::new(program.address(), 60.0)).unwrap();
        let pids = program.pids();
        let case = Self {
            program,
            load,
            pids,
        };
        case.wait_for_answers(60);
        case
    }

    fn wait_for_answers(&self, number: u64) {
        let before = self.load.snapshot().ok;
        wait_for("answers", || {
            (self.load.snapshot().ok >= before + number).then_some(())
        });
    }

    /// The incident in which a restart of this server is proposed, and is not made.
    fn proposed(&self, kind: FaultKind, server: usize) -> Incident {
        let name = &self.program.servers()[server].name;
        self.program
            .wait_for_incident(&format!("{kind}, restart proposed"), |one| {
                let first = one.diagnosis.first();
                first.is_some_and(|finding| finding.fault == kind)
                    && one.servers.contains(name)
                    && proposals(one) == 1
            })
    }

    /// It gets no requests, and its process is left alone.
    fn assert_out(&self, server: usize, pid: Option<u32>) {
        let before = self.load.snapshot().failed;
        self.wait_for_answers(120);
        assert_eq!(self.load.snapshot().failed, before, "others serve all");
        let now = self.program.servers().swap_remove(server);
        let out = ["ejected", "recovering", "verifying", "down"];
        assert!(out.contains(&now.state.as_str()), "{now:?}");
        assert_eq!(now.pid, pid, "{now:?}");
    }

    /// One server hangs: it is out while it does, and back when it answers again.
    fn hangs_and_comes_back(&self) {
        let server = self.program.servers().swap_remove(1);
        ask(server.address, "POST", "/mode", "hang").unwrap();
        let incident = self.proposed(FaultKind::ProcessHung, 1);
        self.assert_out(1, server.pid);
        ask(server.address, "POST", "/mode", "ok").unwrap();
        self.wait_until_closed(&incident);
        self.program.wait_until_up();
        assert_eq!(self.program.pids()[1], self.pids[1]);
    }

    fn wait_until_closed(&self, incident: &Incident) {
        self.program.wait_for_incident("closed", |one| {
            one.id == incident.id && one.status == IncidentStatus::Closed
        });
    }

    /// `evenkeel` with these arguments.
    fn order(&self, arguments: &[&str]) -> Called {
        let admin = format!("http://{}", self.program.admin);
        let arguments = [arguments, &["--admin", &admin]].concat();
        call(self.program.folder.path(), &arguments)
    }
}

/// How often a restart was proposed.
fn proposals(incident: &Incident) -> usize {
    let proposed = incident.actions.iter().filter(|action| {
        action.action == "restart" && action.outcome == Some(ActionOutcome::WouldDo)
    });
    proposed.count()
}

#[test]
fn with_ask_a_restart_waits_for_an_operator() {
    let case = Case::start("ask");
    signal(case.pids[0].unwrap(), "KILL");
    let incident = case.proposed(FaultKind::ProcessCrashed, 0);
    case.program.wait_for_incident("that waits", |one| {
        one.id == incident.id && one.status == IncidentStatus::AwaitingApproval
    });
    case.assert_out(0, None);
    let approved = case.order(&["approve", &incident.id]);
    assert_eq!(approved.status, Some(0), "{approved:?}");
    case.program.wait_until_up();
    let now = case.program.pids();
    assert!(now[0].is_some() && now[0] != case.pids[0], "{now:?}");
    case.wait_until_closed(&incident);

    case.hangs_and_comes_back();
}

#[test]
fn with_dry_run_a_restart_is_only_written_down() {
    let case = Case::start("dry-run");
    signal(case.pids[0].unwrap(), "KILL");
    let incident = case.proposed(FaultKind::ProcessCrashed, 0);
    case.assert_out(0, None);
    let approved = case.order(&["approve", &incident.id]);
    assert_eq!(approved.status, Some(1), "{approved:?}");
    // What an operator orders is done in every mode.
    let restarted = case.order(&["restart", "shop/shop-1", "--wait"]);
    assert_eq!(restarted.status, Some(0), "{restarted:?}");
    case.program.wait_until_up();
    case.wait_until_closed(&incident);

    case.hangs_and_comes_back();
}
