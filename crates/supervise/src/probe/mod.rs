//! Probes: one task per server, which never sends a probe before the last one has ended.
//!
//! A supervised server is probed only while its process runs, and at once when it has started.

mod send;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::{Instant, Observation, Random, ServerId, Signal};
use evenkeel_fault::contract::Pace;
use evenkeel_fault::policy::ProbeOptions;
use evenkeel_runtime::Clock;
use tokio::sync::{mpsc, watch};

use crate::children::Phase;
use crate::count::ProbeCounters;

pub(crate) use send::send;

/// Part of the interval by which a probe may come earlier or later, so that probes of many servers spread.
const JITTER: f64 = 0.1;

/// One server's probes.
#[derive(Debug)]
pub(crate) struct Prober {
    pub(crate) server: ServerId,
    /// Where it is; it is not probed while that is nowhere.
    pub(crate) address: watch::Receiver<Option<SocketAddr>>,
    pub(crate) options: Arc<ProbeOptions>,
    pub(crate) clock: Clock,
    pub(crate) signals: mpsc::Sender<Signal>,
    pub(crate) pace: watch::Receiver<Pace>,
    /// Where the supervised process stands; `None` if there is none.
    pub(crate) phase: Option<watch::Receiver<Phase>>,
    pub(crate) counters: Arc<ProbeCounters>,
    pub(crate) random: Random,
}

impl Prober {
    /// Probes for ever.
    pub(crate) async fn run(mut self) {
        let mut due = self.clock.now() + self.random.duration_up_to(self.options.every);
        let mut pid = None;
        loop {
            // Boxed, like the probe itself: a task that sleeps, of which there may be thousands, holds no room for it.
            if self.phase.is_some() && Box::pin(self.await_process(&mut pid)).await {
                due = self.clock.now();
            }
            let Some(address) = *self.address.borrow_and_update() else {
                if self.address.changed().await.is_err() {
                    return;
                }
                due = self.clock.now();
                continue;
            };
            let pace = *self.pace.borrow_and_update();
            if pace == Pace::Paused {
                if self.pace.changed().await.is_err() {
                    return;
                }
                due = self.clock.now();
                continue;
            }
            tokio::select! {
                () = self.clock.sleep_until(due) => {}
                changed = self.pace.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    due = self.due_after_change(due);
                    continue;
                }
                () = process_changed(&mut self.phase) => continue,
                changed = self.address.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    due = self.clock.now();
                    continue;
                }
            }
            let begun = self.clock.now();
            let sent = send(
                address,
                &self.options.kind,
                self.options.timeout,
                self.clock,
            );
            let (outcome, latency) = Box::pin(sent).await;
            if self.address.has_changed().unwrap_or(true) {
                // It says nothing about who is there now.
                continue;
            }
            self.counters.add_one(outcome);
            let observation = Observation::Probe { outcome, latency };
            let signal = Signal {
                at: self.clock.now(),
                server: self.server,
                observation,
            };
            if self.signals.send(signal).await.is_err() {
                return;
            }
            due = begun + self.interval();
        }
    }

    /// Waits until the process runs; says whether it is another one than before.
    async fn await_process(&mut self, pid: &mut Option<u32>) -> bool {
        let Some(phase) = &mut self.phase else {
            return false;
        };
        let running = phase
            .wait_for(|phase| matches!(phase, Phase::Running(_)))
            .await
            .map(|phase| *phase);
        match running {
            Ok(Phase::Running(now)) if *pid != Some(now) => {
                *pid = Some(now);
                true
            }
            Ok(_) => false,
            // The supervisor is gone, and this task with it in a moment.
            Err(_) => std::future::pending().await,
        }
    }

    /// A new pace takes effect at once; under verification the first probe comes at once.
    fn due_after_change(&mut self, due: Instant) -> Instant {
        let now = self.clock.now();
        match *self.pace.borrow_and_update() {
            Pace::Every(_) => now,
            Pace::Fast => due.min(now + self.options.fast),
            Pace::Normal | Pace::Paused => due.max(now),
        }
    }

    fn interval(&mut self) -> Duration {
        let base = match *self.pace.borrow() {
            Pace::Normal | Pace::Paused => self.options.every,
            Pace::Fast => self.options.fast,
            Pace::Every(every) => return every,
        };
        base.mul_f64(1.0 - JITTER + 2.0 * JITTER * self.random.unit())
    }
}

async fn process_changed(phase: &mut Option<watch::Receiver<Phase>>) {
    match phase {
        Some(phase) => {
            if phase.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
        None => std::future::pending().await,
    }
}
