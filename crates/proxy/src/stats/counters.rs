//! What is counted. Each worker writes numbers of its own, without locked instructions; readers add them up.

use std::sync::OnceLock;

use evenkeel_balance::PickReason;
use evenkeel_core::Outcome;
use evenkeel_core::metric::{Counter, DurationHistogram};

use super::retry_stats::RetryStats;

/// On which side a connection was missing, by the index in [`WorkerCounters::local_errors`].
pub(crate) const LOCAL_ERRORS: [&str; 2] = ["client", "server"];
/// What clients' deadlines were, by the index in [`ServiceCounters::deadlines`].
pub(crate) const DEADLINES: [&str; 4] = ["shorter", "longer", "passed", "malformed"];
/// What became of hedged attempts, or of those that were to be made, by the index in [`ServiceCounters::hedges`].
pub(crate) const HEDGES: [&str; 5] = ["won", "lost", "failed", "denied-budget", "no-server"];
/// What took the place of missing responses, by the index in [`ServiceCounters::fallbacks`].
pub(crate) const FALLBACKS: [&str; 4] = ["response", "service", "left-out", "stale"];
/// What became of load probes, by the index in [`ServiceCounters::asked`].
pub(crate) const LOAD_PROBES: [&str; 5] = [
    "answered",
    "failed",
    "timed-out",
    "not-understood",
    "skipped",
];
/// Why kept connections were not used again, by the index in [`ServiceCounters::pool`].
pub(crate) const KEPT_ENDED: [&str; 4] = ["closed-by-server", "unasked", "too-old", "too-many"];
/// What became of requests that were to be copied, by the index in [`MirrorCounters`].
pub(crate) const MIRRORED: [&str; 4] = ["sent", "failed", "left-out-body", "left-out-busy"];

/// One worker's numbers of the kept connections of one service that ended.
pub(crate) type PoolCounters = [Counter; KEPT_ENDED.len()];
/// One worker's numbers of the copies from one service to another.
pub(crate) type MirrorCounters = [Counter; MIRRORED.len()];

/// One worker's numbers.
#[derive(Debug, Default)]
pub(crate) struct WorkerCounters {
    pub(crate) connections_opened: Counter,
    pub(crate) connections_closed: Counter,
    pub(crate) connections_refused: Counter,
    /// Connections that could not be accepted or opened for want of descriptors, local ports or memory.
    pub(crate) local_errors: [Counter; LOCAL_ERRORS.len()],
    /// Requests that were answered before a service was found, by status.
    pub(crate) unrouted: Statuses,
    pub(crate) signals_dropped: Counter,
}

/// One worker's numbers of one service.
#[derive(Debug)]
pub(crate) struct ServiceCounters {
    pub(crate) statuses: Statuses,
    pub(crate) failed: Counter,
    pub(crate) aborted: Counter,
    pub(crate) saved_by_retry: Counter,
    pub(crate) durations: DurationHistogram,
    /// By the outcome of the attempt before.
    pub(crate) retries: [Counter; Outcome::WORDS.len()],
    pub(crate) retry_stats: RetryStats,
    /// Load probes.
    pub(crate) asked: [Counter; LOAD_PROBES.len()],
    /// Kept connections that ended.
    pub(crate) pool: PoolCounters,
    pub(crate) fallbacks: [Counter; FALLBACKS.len()],
    pub(crate) hedges: [Counter; HEDGES.len()],
    pub(crate) deadlines: [Counter; DEADLINES.len()],
    servers: ServerTable,
}

/// One worker's numbers of servers, by index. It can grow while it is read.
#[derive(Debug)]
struct ServerTable {
    /// Those that there were when the service was made.
    first: Box<[FirstUsed]>,
    /// Those that came later: [`CHUNK`] in the first chunk, twice as many in each next one.
    later: [OnceLock<Box<[FirstUsed]>>; CHUNKS],
}

const CHUNK: usize = 32;
/// So many chunks hold more servers than there are indices.
const CHUNKS: usize = 28;

/// One worker's numbers of one server: nothing until the worker's first attempt on it, since a worker that has very many servers
/// sends most of them little.
type FirstUsed = OnceLock<Box<ServerCounters>>;

/// One worker's numbers of one server.
#[derive(Debug, Default)]
pub(crate) struct ServerCounters {
    /// Why it was picked, by [`PickReason::index`].
    pub(crate) picks: [Counter; PickReason::WORDS.len()],
    pub(crate) attempts: [Counter; Outcome::WORDS.len()],
    pub(crate) durations: DurationHistogram,
    /// Attempts that were answered below 500, and their nanoseconds until the answer's head.
    pub(crate) answered: Counter,
    pub(crate) answer_nanos: Counter,
    pub(crate) connections: Counter,
    pub(crate) reused: Counter,
    pub(crate) bytes_sent: Counter,
    pub(crate) bytes_received: Counter,
}

/// A counter for each status from 100 to 599.
#[derive(Debug)]
pub(crate) struct Statuses(Box<[Counter]>);

impl Default for Statuses {
    fn default() -> Self {
        Self((0..500).map(|_| Counter::default()).collect())
    }
}

