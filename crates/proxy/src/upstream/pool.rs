//! Connections to servers: opened when needed, kept when the server allows, checked before they are used again.
//!
//! Each worker has its own, so that no request waits for another worker's. Before a kept connection is used again its socket is
//! looked at (`MSG_PEEK`, one system call): what the runtime knows is only as fresh as its last turn, and an end, or bytes that
//! nobody asked for, may have come since. Only one whose answer was complete within the same moment ([`SAME_MOMENT`]) is asked for
//! what the runtime knows: a busy worker takes the connection that it has just given back, and a look at each would cost it 4 % of
//! its time. What comes after the look cannot be told from an answer. A request that may not be repeated takes only a connection
//! that its server is not about to close ([`crate::upstream::idle_timeout`]).

use std::cell::{Cell, RefCell};
use std::time::Duration;

use evenkeel_connect::{IdleState, Stream};
use evenkeel_core::Instant;
use evenkeel_http1::ResponseHead;

use crate::stats::counters::PoolCounters;
use crate::upstream::idle_timeout::{IdleTimeout, Reuse};

/// Connections that are kept per server and worker.
const KEPT: usize = 1024;
/// Between two looks at all kept connections: how exactly it is known when a server has closed one.
pub(crate) const SWEEP: Duration = Duration::from_millis(250);

/// What was idle for less than this is not looked at itself if the runtime has heard nothing. What a server sends so soon after
/// an answer, without being asked, mostly comes with its last bytes, and is seen there. Longer is not safe: the runtime asks the
/// kernel after 61 polls of tasks, and one poll can move a megabyte.
const SAME_MOMENT: Duration = Duration::from_micros(100);

/// Indices in [`KEPT_ENDED`](crate::stats::counters::KEPT_ENDED).
const CLOSED_BY_SERVER: usize = 0;
const UNASKED: usize = 1;
const TOO_OLD: usize = 2;
const TOO_MANY: usize = 3;

/// A connection taken from the pool.
#[derive(Debug)]
pub(crate) struct PooledConnection {
    pub(crate) stream: Stream,
    /// How long it was idle.
    pub(crate) idle: Duration,
}

/// A worker's kept connections to the servers of one service, by index.
#[derive(Debug, Default)]
pub(crate) struct Upstreams {
    servers: RefCell<Vec<ServerPool>>,
    /// The service is there no more: none is kept.
    is_closed: Cell<bool>,
}

/// Those to one server.
#[derive(Debug, Default)]
struct ServerPool {
    /// The one used last is at the end.
    kept: Vec<Kept>,
    timeout: IdleTimeout,
}

#[derive(Debug)]
struct Kept {
    stream: Stream,
    since: Instant,
    /// When it was seen open last.
    open_at: Instant,
    generation: u64,
}

impl Upstreams {
    /// The kept connection that was used last, if one is good for such a request. Those to servers that were here before are
    /// closed.
    pub(crate) fn take(
        &self,
        server: u32,
        (generation, reuse): (u64, Reuse),
        (now, ended): (Instant, &PoolCounters),
    ) -> Option<PooledConnection> {
        let mut servers = self.servers.borrow_mut();
        let pool = servers.get_mut(server as usize)?;
        let limit = pool.timeout.limit(reuse, now);
        let mut is_youngest = true;
        while let Some(one) = pool.kept.pop() {
            if one.generation != generation {
                continue;
            }
            let idle = now.since(one.since);
            if idle >= limit {
                ended[TOO_OLD].add_from_owner(1);
                // The others are older still. One goes for the new one that comes, so that their number does not grow.
                if reuse == Reuse::Repeatable {
                    ended[TOO_OLD].add_from_owner(pool.kept.len() as u64);
                    pool.kept.clear();
                }
                return None;
            }
            let seen = if idle < SAME_MOMENT {
                one.stream.idle_state()
            } else {
                one.stream.peek_idle_state()
            };
            match seen {
                IdleState::Quiet => {
                    return Some(PooledConnection {
                        stream: one.stream,
                        idle,
                    });
                }
                state => {
                    ended[end_of(state)].add_from_owner(1);
                    if std::mem::take(&mut is_youngest) {
                        pool.timeout.saw_closed(one.known_open(), idle, now);
                    }
                }
            }
        }
        None
    }

