//! State of each supervised process: its phase, its latest output, its counters.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use evenkeel_config::plan::ChildPlan;
use evenkeel_core::{Endpoint, Exit, Instant, Observation, Recent, ServerId, StartFailure};
use tokio::sync::watch;

use crate::count::ChildCounters;
use crate::guardian::protocol::GuardianEvent;
use crate::program::{Program, ProgramFile};
use crate::roll_backs::RollBacks;

/// Lines of output that are remembered, and bytes of each.
const LAST_LINES: usize = 20;
const LINE_BYTES: usize = 500;

/// The phase of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChildPhase {
    /// Not running.
    Idle,
    /// Asked for.
    Starting,
    /// Running.
    Running(u32),
}

/// One supervised process.
#[derive(Debug)]
pub(crate) struct Child {
    /// By which it is started.
    pub(crate) plan: ChildPlan,
    /// How it is configured, if that is in another way than it runs.
    wanted: Option<ChildPlan>,
    /// How it ran before it was started by a changed configuration, until that is verified.
    before_reload: Option<ChildPlan>,
    /// Its process was started for another address.
    is_moved: bool,
    pub(crate) address: Option<Endpoint>,
    /// The sockets that listened on its port before it was started.
    pub(crate) before: Vec<u64>,
    /// Held by the order that works on it: one at a time.
    pub(crate) turn: Arc<tokio::sync::Mutex<()>>,
    pub(crate) name: (String, String),
    pub(crate) spawn: u64,
    pub(crate) started: Instant,
    pub(crate) asked: bool,
    pub(crate) last_lines: Recent<String>,
    pub(crate) program: Program,
    /// It was started from the copy of an earlier version.
    pub(crate) runs_copy: bool,
    pub(crate) phase: watch::Sender<ChildPhase>,
    pub(crate) counters: ChildCounters,
}

#[derive(Debug, Default)]
pub(crate) struct ChildTable {
    pub(crate) children: BTreeMap<ServerId, Child>,
    /// Those that are not configured any more, and have not ended yet.
    pub(crate) leaving: Vec<Child>,
    /// In whose place copies are started. Locked by threads that may block only.
    pub(crate) roll_backs: Arc<Mutex<RollBacks>>,
    pub(crate) spawns: u64,
    pub(crate) closing: bool,
}

/// The input of `Children::start` for each process.
#[derive(Debug)]
pub(crate) struct ChildSpec {
    pub(crate) server: ServerId,
    pub(crate) service_name: String,
    pub(crate) server_name: String,
    pub(crate) address: Option<Endpoint>,
    pub(crate) plan: ChildPlan,
}

/// What the end of a process takes.
#[derive(Debug)]
pub(crate) struct EndingProcess {
    pub(crate) spawn: u64,
    pub(crate) stop_signal: i32,
    pub(crate) stop_wait: Duration,
    pub(crate) phase: watch::Receiver<ChildPhase>,
}

impl EndingProcess {
    pub(crate) fn of(child: &Child) -> Self {
        Self {
            spawn: child.spawn,
            stop_signal: child.plan.stop_signal,
            stop_wait: child.plan.stop_wait,
            phase: child.phase.subscribe(),
        }
    }
}

impl ChildTable {
    /// All that there are, those that leave among them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Child> {
        self.children.values().chain(&self.leaving)
    }

    /// Processes an event; returns its server and what it means, if it is new.
    pub(crate) fn note(
        &mut self,
        now: Instant,
        event: GuardianEvent,
    ) -> Option<(ServerId, Observation)> {
        let spawn = match &event {
            GuardianEvent::Started { spawn, .. }
            | GuardianEvent::StartFailed { spawn, .. }
            | GuardianEvent::Output { spawn, .. }
            | GuardianEvent::Dropped { spawn, .. }
            | GuardianEvent::Exited { spawn, .. } => *spawn,
        };
        let leaving = self.leaving.iter_mut().map(|child| (None, child));
        let mut all = self
            .children
            .iter_mut()
            .map(|(server, child)| (Some(*server), child))
            .chain(leaving);
        let (server, child) = all.find(|(_, child)| child.spawn == spawn)?;
        let observation = match event {
            GuardianEvent::Output { line, .. } => {
                child.printed(&line);
                return None;
            }
            GuardianEvent::Dropped { lines, bytes, .. } => {
                child.dropped(lines, bytes);
                return None;
            }
            GuardianEvent::Started { pid, .. } => {
                child.started = now;
                child.counters.starts.add_one();
                child.phase.send_replace(ChildPhase::Running(pid));
                Observation::Started {
                    pid,
                    changed: child.program.changed().map(Box::new),
                }
            }
            GuardianEvent::StartFailed { reason, .. } => {
                child.counters.start_failures.add_one();
                child.phase.send_replace(ChildPhase::Idle);
                let changed = child.program.ended(Duration::ZERO);
                Observation::StartFailed(Box::new(StartFailure { reason, changed }))
            }
            GuardianEvent::Exited { code, signal, .. } => {
                child.counters.exits.add_one();
                child.phase.send_replace(ChildPhase::Idle);
                let uptime = now.since(child.started);
                let last_lines = child.lines();
                Observation::Exited(Box::new(Exit {
                    code,
                    signal,
                    asked: child.asked,
                    uptime,
                    last_lines,
                    guardian: None,
                    port_holder: None,
                    changed: child.program.ended(uptime),
                    changed_since: None,
                }))
            }
        };
        // Nobody waits for news of what is not configured any more.
        Some((server?, observation))
    }
}