impl Statuses {
    pub(crate) fn add_one(&self, status: u16) {
        if let Some(counter) = self.0.get(usize::from(status).wrapping_sub(100)) {
            counter.add_from_owner(1);
        }
    }

    pub(crate) fn add_to(&self, sums: &mut [u64]) {
        for (sum, counter) in sums.iter_mut().zip(&self.0) {
            *sum += counter.value();
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.iter().map(Counter::value).sum()
    }
}

impl ServiceCounters {
    /// The worker's numbers of this server. For the worker: readers take [`Self::server_if_used`].
    pub(crate) fn server(&self, index: u32) -> &ServerCounters {
        self.servers.of(index as usize).get_or_init(Box::default)
    }

    /// The worker's numbers of this server, if it was ever used.
    pub(crate) fn server_if_used(&self, index: usize) -> Option<&ServerCounters> {
        self.servers.find(index)?.get().map(AsRef::as_ref)
    }

    /// Another server has come to this slot, whose last one nobody counts for any more.
    pub(crate) fn reset_server(&self, index: usize) {
        if let Some(counters) = self.server_if_used(index) {
            counters.reset();
        }
    }
}

impl ServerTable {
    fn new(servers: usize) -> Self {
        Self {
            first: (0..servers).map(|_| FirstUsed::new()).collect(),
            later: [const { OnceLock::new() }; CHUNKS],
        }
    }

    fn of(&self, index: usize) -> &FirstUsed {
        if let Some(first) = self.first.get(index) {
            return first;
        }
        let (chunk, place) = chunk_of(index - self.first.len());
        let chunk_length = CHUNK << chunk;
        let made = || (0..chunk_length).map(|_| FirstUsed::new()).collect();
        &self.later[chunk].get_or_init(made)[place]
    }

    fn find(&self, index: usize) -> Option<&FirstUsed> {
        if let Some(first) = self.first.get(index) {
            return Some(first);
        }
        let (chunk, place) = chunk_of(index - self.first.len());
        self.later.get(chunk)?.get()?.get(place)
    }
}

/// The chunk of the server that came as this one, and its place there.
const fn chunk_of(later: usize) -> (usize, usize) {
    let chunk = (later / CHUNK + 1).ilog2() as usize;
    (chunk, later + CHUNK - (CHUNK << chunk))
}

impl ServerCounters {
    fn reset(&self) {
        let Self {
            picks,
            attempts,
            durations,
            answered,
            answer_nanos,
            connections,
            reused,
            bytes_sent,
            bytes_received,
        } = self;
        let single = [
            answered,
            answer_nanos,
            connections,
            reused,
            bytes_sent,
            bytes_received,
        ];
        let all = picks.iter().chain(attempts).chain(single);
        all.for_each(Counter::reset);
        durations.reset();
    }
}

impl ServiceCounters {
    /// For a service that begins with so many servers.
    pub(crate) fn new(servers: usize) -> Self {
        Self {
            statuses: Statuses::default(),
            failed: Counter::default(),
            aborted: Counter::default(),
            saved_by_retry: Counter::default(),
            durations: DurationHistogram::default(),
            retries: Default::default(),
            retry_stats: RetryStats::default(),
            asked: Default::default(),
            pool: PoolCounters::default(),
            fallbacks: Default::default(),
            hedges: Default::default(),
            deadlines: Default::default(),
            servers: ServerTable::new(servers),
        }
    }
}

/// Whether the outcome at this place counts against the server.
pub(crate) fn is_failure(place: usize) -> bool {
    !matches!(
        Outcome::WORDS[place],
        "success"
            | "stale-connection"
            | "stream-refused"
            | "idle-timeout"
            | "cancelled"
            | "superseded"
            | "local-error"
            | "rescued"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_counts_against_the_server_here_as_everywhere() {
        for outcome in [
            Outcome::Answered(200),
            Outcome::Answered(503),
            Outcome::ConnectRefused,
            Outcome::ConnectTimeout,
            Outcome::Unreachable,
            Outcome::Stale,
            Outcome::Reset { sent: true },
            Outcome::StreamRefused,
            Outcome::AttemptTimeout,
            Outcome::BadResponse,
            Outcome::Truncated,
            Outcome::IdleTimeout,
            Outcome::Cancelled,
            Outcome::Superseded,
            Outcome::LocalError,
            Outcome::Rescued,
        ] {
            let (here, everywhere) = (is_failure(outcome.place()), outcome.is_failure());
            assert_eq!(here, everywhere, "{outcome:?}");
        }
    }

    #[test]
    fn a_table_grows_and_what_it_has_stays() {
        let counters = ServiceCounters::new(3);
        let places = [0, 2, 3, 34, 35, 98, 99, 70_000];
        for place in places {
            assert!(counters.server_if_used(place).is_none(), "{place}");
            counters.server(place as u32).reused.add(place as u64 + 1);
        }
        for place in places {
            let used = counters.server_if_used(place).expect("it is used");
            assert_eq!(used.reused.value(), place as u64 + 1);
        }
        counters.reset_server(98);
        let reused = |place| counters.server_if_used(place).map(|it| it.reused.value());
        assert_eq!((reused(98), reused(99)), (Some(0), Some(100)));
        assert!(counters.server_if_used(u32::MAX as usize).is_none());
    }
}
