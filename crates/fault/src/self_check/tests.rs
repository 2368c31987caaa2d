//! Tables of evenkeel's own faults, and how observations made during them are corrected.

use evenkeel_core::RequestShape;

use super::*;

const fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn causes(check: &mut SelfCheck, now: u64) -> Vec<SelfFault> {
    let troubles = check.troubles(at(now), || true);
    troubles.iter().map(|trouble| trouble.cause).collect()
}

fn lacked(descriptors: u64, ports: u64, memory: u64) -> SelfReading {
    SelfReading {
        lacked: ExhaustionCounts {
            descriptors,
            ports,
            memory,
        },
        ..SelfReading::default()
    }
}

#[test]
fn what_was_lacking_is_told_by_its_cause_and_is_over_after_the_window() {
    for (reading, cause) in [
        (lacked(3, 0, 0), SelfFault::Descriptors),
        (lacked(0, 3, 0), SelfFault::Ports),
        (lacked(0, 0, 300), SelfFault::Memory),
    ] {
        let mut check = SelfCheck::default();
        check.read(at(0), lacked(0, 0, 0));
        check.read(at(500), reading);
        assert_eq!(causes(&mut check, 500), [cause]);
        check.read(at(11_500), reading);
        assert_eq!(causes(&mut check, 11_500), []);
    }
    let mut check = SelfCheck::default();
    check.read(at(0), lacked(1000, 0, 0));
    check.read(at(500), lacked(1002, 0, 0));
    assert_eq!(
        causes(&mut check, 500),
        [],
        "two are few, and the first reading is where it began"
    );
}

#[test]
fn a_limit_that_is_nearly_reached_is_told_before_it_is() {
    for (used, limit, expected) in [
        (94, 100, &[][..]),
        (95, 100, &[SelfFault::Descriptors][..]),
        (1 << 40, u64::MAX, &[]),
    ] {
        let mut check = SelfCheck::default();
        let descriptors = Some(Usage { used, limit });
        check.read(
            at(0),
            SelfReading {
                descriptors,
                ..SelfReading::default()
            },
        );
        assert_eq!(causes(&mut check, 0), expected, "{used} of {limit}");
    }
    let mut check = SelfCheck::default();
    let memory = Some(Usage {
        used: 99,
        limit: 100,
    });
    check.read(
        at(0),
        SelfReading {
            memory,
            ..SelfReading::default()
        },
    );
    let troubles = check.troubles(at(0), || true);
    assert!(troubles[0].evidence.contains("99 of 100 bytes"));
}

#[test]
fn a_long_stall_or_many_are_told_and_short_ones_are_not() {
    for (stalls, expected) in [
        (&[(1_000, 499)][..], &[][..]),
        (&[(4_000, 2_900)], &[]),
        (&[(4_000, 3_000)], &[SelfFault::Stalled]),
        (
            &[(4_000, 2_000), (8_000, 2_000), (12_000, 2_000)],
            &[SelfFault::Stalled],
        ),
        // Two threads tell of one.
        (&[(4_000, 2_900), (4_000, 2_800)], &[]),
    ] {
        let mut check = SelfCheck::default();
        for (until, lasted) in stalls {
            check.stalled(at(*until), Duration::from_millis(*lasted));
        }
        assert_eq!(causes(&mut check, 12_000), expected, "{stalls:?}");
    }
}

#[test]
fn the_network_the_resolver_and_the_clock() {
    let mut check = SelfCheck::default();
    let cut_off = true;
    check.read(
        at(0),
        SelfReading {
            cut_off,
            ..SelfReading::default()
        },
    );
    assert_eq!(
        check.troubles(at(0), || false),
        [],
        "its servers may be on this machine"
    );
    assert_eq!(causes(&mut check, 0), [SelfFault::Network]);
    for (unanswered, asked, expected) in [
        (0, 2, &[][..]),
        (1, 2, &[]),
        (2, 2, &[SelfFault::Resolver]),
        // That may be the fault of the name.
        (1, 1, &[]),
    ] {
        let names = Some(ResolverHealth { unanswered, asked });
        check.read(
            at(0),
            SelfReading {
                names,
                ..SelfReading::default()
            },
        );
        assert_eq!(causes(&mut check, 0), expected);
    }
    let mut check = SelfCheck::default();
    check.clock_set(at(0), -4_999);
    assert_eq!(causes(&mut check, 0), []);
    check.clock_set(at(0), -3_600_000);
    assert_eq!(causes(&mut check, 9_000), [SelfFault::Clock]);
    assert_eq!(causes(&mut check, 10_000), []);
}

