//! Whose probe is due when, for all servers at once. No I/O and no clock: [`super::Rounds`] sends what is due.
//!
//! One agenda instead of a task for each server, since there may be ten thousand: an entry is a tenth of what a sleeping task
//! takes. A probe is never due before the last one of its server has ended.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::{Instant, Random};
use evenkeel_fault::contract::Pace;
use evenkeel_fault::policy::ProbeOptions;

/// Part of the interval by which a probe may come earlier or later, so that probes of many servers spread.
const JITTER: f64 = 0.1;

/// All servers that are probed, by their place.
#[derive(Debug)]
pub(crate) struct Agenda {
    entries: Vec<Entry>,
    /// When, whose, and the entry's stamp then: another stamp means that it was put off or brought forward.
    due: BinaryHeap<Reverse<(Instant, u32, u32)>>,
    random: Random,
    begun: bool,
    /// How often it has begun.
    epoch: u32,
}

/// One server.
#[derive(Debug)]
struct Entry {
    options: Arc<ProbeOptions>,
    /// Where it is; it is not probed while that is nowhere.
    address: Option<SocketAddr>,
    pace: Pace,
    due: Instant,
    stamp: u32,
    /// Grows when another server is at this place.
    generation: u32,
    /// Whether its process runs, if it has one.
    runs: bool,
    /// A probe is under way.
    busy: bool,
    /// The next one follows at once.
    again: bool,
}

/// A probe to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Due {
    pub(crate) place: u32,
    pub(crate) address: SocketAddr,
    pub(crate) options: Arc<ProbeOptions>,
    generation: u32,
    epoch: u32,
}

impl Agenda {
    /// Nobody yet.
    pub(crate) fn new() -> Self {
        Self {
            entries: Vec::new(),
            due: BinaryHeap::new(),
            random: Random::seeded(0),
            begun: false,
            epoch: 0,
        }
    }

    /// A server more, at the next place. `runs`: it has no process, or its process runs.
    pub(crate) fn add(
        &mut self,
        options: Arc<ProbeOptions>,
        address: Option<SocketAddr>,
        runs: bool,
    ) {
        self.entries.push(Entry {
            options,
            address,
            pace: Pace::Normal,
            due: Instant::NEVER,
            stamp: 0,
            generation: 0,
            runs,
            busy: false,
            again: false,
        });
    }

    /// Nobody more will come.
    pub(crate) fn shrink(&mut self) {
        self.entries.shrink_to_fit();
    }

    /// From now on, spread over the first interval. Chances are drawn from `random`. Called again it begins anew, and does not
    /// count on anything but the servers, where they are, and whether they run: probes that are under way then say nothing.
    ///
    /// The first times are drawn as if probes had been sent for ever: a part of an interval that is drawn with a chance in
    /// proportion to its length (the residual life of a renewal process). With plain chances over the interval, the early ones of
    /// the second round would meet the late ones of the first, half as many again.
    pub(crate) fn begin(&mut self, now: Instant, random: Random) {
        (self.begun, self.random) = (true, random);
        self.epoch = self.epoch.wrapping_add(1);
        self.due.clear();
        for place in 0..self.entries.len() {
            let entry = &mut self.entries[place];
            (entry.busy, entry.again) = (false, false);
            let (least, most) = (1.0 - JITTER, 1.0 + JITTER);
            let squares = (most * most - least * least).mul_add(self.random.unit(), least * least);
            let part = squares.sqrt() * self.random.unit();
            let first = self.entries[place].base().mul_f64(part);
            self.enter(place, now + first);
        }
    }

