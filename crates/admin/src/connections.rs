//! Open connections, and which one is closed when the limit is reached.
//!
//! A plain limit would let a client that opens many idle connections lock out everyone else until each has timed out.
//! So a new connection is always accepted, and the one that has kept evenkeel waiting the longest is closed: that is
//! hardly ever an honest client, whose request arrives within one packet.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use evenkeel_core::metric::{Counter, Sink, Source};
use tokio::task::{AbortHandle, Id, JoinSet};

/// Connections at the same time.
const MOST: usize = 128;
/// Of these, from one address. Not for loopback: all of this machine share it.
const MOST_OF_ONE: usize = 32;

/// Counters of the admin API's connections.
#[derive(Debug, Default)]
pub struct AdminCounters {
    dropped: Counter,
}

impl Source for AdminCounters {
    fn collect(&self, sink: &mut dyn Sink) {
        let help = "Connections to the admin API that were closed in favour of newer ones.";
        let dropped = self.dropped.value();
        sink.counter(
            "evenkeel_admin_connections_dropped_total",
            help,
            &[],
            dropped,
        );
    }
}

/// The phase of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectionPhase {
    /// The client, to send its request.
    Reading,
    /// The answer, to be made.
    Answering,
    /// The client, to take its answer.
    Sending,
}

/// The phase of a connection, set by the connection itself.
#[derive(Debug, Default)]
pub(crate) struct ConnectionProgress(AtomicU8);

impl ConnectionProgress {
    pub(crate) fn set(&self, phase: ConnectionPhase) {
        self.0.store(phase as u8, Relaxed);
    }

    fn phase(&self) -> ConnectionPhase {
        match self.0.load(Relaxed) {
            0 => ConnectionPhase::Reading,
            1 => ConnectionPhase::Answering,
            _ => ConnectionPhase::Sending,
        }
    }
}

/// All open connections, the oldest first. Dropping it closes them.
#[derive(Debug)]
pub(crate) struct Connections {
    tasks: JoinSet<()>,
    open: Vec<AdminConnection>,
    counters: Arc<AdminCounters>,
}

#[derive(Debug)]
struct AdminConnection {
    id: Id,
    peer: IpAddr,
    progress: Arc<ConnectionProgress>,
    task: AbortHandle,
}

impl Connections {
    pub(crate) fn new(counters: Arc<AdminCounters>) -> Self {
        Self {
            tasks: JoinSet::new(),
            open: Vec::new(),
            counters,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether another can be taken: not if answers are being made for all that are open. Those take a bounded time.
    pub(crate) fn has_room(&self) -> bool {
        self.open.len() < MOST
            || self
                .phases()
                .any(|(_, phase)| phase != ConnectionPhase::Answering)
    }

    /// Waits for the end of one. Cancel safe.
    pub(crate) async fn one_ended(&mut self) {
        let ended = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => error.id(),
            None => return,
        };
        self.open.retain(|open| open.id != ended);
    }

    /// Takes a connection of `peer`, which `work` serves; closes another if need be, or this one.
    pub(crate) fn take<F>(&mut self, peer: IpAddr, work: impl FnOnce(Arc<ConnectionProgress>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let phases: Vec<_> = self.phases().collect();
        match room_for(peer, &phases) {
            Vacancy::Free => {}
            Vacancy::Instead(place) => {
                self.counters.dropped.add_one();
                // It is gone from the bound at once; its task ends in a moment.
                self.open.remove(place).task.abort();
            }
            Vacancy::None => return self.counters.dropped.add_one(),
        }
        let progress = Arc::new(ConnectionProgress::default());
        let task = self.tasks.spawn(work(Arc::clone(&progress)));
        self.open.push(AdminConnection {
            id: task.id(),
            peer,
            progress,
            task,
        });
    }

    fn phases(&self) -> impl Iterator<Item = (IpAddr, ConnectionPhase)> {
        self.open
            .iter()
            .map(|open| (open.peer, open.progress.phase()))
    }
}

/// The place for one more connection.
#[derive(Debug, PartialEq, Eq)]
enum Vacancy {
    /// Beside those that are open.
    Free,
    /// In the place of this one.
    Instead(usize),
    /// Nowhere.
    None,
}

/// Whether there is room for one more of `peer` beside those that are `open`, the oldest first. The oldest that has not
/// sent its request goes, else the oldest that does not take its answer; never one whose answer is being made.
fn room_for(peer: IpAddr, open: &[(IpAddr, ConnectionPhase)]) -> Vacancy {
    let of_peer = |one: IpAddr| one == peer && !peer.to_canonical().is_loopback();
    let too_many_of_peer = open.iter().filter(|(one, _)| of_peer(*one)).count() >= MOST_OF_ONE;
    if open.len() < MOST && !too_many_of_peer {
        return Vacancy::Free;
    }
    let oldest = |wanted: ConnectionPhase| {
        open.iter()
            .position(|&(one, phase)| phase == wanted && (!too_many_of_peer || of_peer(one)))
    };
    oldest(ConnectionPhase::Reading)
        .or_else(|| oldest(ConnectionPhase::Sending))
        .map_or(Vacancy::None, Vacancy::Instead)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn there(host: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, host])
    }

    #[test]
    fn the_oldest_idle_connection_is_closed_for_a_new_one() {
        let mut open = vec![(HERE, ConnectionPhase::Answering); MOST - 1];
        assert_eq!(room_for(HERE, &open), Vacancy::Free);
        open.push((HERE, ConnectionPhase::Answering));
        assert_eq!(room_for(HERE, &open), Vacancy::None);
        open[5].1 = ConnectionPhase::Sending;
        assert_eq!(room_for(HERE, &open), Vacancy::Instead(5));
        open[90].1 = ConnectionPhase::Reading;
        open[80].1 = ConnectionPhase::Reading;
        assert_eq!(room_for(HERE, &open), Vacancy::Instead(80));
    }

    #[test]
    fn one_address_takes_no_more_than_its_share_except_for_this_machine() {
        let mut open = vec![(there(9), ConnectionPhase::Reading)];
        open.extend(vec![(there(1), ConnectionPhase::Sending); MOST_OF_ONE]);
        assert_eq!(
            room_for(there(1), &open),
            Vacancy::Instead(1),
            "its own goes"
        );
        assert_eq!(room_for(there(2), &open), Vacancy::Free);
        open[1..].fill((there(1), ConnectionPhase::Answering));
        assert_eq!(room_for(there(1), &open), Vacancy::None);
        open[1..].fill((HERE, ConnectionPhase::Reading));
        assert_eq!(room_for(HERE, &open), Vacancy::Free);
    }
}
