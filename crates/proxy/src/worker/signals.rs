//! How outcomes of attempts leave the data plane: one bounded ring per worker, no lock, overflow dropped and counted.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use evenkeel_core::{Exposure, Outcome, RequestShape, ShapeText, Signal};
use rtrb::{Consumer, Producer, RingBuffer};
use tokio::sync::Notify;

use crate::stats::counters::WorkerCounters;

/// Signals that a worker can hold until they are read: at 70,000 requests a second, those of 100 ms.
const CAPACITY: usize = 8192;

/// Words for requests that wait to be read; more are said again later.
const NAMES: usize = 256;

/// What was observed of requests that may crash servers, and waits to be read.
const EXPOSURES: usize = 1024;

/// What was observed of requests that may crash servers: hardly ever any, so it is behind a lock, too.
type Exposures = Arc<Mutex<Vec<Exposure>>>;

/// The words for requests that failed: few, so they are behind a lock that successes never take.
type Names = Arc<Mutex<Vec<(RequestShape, ShapeText)>>>;

/// A worker's end of its ring.
#[derive(Debug)]
pub(crate) struct SignalWriter {
    ring: Producer<Signal>,
    wake: Arc<Notify>,
    names: Names,
    exposures: Exposures,
    /// Routes whose words were said.
    named: BTreeSet<u32>,
}

/// The control loop's end of all rings.
#[derive(Debug)]
pub struct SignalReader {
    rings: Vec<Consumer<Signal>>,
    wake: Arc<Notify>,
    names: Names,
    exposures: Exposures,
}

/// One writer per worker, and the reader of all.
pub(crate) fn signals(workers: usize) -> (Vec<SignalWriter>, SignalReader) {
    let wake = Arc::new(Notify::new());
    let names = Names::default();
    let exposures = Exposures::default();
    let (writers, rings) = (0..workers)
        .map(|_| {
            let (ring, reader) = RingBuffer::new(CAPACITY);
            (
                SignalWriter {
                    ring,
                    wake: Arc::clone(&wake),
                    names: Arc::clone(&names),
                    exposures: Arc::clone(&exposures),
                    named: BTreeSet::new(),
                },
                reader,
            )
        })
        .unzip();
    let reader = SignalReader {
        rings,
        wake,
        names,
        exposures,
    };
    (writers, reader)
}

impl SignalWriter {
    /// Passes a signal on; a bad one wakes the reader.
    pub(crate) fn push(&mut self, signal: Signal, outcome: Outcome, counters: &WorkerCounters) {
        if self.ring.push(signal).is_err() {
            counters.signals_dropped.add_from_owner(1);
        }
        if outcome.is_failure() {
            self.wake.notify_one();
        }
    }
}

impl SignalWriter {
    /// A request failed: says the words behind its shape, unless they were said.
    pub(crate) fn name(&mut self, shape: RequestShape, words: impl FnOnce() -> ShapeText) {
        if !shape.is_known() || self.named.contains(&shape.route) {
            return;
        }
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= NAMES {
            return;
        }
        names.push((shape, words()));
        drop(names);
        if self.named.len() >= NAMES {
            self.named.clear();
        }
        self.named.insert(shape.route);
    }
}

impl SignalWriter {
    /// Passes on what was observed of a request, and wakes the reader. Overflow is dropped and counted.
    pub(crate) fn expose(&mut self, exposure: Exposure, counters: &WorkerCounters) {
        let mut exposures = self
            .exposures
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if exposures.len() >= EXPOSURES {
            counters.signals_dropped.add_from_owner(1);
            return;
        }
        exposures.push(exposure);
        drop(exposures);
        self.wake.notify_one();
    }
}

impl SignalReader {
    /// What was observed of requests that may crash servers, as far as it was not read before; that of one worker is in
    /// its order.
    pub fn exposures(&mut self) -> Vec<Exposure> {
        let mut exposures = self
            .exposures
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *exposures)
    }

    /// The words for requests that failed, as far as they were not read before.
    pub fn names(&mut self) -> Vec<(RequestShape, ShapeText)> {
        std::mem::take(&mut *self.names.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes all signals that are there; says how many. Those of one worker are in their order.
    pub fn drain(&mut self, signals: &mut Vec<Signal>) -> usize {
        let before = signals.len();
        for ring in &mut self.rings {
            let there = ring.slots();
            if let Ok(chunk) = ring.read_chunk(there) {
                signals.extend(chunk);
            }
        }
        signals.len() - before
    }

    /// Waits for a signal of a failure. Successes wake nobody: read at least every 100 ms as well, or some are lost.
    pub async fn wait(&self) {
        self.wake.notified().await;
    }

    /// What [`SignalReader::wait`] waits for, for those who keep the reader elsewhere.
    #[must_use]
    pub fn wake(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use evenkeel_core::{Instant, Observation, ServerId};

    use super::*;

    fn signal(n: u64) -> Signal {
        let observation = Observation::Attempt {
            outcome: Outcome::Answered(200),
            latency: Duration::from_nanos(n),
            shape: RequestShape::UNKNOWN,
        };
        Signal {
            at: Instant::from_nanos(n),
            server: ServerId::default(),
            observation,
        }
    }

    #[test]
    fn what_is_observed_of_requests_is_bounded_and_read_once() {
        let (mut writers, mut reader) = signals(1);
        let counters = WorkerCounters::default();
        for _ in 0..EXPOSURES + 3 {
            let exposure = Exposure {
                at: Instant::ZERO,
                server: ServerId::default(),
                shape: evenkeel_core::ExactShape { path: 1, target: 1 },
                what: evenkeel_core::ExposureEvent::Began,
            };
            writers[0].expose(exposure, &counters);
        }
        assert_eq!(reader.exposures().len(), EXPOSURES);
        assert!(reader.exposures().is_empty());
        assert_eq!(counters.signals_dropped.value(), 3);
    }

    #[test]
    fn overflow_is_dropped_and_counted_and_the_rest_keeps_its_order() {
        let (mut writers, mut reader) = signals(1);
        let counters = WorkerCounters::default();
        for n in 0..CAPACITY as u64 + 5 {
            writers[0].push(signal(n), Outcome::Answered(200), &counters);
        }
        let mut read = Vec::new();
        assert_eq!(reader.drain(&mut read), CAPACITY);
        assert!(read.is_sorted_by_key(|signal| signal.at));
        assert_eq!(counters.signals_dropped.value(), 5);
    }
}