    /// When the next probe is due, or earlier.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, ..))| *at)
    }

    /// A probe that is due. It is under way until [`Self::ended`].
    pub(crate) fn take(&mut self, now: Instant) -> Option<Due> {
        while let Some(&Reverse((at, place, stamp))) = self.due.peek() {
            if at > now {
                return None;
            }
            self.due.pop();
            let entry = &mut self.entries[place as usize];
            if let Some(address) = entry.address.filter(|_| entry.stamp == stamp) {
                (entry.busy, entry.again) = (true, false);
                return Some(Due {
                    place,
                    address,
                    options: Arc::clone(&entry.options),
                    generation: entry.generation,
                    epoch: self.epoch,
                });
            }
        }
        None
    }

    /// Whether a probe is about the server that is there now.
    pub(crate) fn is_same(&self, probe: &Due) -> bool {
        probe.epoch == self.epoch
            && self.entries[probe.place as usize].generation == probe.generation
    }

    /// A probe that was begun at `begun` has ended. Whether the next one of all is due earlier now.
    pub(crate) fn ended(&mut self, probe: &Due, begun: Instant, now: Instant) -> bool {
        if probe.epoch != self.epoch {
            return false;
        }
        let before = self.next().unwrap_or(Instant::NEVER);
        let at_once = self.entries[probe.place as usize].again || !self.is_same(probe);
        let next = if at_once {
            now
        } else {
            begun + self.interval(probe.place as usize)
        };
        self.entries[probe.place as usize].busy = false;
        self.enter(probe.place as usize, next);
        self.next().is_some_and(|next| next < before)
    }

    /// Where the server is.
    pub(crate) fn address(&self, place: u32) -> Option<SocketAddr> {
        self.entries.get(place as usize)?.address
    }

    /// A new pace takes effect at once; under verification the first probe comes at once.
    pub(crate) fn set_pace(&mut self, place: u32, pace: Pace, now: Instant) {
        let place = place as usize;
        let Some(entry) = self
            .entries
            .get_mut(place)
            .filter(|entry| entry.pace != pace)
        else {
            return;
        };
        let before = std::mem::replace(&mut entry.pace, pace);
        let due = match (before, pace) {
            (Pace::Paused, _) | (_, Pace::Every(_)) => now,
            (_, Pace::Fast) => entry.due.min(now + entry.options.fast),
            (_, Pace::Normal | Pace::Paused) => entry.due.max(now),
        };
        entry.again = due == now;
        self.enter(place, due);
    }

    /// Another server is at this place, or nobody.
    pub(crate) fn set_address(&mut self, place: u32, address: Option<SocketAddr>, now: Instant) {
        if let Some(entry) = self.entries.get_mut(place as usize) {
            entry.address = address;
            entry.generation = entry.generation.wrapping_add(1);
            self.enter(place as usize, now);
        }
    }

    /// Its process runs from now on, as another one than before, or runs no more.
    pub(crate) fn set_running(&mut self, place: u32, runs: bool, now: Instant) {
        if let Some(entry) = self.entries.get_mut(place as usize) {
            entry.runs = runs;
            entry.again = runs;
            self.enter(place as usize, now);
        }
    }

    /// Enters the next probe of a server, if it is to have one and none is under way.
    fn enter(&mut self, place: usize, at: Instant) {
        let entry = &mut self.entries[place];
        entry.stamp = entry.stamp.wrapping_add(1);
        entry.due = at;
        let wanted = entry.runs && entry.address.is_some() && entry.pace != Pace::Paused;
        if wanted && !entry.busy && self.begun {
            self.due.push(Reverse((at, place as u32, entry.stamp)));
        }
    }

    fn interval(&mut self, place: usize) -> Duration {
        let entry = &self.entries[place];
        if let Pace::Every(every) = entry.pace {
            return every;
        }
        let jitter = 1.0 - JITTER + 2.0 * JITTER * self.random.unit();
        self.entries[place].base().mul_f64(jitter)
    }
}