#[test]
fn probes_that_could_not_be_sent_tell_of_it_where_there_are_no_requests() {
    let mut check = SelfCheck::default();
    for second in 1..=3 {
        assert_eq!(causes(&mut check, second * 1_000), []);
        check.unsent_probe(at(second * 1_000));
    }
    assert_eq!(causes(&mut check, 3_000), [SelfFault::Descriptors]);
    assert!(check.is_busy(at(3_000)) && !check.is_busy(at(60_000)));
}

#[test]
fn a_time_limit_that_ran_out_in_a_stall_is_no_evidence() {
    let attempt = |outcome, millis| Observation::Attempt {
        outcome,
        latency: Duration::from_millis(millis),
        shape: RequestShape::UNKNOWN,
    };
    let probe = |outcome, millis| Observation::Probe {
        outcome,
        latency: Duration::from_millis(millis),
    };
    let mut check = SelfCheck::default();
    // From 10 s to 12 s.
    check.stalled(at(12_000), Duration::from_secs(2));
    for (ended, seen, expected) in [
        (
            12_050,
            attempt(Outcome::AttemptTimeout, 2_500),
            attempt(Outcome::LocalError, 500),
        ),
        (
            12_050,
            attempt(Outcome::ConnectTimeout, 2_050),
            attempt(Outcome::LocalError, 50),
        ),
        (
            12_050,
            attempt(Outcome::Answered(200), 2_060),
            attempt(Outcome::Answered(200), 60),
        ),
        (
            12_050,
            attempt(Outcome::Answered(500), 2_060),
            attempt(Outcome::Answered(500), 60),
        ),
        // It had most of its time.
        (
            12_050,
            attempt(Outcome::AttemptTimeout, 12_000),
            attempt(Outcome::AttemptTimeout, 10_000),
        ),
        // Before and after it.
        (
            10_000,
            attempt(Outcome::AttemptTimeout, 500),
            attempt(Outcome::AttemptTimeout, 500),
        ),
        (
            13_000,
            attempt(Outcome::AttemptTimeout, 1_000),
            attempt(Outcome::AttemptTimeout, 1_000),
        ),
        (
            12_010,
            probe(ProbeOutcome::NoAnswer, 2_010),
            probe(ProbeOutcome::LocalError, 10),
        ),
        (
            12_010,
            probe(ProbeOutcome::Passed, 2_010),
            probe(ProbeOutcome::Passed, 10),
        ),
        (
            12_010,
            probe(ProbeOutcome::Refused, 2_010),
            probe(ProbeOutcome::Refused, 10),
        ),
    ] {
        assert_eq!(
            check.corrected(at(ended), seen.clone()),
            expected,
            "{seen:?}"
        );
    }
}

#[test]
fn a_machine_is_short_of_processor_time_for_as_long_as_its_latencies_count() {
    let short = |readings: &[(u64, Option<u16>)], now| {
        let mut check = SelfCheck::default();
        for (millis, cpu_wait_permille) in readings {
            let reading = SelfReading {
                cpu_wait_permille: *cpu_wait_permille,
                ..SelfReading::default()
            };
            check.read(at(*millis), reading);
        }
        check.lacks_processor(at(now)).is_some()
    };
    for (readings, now, expected) in [
        (&[(0, None)][..], 100, false),
        (&[(0, Some(499))][..], 100, false),
        (&[(0, Some(500))][..], 100, true),
        (&[(0, Some(800)), (500, Some(100))][..], 9_900, true),
        (&[(0, Some(800)), (500, Some(100))][..], 10_000, false),
        (&[(0, Some(800)), (5_000, Some(700))][..], 14_000, true),
    ] {
        assert_eq!(short(readings, now), expected, "{readings:?} {now}");
    }
}

#[test]
fn where_pressure_is_not_known_its_own_lateness_tells() {
    let mut check = SelfCheck::default();
    check.stalled(at(1_000), Duration::from_millis(600));
    assert_eq!(check.lacks_processor(at(1_000)), None);
    check.stalled(at(3_000), Duration::from_millis(600));
    let why = check.lacks_processor(at(3_000)).expect("it is late");
    assert!(
        why.contains("none for 1.2 of the last ten seconds"),
        "{why}"
    );
    assert_eq!(check.lacks_processor(at(14_000)), None);
}
