//! The circuit breakers of a policy: one for each server, made when the server is first picked.
//!
//! Readers take a snapshot and never wait; a new server makes a new map. The number is bounded: at the bound, the breaker that was
//! asked least recently is removed, a closed one if there is any, since that has the least to lose.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use evenkeel_core::Instant;

use crate::breaker::{Breaker, BreakerOptions, BreakerState};

/// Breakers at most.
pub(crate) const MAX_SERVERS: usize = 1_024;

/// Breakers by the number that a picker gives a server, and one for attempts without a picked server.
#[derive(Debug)]
pub(crate) struct ServerBreakers {
    options: ArcSwap<BreakerOptions>,
    seed: u64,
    shared: Arc<Breaker>,
    servers: ArcSwap<BTreeMap<u32, Arc<BreakerEntry>>>,
}

#[derive(Debug)]
struct BreakerEntry {
    breaker: Arc<Breaker>,
    asked: AtomicU64,
}

impl ServerBreakers {
    pub(crate) fn new(options: BreakerOptions, seed: u64) -> Self {
        Self {
            options: ArcSwap::from_pointee(options),
            seed,
            shared: Arc::new(Breaker::new(options, seed)),
            servers: ArcSwap::default(),
        }
    }

    /// The breaker of a server, made if there is none.
    pub(crate) fn of(&self, server: Option<u32>, now: Instant) -> Arc<Breaker> {
        let Some(server) = server else {
            return Arc::clone(&self.shared);
        };
        if let Some(known) = self.servers.load().get(&server) {
            known.asked.store(now.as_nanos(), Ordering::Relaxed);
            return Arc::clone(&known.breaker);
        }
        let seed = self.seed.wrapping_add(1 + u64::from(server));
        let breaker = Arc::new(Breaker::new(**self.options.load(), seed));
        self.servers.rcu(|servers| {
            let mut servers = BTreeMap::clone(servers);
            if !servers.contains_key(&server) {
                evict_one(&mut servers);
                let known = BreakerEntry {
                    breaker: Arc::clone(&breaker),
                    asked: AtomicU64::new(now.as_nanos()),
                };
                servers.insert(server, Arc::new(known));
            }
            servers
        });
        // Another thread may have been quicker, and other servers may have been added since.
        self.find(Some(server)).unwrap_or(breaker)
    }

    /// Replaces the options of all breakers; each keeps its state.
    pub(crate) fn reconfigure(&self, options: BreakerOptions) {
        if **self.options.load() == options {
            return;
        }
        self.options.store(Arc::new(options));
        self.shared.reconfigure(options);
        for known in self.servers.load().values() {
            known.breaker.reconfigure(options);
        }
    }

    /// The breaker of a server, if it was ever asked.
    pub(crate) fn find(&self, server: Option<u32>) -> Option<Arc<Breaker>> {
        match server {
            None => Some(Arc::clone(&self.shared)),
            Some(server) => {
                let servers = self.servers.load();
                servers.get(&server).map(|known| Arc::clone(&known.breaker))
            }
        }
    }

    /// The number of breakers in each state, in the order of [`BreakerState::ALL`]. The shared one counts only without servers.
    pub(crate) fn states(&self) -> [u64; 5] {
        let mut states = [0; 5];
        let servers = self.servers.load();
        if servers.is_empty() {
            states[self.shared.state() as usize] += 1;
        }
        for known in servers.values() {
            states[known.breaker.state() as usize] += 1;
        }
        states
    }
}

fn evict_one(servers: &mut BTreeMap<u32, Arc<BreakerEntry>>) {
    if servers.len() < MAX_SERVERS {
        return;
    }
    let least = servers.iter().min_by_key(|(_, known)| {
        let knows = known.breaker.state() != BreakerState::Closed;
        (knows, known.asked.load(Ordering::Relaxed))
    });
    if let Some(server) = least.map(|(server, _)| *server) {
        servers.remove(&server);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::BreakerOutcome;

    #[test]
    fn the_number_is_bounded_and_open_breakers_stay() {
        let options = BreakerOptions {
            consecutive: Some(1),
            ..BreakerOptions::default()
        };
        let breakers = ServerBreakers::new(options, 1);
        let at = Instant::from_millis;
        for server in 0..MAX_SERVERS as u32 {
            let breaker = breakers.of(Some(server), at(u64::from(server)));
            if server == 0 {
                let pass = breaker.try_pass(at(0)).expect("closed");
                let _: Option<_> = pass.finish(at(0), BreakerOutcome::Bad);
            }
        }
        assert_eq!(breakers.states(), [MAX_SERVERS as u64 - 1, 1, 0, 0, 0]);
        assert!(breakers.of(None, at(5)).try_pass(at(5)).is_ok());
        // One more: the first is open and stays; the second was asked least recently.
        let again = breakers.of(Some(2_000), at(5_000));
        assert!(Arc::ptr_eq(&again, &breakers.of(Some(2_000), at(5_001))));
        assert!(breakers.find(Some(0)).is_some() && breakers.find(Some(1)).is_none());
        assert!(breakers.find(Some(2)).is_some());
        assert_eq!(breakers.states(), [MAX_SERVERS as u64 - 1, 1, 0, 0, 0]);
    }
}