impl Entry {
    /// Between two of its probes, without chance.
    fn base(&self) -> Duration {
        match self.pace {
            Pace::Normal | Pace::Paused => self.options.every,
            Pace::Fast => self.options.fast,
            Pace::Every(every) => every,
        }
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_fault::policy::ProbeKind;

    use super::*;

    fn options() -> Arc<ProbeOptions> {
        Arc::new(ProbeOptions {
            kind: ProbeKind::Tcp,
            every: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            fall: 3,
            rise: 2,
            fast: Duration::from_millis(250),
        })
    }

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn agenda(servers: u8) -> Agenda {
        let mut agenda = Agenda::new();
        for host in 0..servers {
            let address = SocketAddr::from(([127, 0, 0, host], 80));
            agenda.add(options(), Some(address), true);
        }
        agenda
    }

    /// Goes on to `until`; each probe takes `took`. When whose probes began.
    fn run(agenda: &mut Agenda, until: u64, took: u64) -> Vec<(u64, u32)> {
        let (mut begun, mut under_way) = (Vec::new(), Vec::<(u64, u64, Due)>::new());
        for now in 0..=until {
            under_way.retain(|(end, began, due)| {
                if *end <= now {
                    agenda.ended(due, at(*began), at(now));
                }
                *end > now
            });
            while let Some(due) = agenda.take(at(now)) {
                begun.push((now, due.place));
                under_way.push((now + took, now, due));
            }
        }
        begun
    }

    #[test]
    fn probes_of_many_servers_spread_over_the_interval_and_stay_spread() {
        let mut agenda = Agenda::new();
        for _ in 0..10_000 {
            agenda.add(
                options(),
                Some(SocketAddr::from(([127, 0, 0, 1], 80))),
                true,
            );
        }
        agenda.begin(at(0), Random::seeded(7));
        let begun = run(&mut agenda, 20_000, 1);
        // 250 are due in each 50 ms, with a standard deviation of 16.
        let mut slots = [0; 400];
        for (when, _) in &begun {
            slots[(*when as usize / 50).min(399)] += 1;
        }
        for (place, slot) in slots.iter().enumerate() {
            assert!((170..=340).contains(slot), "{place}: {slot}");
        }
    }

    #[test]
    fn never_two_at_once_and_never_closer_than_the_jitter_allows() {
        let mut agenda = agenda(3);
        agenda.begin(at(0), Random::seeded(7));
        let begun = run(&mut agenda, 60_000, 700);
        for place in 0..3 {
            let times: Vec<u64> = begun
                .iter()
                .filter(|one| one.1 == place)
                .map(|one| one.0)
                .collect();
            assert!((27..=34).contains(&times.len()), "{times:?}");
            assert!(
                times
                    .windows(2)
                    .all(|two| (1_799..=2_202).contains(&(two[1] - two[0])))
            );
        }
        // One that takes longer than the interval is waited for.
        let mut slow = self::agenda(1);
        slow.begin(at(0), Random::seeded(7));
        let times: Vec<u64> = run(&mut slow, 30_000, 5_000)
            .iter()
            .map(|one| one.0)
            .collect();
        assert!(
            times.windows(2).all(|two| two[1] - two[0] == 5_000),
            "{times:?}"
        );
    }

    #[test]
    fn a_pace_takes_effect_at_once() {
        let mut agenda = agenda(1);
        agenda.begin(at(0), Random::seeded(7));
        let first = agenda.next().expect("one");
        agenda.set_pace(0, Pace::Every(Duration::from_millis(100)), at(1));
        assert_eq!(agenda.next().map(|next| next.min(at(1))), Some(at(1)));
        let due = agenda.take(at(1)).expect("at once");
        assert!(agenda.take(first).is_none(), "it is under way");
        assert!(agenda.is_same(&due));
        assert!(agenda.ended(&due, at(1), at(2)));
        assert!(agenda.take(at(100)).is_none());
        let due = agenda.take(at(101)).expect("a tenth of a second later");
        // Paused: nothing comes after the one that is under way.
        agenda.set_pace(0, Pace::Paused, at(102));
        agenda.ended(&due, at(101), at(103));
        assert!(agenda.take(at(100_000)).is_none());
        agenda.set_pace(0, Pace::Normal, at(100_001));
        assert!(
            agenda.take(at(100_001)).is_some(),
            "and at once after a pause"
        );
    }

    /// A panic in the middle of a change left servers that were never probed again.
    #[test]
    fn begun_anew_every_server_is_probed_whatever_was_under_way() {
        let mut agenda = agenda(3);
        agenda.begin(at(0), Random::seeded(7));
        agenda.set_pace(2, Pace::Fast, at(0));
        let lost = agenda.take(at(2_000)).expect("the first");
        // Taken out and not entered again, as by a panic.
        agenda.due.clear();
        agenda.begin(at(2_100), Random::seeded(7));
        assert!(!agenda.is_same(&lost), "it was for the agenda before");
        assert!(!agenda.ended(&lost, at(2_000), at(2_150)));
        let begun = run(&mut agenda, 4_100, 1);
        for place in 0..3 {
            assert!(begun.iter().any(|one| one.1 == place), "{place}: {begun:?}");
        }
        let fast = begun.iter().find(|one| one.1 == 2).map(|one| one.0);
        assert!(fast.is_some_and(|when| when <= 2_350), "{begun:?}");
    }

    #[test]
    fn fast_is_sooner_and_normal_is_no_sooner() {
        let mut agenda = agenda(1);
        agenda.begin(at(0), Random::seeded(7));
        let due = agenda.take(at(2_000)).expect("the first");
        agenda.ended(&due, at(2_000), at(2_001));
        agenda.set_pace(0, Pace::Fast, at(2_100));
        assert!(agenda.take(at(2_349)).is_none());
        assert!(agenda.take(at(2_350)).is_some());
    }

    #[test]
    fn verification_that_begins_during_a_probe_sends_the_next_one_at_its_end() {
        let mut agenda = agenda(1);
        agenda.begin(at(0), Random::seeded(7));
        let due = agenda.take(at(2_000)).expect("the first");
        agenda.set_pace(0, Pace::Every(Duration::from_millis(100)), at(2_500));
        assert!(agenda.take(at(2_500)).is_none(), "one at a time");
        agenda.ended(&due, at(2_000), at(2_600));
        assert!(agenda.take(at(2_600)).is_some());
    }

    #[test]
    fn a_probe_of_the_server_before_says_nothing_about_the_next() {
        let mut agenda = agenda(1);
        agenda.begin(at(0), Random::seeded(7));
        let due = agenda.take(at(2_000)).expect("the first");
        let next = SocketAddr::from(([127, 0, 0, 9], 80));
        agenda.set_address(0, Some(next), at(2_100));
        assert!(!agenda.is_same(&due));
        agenda.ended(&due, at(2_000), at(2_200));
        let due = agenda.take(at(2_200)).expect("at once");
        assert_eq!((due.address, agenda.address(0)), (next, Some(next)));
        agenda.set_address(0, None, at(2_300));
        agenda.ended(&due, at(2_200), at(2_400));
        assert!(agenda.take(at(90_000)).is_none(), "nobody is there");
    }

    #[test]
    fn a_process_is_probed_while_it_runs_and_at_once_when_it_starts() {
        let mut agenda = Agenda::new();
        agenda.add(
            options(),
            Some(SocketAddr::from(([127, 0, 0, 1], 80))),
            false,
        );
        agenda.begin(at(0), Random::seeded(7));
        assert!(agenda.take(at(50_000)).is_none());
        agenda.set_running(0, true, at(50_000));
        let due = agenda.take(at(50_000)).expect("at once");
        agenda.ended(&due, at(50_000), at(50_001));
        agenda.set_running(0, false, at(50_100));
        assert!(agenda.take(at(90_000)).is_none());
    }
}
