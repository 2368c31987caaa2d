//! The loop: gather input, step the keeper, execute its output, publish, wait. The only control flow of this crate.
//!
//! It never blocks: actions run as tasks with a time limit whose results come back as inputs, and incidents are passed
//! to a writer thread.

mod state;
mod carry_out;
mod show;
mod start_again;
mod reload;

pub use state::{Control, ControlParts};

use std::future::Future;
use std::time::Duration;

use evenkeel_config::Plan;
use evenkeel_core::{Observation, ServiceId, Signal};
use evenkeel_fault::Input;
use evenkeel_runtime::Panicked;

use crate::world::{ActionExecutor, IncidentStore, RequestPath};
use state::IDLE;

/// The interval between two reads of low-priority signals while there are some; [`IDLE`] while there are none.
const BUSY: Duration = Duration::from_millis(10);

/// With fewer servers than make for so long a pause after each turn there is none.
const BREATH_LEAST: Duration = Duration::from_millis(1);

/// The interval between two evaluations of server loads …
const LOADS_EVERY: Duration = Duration::from_millis(100);
/// … and at least so long for each of them.
const LOAD_BREATH: Duration = Duration::from_micros(20);

impl<T: RequestPath, H: ActionExecutor, B: IncidentStore> Control<T, H, B> {
    /// A loop for the services of `plan`.
    #[must_use]
    pub fn new(plan: &Plan, parts: ControlParts<T, H, B>) -> Self {
        let mut control = Self::assemble(plan, parts);
        // Maintenance that was active when the program ended is restored before anything else happens.
        control.decide(control.clock.now());
        control
    }

