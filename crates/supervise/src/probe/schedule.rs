//! The schedule of all probes. No I/O and no clock: [`super::ProbeScheduler`] sends the probes that are due.
//!
//! One schedule instead of a task per server, since there may be ten thousand: an entry takes a tenth of the memory of
//! a sleeping task. A probe is never due before the previous one of its server has ended.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::{Endpoint, Instant, Random};
use evenkeel_fault::contract::ProbePace;
use evenkeel_fault::policy::ProbeOptions;

/// Part of the interval by which a probe may come earlier or later, so that probes of many servers spread.
const JITTER: f64 = 0.1;

/// All servers that are probed, by their place.
#[derive(Debug)]
pub(crate) struct ProbeSchedule {
    entries: Vec<ProbeEntry>,
    /// When, whose, and the entry's stamp then: another stamp means that it was put off or brought forward.
    due: BinaryHeap<Reverse<(Instant, u32, u32)>>,
    random: Random,
    begun: bool,
    /// Places whose server is gone.
    free: Vec<u32>,
    /// How often it has begun.
    epoch: u32,
}

/// One server.
#[derive(Debug)]
struct ProbeEntry {
    options: Arc<ProbeOptions>,
    /// Its address; it is not probed without one.
    address: Option<Endpoint>,
    pace: ProbePace,
    due: Instant,
    stamp: u32,
    /// Grows when another server is at this place.
    generation: u32,
    /// Whether its process runs, if it has one.
    runs: bool,
    /// A probe is in flight.
    busy: bool,
    /// The next one follows at once.
    again: bool,
}

/// A probe to be sent.
#[derive(Debug, Clone)]
pub(crate) struct DueProbe {
    pub(crate) slot: u32,
    pub(crate) address: Endpoint,
    pub(crate) options: Arc<ProbeOptions>,
    generation: u32,
    epoch: u32,
}

impl ProbeSchedule {
    /// Nobody yet.
    pub(crate) fn new() -> Self {
        Self {
            entries: Vec::new(),
            due: BinaryHeap::new(),
            random: Random::seeded(0),
            begun: false,
            free: Vec::new(),
            epoch: 0,
        }
    }

    /// A server more, at the first free place, which is given. `runs`: it has no process, or its process runs. While probes are
    /// sent already its first one is due at `now`.
    pub(crate) fn add(
        &mut self,
        options: Arc<ProbeOptions>,
        address: Option<Endpoint>,
        runs: bool,
        now: Instant,
    ) -> u32 {
        let entry = ProbeEntry {
            options,
            address,
            pace: ProbePace::Normal,
            due: Instant::NEVER,
            stamp: 0,
            generation: 0,
            runs,
            busy: false,
            again: false,
        };
        let Some(slot) = self.free.pop() else {
            self.entries.push(entry);
            let slot = self.entries.len() - 1;
            self.enter(slot, now);
            return slot as u32;
        };
        let known = &mut self.entries[slot as usize];
        // A probe of the server before may still be in flight, or scheduled.
        *known = ProbeEntry {
            stamp: known.stamp,
            generation: known.generation.wrapping_add(1),
            busy: known.busy,
            ..entry
        };
        self.enter(slot as usize, now);
        slot
    }

    /// The server at this place is gone. The place is given to the next one.
    pub(crate) fn remove(&mut self, slot: u32, now: Instant) {
        self.set_address(slot, None, now);
        self.free.push(slot);
    }

    /// It is probed in another way from the next probe on, which comes within the new interval.
    pub(crate) fn set_options(&mut self, slot: u32, options: Arc<ProbeOptions>, now: Instant) {
        if let Some(entry) = self.entries.get_mut(slot as usize) {
            entry.options = options;
            let due = entry.due.min(now + entry.base());
            self.enter(slot as usize, due);
        }
    }

    /// Nobody more will come.
    pub(crate) fn shrink(&mut self) {
        self.entries.shrink_to_fit();
    }