impl Child {
    pub(crate) fn new(spec: ChildSpec) -> Self {
        Self {
            plan: spec.plan,
            wanted: None,
            before_reload: None,
            is_moved: false,
            address: spec.address,
            before: Vec::new(),
            turn: Arc::default(),
            name: (spec.service_name, spec.server_name),
            spawn: 0,
            started: Instant::ZERO,
            asked: false,
            last_lines: Recent::new(LAST_LINES),
            program: Program::default(),
            runs_copy: false,
            phase: watch::channel(ChildPhase::Idle).0,
            counters: ChildCounters::default(),
        }
    }

    /// It is configured like this from now on. How it is stopped changes at once, the rest with a restart that says so.
    pub(crate) fn configured(&mut self, plan: &ChildPlan, address: Option<Endpoint>) {
        self.is_moved |= self.address != address;
        self.address = address;
        for known in std::iter::once(&mut self.plan).chain(&mut self.before_reload) {
            known.stop_signal = plan.stop_signal;
            known.stop_wait = plan.stop_wait;
            known.roll_back.clone_from(&plan.roll_back);
        }
        self.wanted = (self.plan != *plan).then(|| plan.clone());
    }

    /// Whether it runs, or is started, in another way than it is configured.
    pub(crate) const fn is_outdated(&self) -> bool {
        self.wanted.is_some() || self.is_moved
    }

    /// It is started as it is configured from now on. `millis`: the time, in milliseconds since 1970-01-01 UTC.
    pub(crate) fn renew(&mut self, millis: i64) {
        self.is_moved = false;
        if let Some(wanted) = self.wanted.take() {
            let before = std::mem::replace(&mut self.plan, wanted);
            self.before_reload.get_or_insert(before);
            self.program.reconfigured(millis);
        }
    }

    /// It is started again as it was before its configuration was changed; false if that is verified, or was not changed.
    pub(crate) fn go_back(&mut self) -> bool {
        let Some(before) = self.before_reload.take() else {
            return false;
        };
        self.wanted = Some(std::mem::replace(&mut self.plan, before));
        true
    }

    /// The configuration by which it runs is good.
    pub(crate) fn verified(&mut self) {
        self.before_reload = None;
    }

    pub(crate) fn begin(&mut self, spawn: u64, before: Vec<u64>, files: Vec<ProgramFile>) {
        self.spawn = spawn;
        self.before = before;
        self.program.starts(files);
        self.asked = false;
        self.last_lines.clear();
        self.phase.send_replace(ChildPhase::Starting);
    }

    /// The process id, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        match *self.phase.borrow() {
            ChildPhase::Running(pid) => Some(pid),
            ChildPhase::Idle | ChildPhase::Starting => None,
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        *self.phase.borrow() == ChildPhase::Idle
    }

    /// Counts output that the guardian dropped.
    fn dropped(&self, lines: u64, bytes: u64) {
        self.counters.dropped_lines.add(lines);
        self.counters.dropped_bytes.add(bytes);
        tracing::warn!(
            service = self.name.0,
            server = self.name.1,
            "its output exceeds the limit: {lines} lines ({bytes} bytes) were dropped"
        );
    }

    fn printed(&mut self, line: &str) {
        tracing::info!(target: "server", service = self.name.0, server = self.name.1, "{line}");
        let mut end = line.len().min(LINE_BYTES);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        self.last_lines
            .push(line.get(..end).unwrap_or_default().to_owned());
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.last_lines.iter().cloned().collect()
    }
}