    /// Keeps a connection to the server of this generation, complete in both directions. `head`: of its last response.
    pub(crate) fn give(
        &self,
        server: u32,
        (stream, generation): (Stream, u64),
        head: &ResponseHead,
        (now, ended): (Instant, &PoolCounters),
    ) {
        if self.is_closed.get() {
            return;
        }
        let mut servers = self.servers.borrow_mut();
        let pool = pool_of(&mut servers, server);
        if let Some(seconds) = head.idle_timeout {
            pool.timeout.advertise(Duration::from_secs(seconds));
        }
        if pool.kept.len() >= KEPT {
            ended[TOO_MANY].add_from_owner(1);
            return;
        }
        if pool.kept.capacity() == 0 {
            // Of very many servers each is kept one connection to, mostly.
            pool.kept.reserve_exact(1);
        }
        pool.kept.push(Kept {
            stream,
            since: now,
            open_at: now,
            generation,
        });
    }

    /// A connection taken after being idle for so long was closed by the server before it answered: perhaps it was idle too long.
    pub(crate) fn lost(&self, server: u32, idle: Duration, now: Instant) {
        let mut servers = self.servers.borrow_mut();
        let timeout = &mut pool_of(&mut servers, server).timeout;
        timeout.saw_closed(idle, idle, now);
    }

    /// Closes what servers have closed, what is too old to be used, and what leads to a server that is in its slot no more (`generation`
    /// tells which is).
    pub(crate) fn sweep(
        &self,
        (now, ended): (Instant, &PoolCounters),
        generation: impl Fn(u32) -> u64,
    ) {
        for (index, pool) in (0..).zip(&mut *self.servers.borrow_mut()) {
            if !pool.kept.is_empty() {
                let generation = generation(index);
                pool.kept.retain(|one| one.generation == generation);
                pool.sweep(now, ended);
            }
        }
    }

    /// Closes all, to have their descriptors back; says how many.
    pub(crate) fn close_all(&self) -> usize {
        let servers = &mut *self.servers.borrow_mut();
        let kept = servers.iter_mut();
        kept.map(|kept| std::mem::take(&mut kept.kept).len()).sum()
    }

    /// Closes all, and keeps none that a request under way gives back: the service is there no more.
    pub(crate) fn close(&self) {
        self.is_closed.set(true);
        self.close_all();
    }
}

/// The connections to this server. The list is as long as the greatest index that was used.
fn pool_of(servers: &mut Vec<ServerPool>, server: u32) -> &mut ServerPool {
    let index = server as usize;
    if servers.len() <= index {
        servers.resize_with(index + 1, ServerPool::default);
    }
    &mut servers[index]
}

impl ServerPool {
    fn sweep(&mut self, now: Instant, ended: &PoolCounters) {
        let limit = self.timeout.limit(Reuse::Repeatable, now);
        let mut youngest_closed = None;
        let mut oldest_open = Duration::ZERO;
        self.kept.retain_mut(|one| {
            let idle = now.since(one.since);
            if idle >= limit {
                ended[TOO_OLD].add_from_owner(1);
                return false;
            }
            match one.stream.idle_state() {
                IdleState::Quiet => {
                    one.open_at = now;
                    oldest_open = oldest_open.max(idle);
                    true
                }
                state => {
                    ended[end_of(state)].add_from_owner(1);
                    youngest_closed = Some((one.known_open(), idle));
                    false
                }
            }
        });
        if let Some((known_open, idle)) = youngest_closed {
            self.timeout.saw_closed(known_open, idle, now);
        }
        if !oldest_open.is_zero() {
            self.timeout.saw_open(oldest_open);
        }
        if self.kept.is_empty() {
            self.kept = Vec::new();
        }
    }
}

impl Kept {
    /// How long it was idle when it was seen open last.
    fn known_open(&self) -> Duration {
        self.open_at.since(self.since)
    }
}