    /// Starts probing, spread over the first interval, at random times from `random`. Called again it starts over, and
    /// relies only on the servers, their addresses, and whether they run: probes in flight at that time are ignored.
    ///
    /// The first times are drawn as if probes had been sent for ever: a part of an interval that is drawn with a chance in
    /// proportion to its length (the residual life of a renewal process). With plain chances over the interval, the early ones of
    /// the second round would meet the late ones of the first, half as many again.
    pub(crate) fn begin(&mut self, now: Instant, random: Random) {
        (self.begun, self.random) = (true, random);
        self.epoch = self.epoch.wrapping_add(1);
        self.due.clear();
        for slot in 0..self.entries.len() {
            let entry = &mut self.entries[slot];
            (entry.busy, entry.again) = (false, false);
            let (least, most) = (1.0 - JITTER, 1.0 + JITTER);
            let squares = (most * most - least * least).mul_add(self.random.unit(), least * least);
            let part = squares.sqrt() * self.random.unit();
            let first = self.entries[slot].base().mul_f64(part);
            self.enter(slot, now + first);
        }
    }

    /// When the next probe is due, or earlier.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, ..))| *at)
    }

    /// A probe that is due. It is in flight until [`Self::ended`].
    pub(crate) fn take(&mut self, now: Instant) -> Option<DueProbe> {
        while let Some(&Reverse((at, slot, stamp))) = self.due.peek() {
            if at > now {
                return None;
            }
            self.due.pop();
            let entry = &mut self.entries[slot as usize];
            if let Some(address) = entry.address.clone().filter(|_| entry.stamp == stamp) {
                (entry.busy, entry.again) = (true, false);
                return Some(DueProbe {
                    slot,
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
    pub(crate) fn is_same(&self, probe: &DueProbe) -> bool {
        probe.epoch == self.epoch
            && self.entries[probe.slot as usize].generation == probe.generation
    }

    /// A probe that was begun at `begun` has ended. Whether the next one of all is due earlier now.
    pub(crate) fn ended(&mut self, probe: &DueProbe, begun: Instant, now: Instant) -> bool {
        if probe.epoch != self.epoch {
            return false;
        }
        let before = self.next().unwrap_or(Instant::NEVER);
        let at_once = self.entries[probe.slot as usize].again || !self.is_same(probe);
        let next = if at_once {
            now
        } else {
            begun + self.interval(probe.slot as usize)
        };
        self.entries[probe.slot as usize].busy = false;
        self.enter(probe.slot as usize, next);
        self.next().is_some_and(|next| next < before)
    }

    /// The server's address.
    pub(crate) fn address(&self, slot: u32) -> Option<Endpoint> {
        self.entries.get(slot as usize)?.address.clone()
    }

    /// A new pace takes effect at once; under verification the first probe comes at once.
    pub(crate) fn set_pace(&mut self, slot: u32, pace: ProbePace, now: Instant) {
        let slot = slot as usize;
        let Some(entry) = self
            .entries
            .get_mut(slot)
            .filter(|entry| entry.pace != pace)
        else {
            return;
        };
        let before = std::mem::replace(&mut entry.pace, pace);
        let due = match (before, pace) {
            (ProbePace::Paused, _) | (_, ProbePace::Every(_)) => now,
            (_, ProbePace::Fast) => entry.due.min(now + entry.options.fast),
            (_, ProbePace::Normal | ProbePace::Paused) => entry.due.max(now),
        };
        entry.again = due == now;
        self.enter(slot, due);
    }

    /// The slot has another server, or none.
    pub(crate) fn set_address(&mut self, slot: u32, address: Option<Endpoint>, now: Instant) {
        if let Some(entry) = self.entries.get_mut(slot as usize) {
            entry.address = address;
            entry.generation = entry.generation.wrapping_add(1);
            self.enter(slot as usize, now);
        }
    }

    /// Its process runs from now on, as another one than before, or runs no more.
    pub(crate) fn set_running(&mut self, slot: u32, runs: bool, now: Instant) {
        if let Some(entry) = self.entries.get_mut(slot as usize) {
            entry.runs = runs;
            entry.again = runs;
            self.enter(slot as usize, now);
        }
    }

    /// Schedules the next probe of a server, if it is to have one and none is in flight.
    fn enter(&mut self, slot: usize, at: Instant) {
        let entry = &mut self.entries[slot];
        entry.stamp = entry.stamp.wrapping_add(1);
        entry.due = at;
        let wanted = entry.runs && entry.address.is_some() && entry.pace != ProbePace::Paused;
        if wanted && !entry.busy && self.begun {
            self.due.push(Reverse((at, slot as u32, entry.stamp)));
        }
    }

    fn interval(&mut self, slot: usize) -> Duration {
        let entry = &self.entries[slot];
        if let ProbePace::Every(every) = entry.pace {
            return every;
        }
        let jitter = 1.0 - JITTER + 2.0 * JITTER * self.random.unit();
        self.entries[slot].base().mul_f64(jitter)
    }
}

impl ProbeEntry {
    /// Between two of its probes, without chance.
    fn base(&self) -> Duration {
        match self.pace {
            ProbePace::Normal | ProbePace::Paused => self.options.every,
            ProbePace::Fast => self.options.fast,
            ProbePace::Every(every) => every,
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

    fn schedule(servers: u8) -> ProbeSchedule {
        let mut schedule = ProbeSchedule::new();
        for host in 0..servers {
            let address = Endpoint::from(([127, 0, 0, host], 80));
            schedule.add(options(), Some(address), true, at(0));
        }
        schedule
    }

    /// Goes on to `until`; each probe takes `took`. When whose probes began.
    fn run(schedule: &mut ProbeSchedule, until: u64, took: u64) -> Vec<(u64, u32)> {
        let (mut begun, mut under_way) = (Vec::new(), Vec::<(u64, u64, DueProbe)>::new());
        for now in 0..=until {
            under_way.retain(|(end, began, due)| {
                if *end <= now {
                    schedule.ended(due, at(*began), at(now));
                }
                *end > now
            });
            while let Some(due) = schedule.take(at(now)) {
                begun.push((now, due.slot));
                under_way.push((now + took, now, due));
            }
        }
        begun
    }

    #[test]
    fn probes_of_many_servers_spread_over_the_interval_and_stay_spread() {
        let mut schedule = ProbeSchedule::new();
        for _ in 0..10_000 {
            schedule.add(
                options(),
                Some(Endpoint::from(([127, 0, 0, 1], 80))),
                true,
                at(0),
            );
        }
        schedule.begin(at(0), Random::seeded(7));
        let begun = run(&mut schedule, 20_000, 1);
        // 250 are due in each 50 ms, with a standard deviation of 16.
        let mut slots = [0; 400];
        for (when, _) in &begun {
            slots[(*when as usize / 50).min(399)] += 1;
        }
        for (bucket, slot) in slots.iter().enumerate() {
            assert!((170..=340).contains(slot), "{bucket}: {slot}");
        }
    }

    #[test]
    fn never_two_at_once_and_never_closer_than_the_jitter_allows() {
        let mut schedule = schedule(3);
        schedule.begin(at(0), Random::seeded(7));
        let begun = run(&mut schedule, 60_000, 700);
        for slot in 0..3 {
            let times: Vec<u64> = begun
                .iter()
                .filter(|one| one.1 == slot)
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
        let mut slow = self::schedule(1);
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
        let mut schedule = schedule(1);
        schedule.begin(at(0), Random::seeded(7));
        let first = schedule.next().expect("one");
        schedule.set_pace(0, ProbePace::Every(Duration::from_millis(100)), at(1));
        assert_eq!(schedule.next().map(|next| next.min(at(1))), Some(at(1)));
        let due = schedule.take(at(1)).expect("at once");
        assert!(schedule.take(first).is_none(), "it is in progress");
        assert!(schedule.is_same(&due));
        assert!(schedule.ended(&due, at(1), at(2)));
        assert!(schedule.take(at(100)).is_none());
        let due = schedule.take(at(101)).expect("a tenth of a second later");
        // Paused: no probe follows the one in flight.
        schedule.set_pace(0, ProbePace::Paused, at(102));
        schedule.ended(&due, at(101), at(103));
        assert!(schedule.take(at(100_000)).is_none());
        schedule.set_pace(0, ProbePace::Normal, at(100_001));
        assert!(
            schedule.take(at(100_001)).is_some(),
            "and at once after a pause"
        );
    }

    /// A panic in the middle of a change left servers that were never probed again.
    #[test]
    fn begun_anew_every_server_is_probed_whatever_was_under_way() {
        let mut schedule = schedule(3);
        schedule.begin(at(0), Random::seeded(7));
        schedule.set_pace(2, ProbePace::Fast, at(0));
        let lost = schedule.take(at(2_000)).expect("the first");
        // Taken out and not entered again, as by a panic.
        schedule.due.clear();
        schedule.begin(at(2_100), Random::seeded(7));
        assert!(!schedule.is_same(&lost), "it was for the agenda before");
        assert!(!schedule.ended(&lost, at(2_000), at(2_150)));
        let begun = run(&mut schedule, 4_100, 1);
        for slot in 0..3 {
            assert!(begun.iter().any(|one| one.1 == slot), "{slot}: {begun:?}");
        }
        let fast = begun.iter().find(|one| one.1 == 2).map(|one| one.0);
        assert!(fast.is_some_and(|when| when <= 2_350), "{begun:?}");
    }

    #[test]
    fn fast_is_sooner_and_normal_is_no_sooner() {
        let mut schedule = schedule(1);
        schedule.begin(at(0), Random::seeded(7));
        let due = schedule.take(at(2_000)).expect("the first");
        schedule.ended(&due, at(2_000), at(2_001));
        schedule.set_pace(0, ProbePace::Fast, at(2_100));
        assert!(schedule.take(at(2_349)).is_none());
        assert!(schedule.take(at(2_350)).is_some());
    }

    #[test]
    fn verification_that_begins_during_a_probe_sends_the_next_one_at_its_end() {
        let mut schedule = schedule(1);
        schedule.begin(at(0), Random::seeded(7));
        let due = schedule.take(at(2_000)).expect("the first");
        schedule.set_pace(0, ProbePace::Every(Duration::from_millis(100)), at(2_500));
        assert!(schedule.take(at(2_500)).is_none(), "one at a time");
        schedule.ended(&due, at(2_000), at(2_600));
        assert!(schedule.take(at(2_600)).is_some());
    }

    #[test]
    fn a_probe_of_the_server_before_says_nothing_about_the_next() {
        let mut schedule = schedule(1);
        schedule.begin(at(0), Random::seeded(7));
        let due = schedule.take(at(2_000)).expect("the first");
        let next = Endpoint::from(([127, 0, 0, 9], 80));
        schedule.set_address(0, Some(next.clone()), at(2_100));
        assert!(!schedule.is_same(&due));
        schedule.ended(&due, at(2_000), at(2_200));
        let due = schedule.take(at(2_200)).expect("at once");
        assert_eq!(
            (Some(&due.address), schedule.address(0)),
            (Some(&next), Some(next.clone()))
        );
        schedule.set_address(0, None, at(2_300));
        schedule.ended(&due, at(2_200), at(2_400));
        assert!(schedule.take(at(90_000)).is_none(), "nobody is there");
    }

    #[test]
    fn a_process_is_probed_while_it_runs_and_at_once_when_it_starts() {
        let mut schedule = ProbeSchedule::new();
        schedule.add(
            options(),
            Some(Endpoint::from(([127, 0, 0, 1], 80))),
            false,
            at(0),
        );
        schedule.begin(at(0), Random::seeded(7));
        assert!(schedule.take(at(50_000)).is_none());
        schedule.set_running(0, true, at(50_000));
        let due = schedule.take(at(50_000)).expect("at once");
        schedule.ended(&due, at(50_000), at(50_001));
        schedule.set_running(0, false, at(50_100));
        assert!(schedule.take(at(90_000)).is_none());
    }

    #[test]
    fn servers_come_and_go_and_a_place_is_taken_again() {
        let mut schedule = schedule(2);
        schedule.begin(at(0), Random::seeded(7));
        let address = |port| Some(Endpoint::from(([127, 0, 0, 9], port)));
        assert_eq!(schedule.add(options(), address(1), true, at(10)), 2);
        let due = schedule.take(at(10)).expect("the first at once");
        assert_eq!((due.slot, Some(due.address.clone())), (2, address(1)));
        schedule.remove(2, at(11));
        assert_eq!(schedule.add(options(), address(2), true, at(12)), 2);
        assert!(!schedule.is_same(&due), "it was of the one before");
        schedule.ended(&due, at(10), at(13));
        let due = schedule.take(at(13)).expect("the next one at once");
        assert_eq!(Some(due.address.clone()), address(2));
        assert!(schedule.is_same(&due));
        schedule.remove(0, at(20));
        schedule.ended(&due, at(13), at(21));
        assert!(run(&mut schedule, 20_000, 1).iter().all(|one| one.1 != 0));
    }

    #[test]
    fn another_interval_holds_at_once() {
        let mut schedule = schedule(1);
        schedule.begin(at(0), Random::seeded(7));
        let due = schedule.take(at(2_000)).expect("the first");
        schedule.ended(&due, at(2_000), at(2_001));
        let often = ProbeOptions {
            every: Duration::from_millis(100),
            ..ProbeOptions::clone(&options())
        };
        schedule.set_options(0, Arc::new(often), at(2_010));
        assert!(schedule.take(at(2_110)).is_some());
    }
}