    /// Runs until `shutdown` ends. Running orders are abandoned then: their incidents stay open in the store.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let task = self.keeper_setup.task.clone();
        let until_panic = async {
            let mut panicked = None;
            loop {
                // Whatever a panic leaves half done is not used again: `start_again` replaces it.
                let ended = task.run(self.turns(panicked.take())).await;
                panicked = ended.err();
            }
        };
        tokio::select! {
            () = shutdown => {}
            () = until_panic => {}
        }
        self.book(self.clock.now());
    }

    /// Turns for ever; after a panic, with a new keeper.
    async fn turns(&mut self, after: Option<Panicked>) {
        match after {
            Some(panicked) => self.start_again(&panicked).await,
            None => {
                self.compare(self.clock.now());
                self.show();
            }
        }
        self.set_breath(self.clock.now());
        loop {
            if let Some(request) = self.reload.take() {
                self.reload(request);
            }
            let busy = self.one_turn();
            self.heartbeat.beat(self.clock.now());
            if self.breath >= BREATH_LEAST {
                self.clock.sleep_until(self.clock.now() + self.breath).await;
            }
            self.wait(if busy { BUSY } else { IDLE }).await;
        }
    }

    /// Waits for the first of: a signal, an answer, an order, the keeper's next timer, or the next read of low-priority
    /// signals.
    async fn wait(&mut self, pause: Duration) {
        let pause = self.clock.now() + pause;
        let wake = self
            .keeper
            .next_wake()
            .map_or(pause, |wake| wake.min(pause));
        tokio::select! {
            () = self.traffic.wait() => {}
            Some(signal) = self.signals.recv() => self.inputs.push(Input::Signal(signal)),
            Some(Ok(answer)) = self.tasks.join_next() => self.answers.push(answer),
            Some(request) = self.orders.recv() => {
                let (ticket, order) = self.pending_orders.take(request);
                self.inputs.push(Input::Operator { ticket, at: self.clock.now(), order: Box::new(order) });
            }
            Some(request) = self.reloads.recv() => self.reload = Some(request),
            () = self.clock.sleep_until(wake) => {}
        }
    }

    /// One turn. Returns whether the request path had signals.
    fn one_turn(&mut self) -> bool {
        let busy = self.gather();
        let now = self.clock.now();
        self.decide(now);
        let has_changed = self.compare(now) || std::mem::take(&mut self.changed);
        self.outlook_is_old |= has_changed;
        let has_new_outlook = self.update_outlook(now);
        if has_changed || has_new_outlook {
            self.show();
        }
        if now >= self.book_at {
            self.book(now);
        }
        busy
    }

    /// Now and then, how much the servers have to do.
    fn gather_loads(&mut self) {
        let now = self.clock.now();
        if now < self.loads_at {
            return;
        }
        let servers: usize = self.servers.iter().map(Vec::len).sum();
        let pause = LOAD_BREATH * u32::try_from(servers).unwrap_or(u32::MAX);
        self.loads_at = now + LOADS_EVERY.max(pause);
        for (id, _) in (0_u32..)
            .zip(&self.services)
            .filter(|(_, name)| !name.is_empty())
        {
            let service = ServiceId(id);
            let servers = self.traffic.loads(service);
            self.inputs.push(Input::Load { service, servers });
        }
    }

    fn gather(&mut self) -> bool {
        self.check_self();
        if let Some(by_millis) = self.clock.notice_step() {
            let epoch = self.clock.epoch();
            tracing::warn!(
                by_millis,
                "the system clock was set: timestamps follow it from now on"
            );
            self.inputs.push(Input::ClockSet { epoch, by_millis });
        }
        for (id, _) in (0_u32..)
            .zip(&self.services)
            .filter(|(_, name)| !name.is_empty())
        {
            let service = ServiceId(id);
            self.inputs.push(Input::Traffic {
                service,
                totals: self.traffic.totals(service),
            });
        }
        self.gather_loads();
        let taken = self.traffic.drain_signals(&mut self.outcomes);
        let names = self.traffic.drain_names().into_iter();
        self.inputs
            .extend(names.map(|(shape, text)| Input::Named { shape, text }));
        self.inputs
            .extend(self.outcomes.drain(..).map(Input::Signal));
        let exposures = self.traffic.drain_exposures().into_iter();
        self.inputs
            .extend(exposures.map(|exposure| Input::Exposed(Box::new(exposure))));
        // Answers are taken before signals and handed on after them: that a process was started must be known before
        // the restart is said to be done.
        while let Some(Ok(answer)) = self.tasks.try_join_next() {
            self.answers.push(answer);
        }
        for _ in 0..self.signals.len() {
            let Ok(signal) = self.signals.try_recv() else {
                break;
            };
            self.inputs.push(Input::Signal(signal));
        }
        self.inputs.append(&mut self.answers);
        for input in &self.inputs {
            let Input::Signal(Signal {
                server,
                observation,
                ..
            }) = input
            else {
                continue;
            };
            self.keeper_setup.record_observation(*server, observation);
            let pid = match observation {
                Observation::Started { pid, .. } => Some(*pid),
                Observation::Exited(_) => None,
                Observation::Attempt { .. }
                | Observation::Probe { .. }
                | Observation::StartFailed(_)
                | Observation::Moved(_) => continue,
            };
            let service = self.pids.get_mut(server.service.0 as usize);
            if let Some(shown) = service.and_then(|servers| servers.get_mut(server.index as usize))
            {
                *shown = pid;
                self.changed = true;
            }
        }
        taken > 0
    }

    /// Shortages of evenkeel itself are reported before its observations of servers.
    fn check_self(&mut self) {
        let now = self.clock.now();
        let of_workers = self.traffic.take_lateness();
        let mut first = Vec::new();
        if let Some(lasted) = self.lateness.turn(now, of_workers) {
            tracing::warn!(
                milliseconds = u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX),
                "evenkeel itself was stalled: its timers fired late; no server is blamed for what it missed"
            );
            self.counters.stalled(lasted);
            first.push(Input::Stalled { until: now, lasted });
        }
        let reading = self.traffic.self_reading(now);
        first.extend(reading.map(|reading| Input::SelfReading(Box::new(reading))));
        // The input that woke the loop comes first.
        self.inputs.splice(0..0, first);
    }
}