/// The place of an end in [`KEPT_ENDED`](crate::stats::counters::KEPT_ENDED).
const fn end_of(state: IdleState) -> usize {
    match state {
        IdleState::Unsolicited => UNASKED,
        IdleState::Quiet | IdleState::Closed => CLOSED_BY_SERVER,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;
    use crate::stats::counters::KEPT_ENDED;

    const SERVER: u32 = 0;

    fn ms(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    /// A pool, and the server's side of a connection in it, which was given at second 1.
    struct Bench {
        pool: Upstreams,
        ended: PoolCounters,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                pool: Upstreams::default(),
                ended: PoolCounters::default(),
            }
        }

        fn give(&self, at: Instant) -> std::net::TcpStream {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
            let address = listener.local_addr().expect("it listens");
            let ours = std::net::TcpStream::connect(address).expect("it listens");
            ours.set_nonblocking(true).expect("a socket");
            let ours = tokio::net::TcpStream::from_std(ours).expect("a runtime");
            let (theirs, _) = listener.accept().expect("it was connected");
            let connection = (Stream::Tcp(ours), 7);
            let head = ResponseHead::default();
            (self.pool).give(SERVER, connection, &head, (at, &self.ended));
            theirs
        }

        fn take(&self, reuse: Reuse, at: Instant) -> bool {
            let taken = self.pool.take(SERVER, (7, reuse), (at, &self.ended));
            taken.is_some()
        }

        fn ended(&self) -> [u64; KEPT_ENDED.len()] {
            std::array::from_fn(|place| self.ended[place].value())
        }
    }

    /// Without a turn of the runtime in between: what it knows is what it knew before.
    fn at_once(test: impl FnOnce(&Bench)) {
        runtime().block_on(async { test(&Bench::new()) });
    }

    #[test]
    fn what_came_unasked_is_seen_before_the_runtime_knows_it() {
        let all = [Reuse::Repeatable, Reuse::Once];
        for (reuse, idle) in all.into_iter().flat_map(|reuse| {
            [
                SAME_MOMENT,
                Duration::from_millis(1),
                Duration::from_millis(49),
            ]
            .map(|idle| (reuse, idle))
        }) {
            at_once(|bench| {
                let mut theirs = bench.give(ms(1_000));
                theirs
                    .write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
                    .expect("a socket");
                assert!(!bench.take(reuse, ms(1_000) + idle));
                assert_eq!(bench.ended(), [0, 1, 0, 0]);
            });
        }
    }

    #[test]
    fn an_end_is_seen_before_the_runtime_knows_it() {
        at_once(|bench| {
            let first = bench.give(ms(1_000));
            let second = bench.give(ms(1_000));
            second
                .shutdown(std::net::Shutdown::Write)
                .expect("a socket");
            assert!(bench.take(Reuse::Once, ms(1_005)), "the other one is good");
            drop((first, second));
            assert!(!bench.take(Reuse::Once, ms(1_005)));
            assert_eq!(bench.ended(), [1, 0, 0, 0]);
        });
    }

    /// No system call is made for it.
    #[test]
    fn what_was_used_a_moment_ago_is_closed_once_the_runtime_knows_its_end() {
        let test = async {
            let bench = Bench::new();
            let moment = Duration::from_micros(99);
            // The runtime has heard nothing: it is as good as it was.
            let _open = bench.give(ms(1_000));
            assert!(bench.take(Reuse::Repeatable, ms(1_000) + moment));
            drop(bench.give(ms(1_000)));
            // Turns of the runtime, in which it hears of the end.
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(!bench.take(Reuse::Repeatable, ms(1_000) + moment));
            assert_eq!(bench.ended(), [1, 0, 0, 0]);
        };
        runtime().block_on(test);
    }

    #[test]
    fn what_goes_once_takes_only_what_was_used_just_now_and_the_number_does_not_grow() {
        at_once(|bench| {
            let mut servers = [bench.give(ms(1_000)), bench.give(ms(1_000))];
            assert!(!bench.take(Reuse::Once, ms(1_250)));
            servers[1].set_nonblocking(true).expect("a socket");
            let end = servers[1].read(&mut [0]).expect("it is closed");
            assert_eq!((end, bench.ended()), (0, [0, 0, 1, 0]));
            assert!(bench.take(Reuse::Repeatable, ms(30_999)));
            servers[0] = bench.give(ms(40_000));
            assert!(bench.take(Reuse::Once, ms(40_249)));
        });
    }

    #[test]
    fn a_sweep_learns_when_a_server_closes() {
        let test = async {
            let bench = Bench::new();
            let early = bench.give(ms(1_000));
            let _late = bench.give(ms(2_500));
            let sweep = |at| bench.pool.sweep((at, &bench.ended), |_| 7);
            sweep(ms(2_900));
            drop(early);
            // A turn of the runtime, in which it hears of the end.
            tokio::time::sleep(Duration::from_millis(1)).await;
            sweep(ms(3_000));
            assert_eq!(bench.ended(), [1, 0, 0, 0]);
            // It was seen open after 1.9 s, so 1.15 s are safe.
            let limit = |reuse| {
                let pools = bench.pool.servers.borrow();
                pools[0].timeout.limit(reuse, ms(3_000)).as_millis()
            };
            assert_eq!(limit(Reuse::Once), 1_150);
            assert_eq!(limit(Reuse::Repeatable), 30_000);
        };
        runtime().block_on(test);
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
    }
}
