//! Tables of symptoms, and the cause that follows from them.

use evenkeel_core::{Instant, Outcome, RequestShape};

use super::*;
use crate::policy::{DetectOptions, ProbeKind, ProbeOptions};
use crate::signal::{ObservedAttempt, Routes, ServerHistory};

/// Its requests succeed.
fn well() -> Option<JudgedServer> {
    Some(JudgedServer {
        symptom: None,
        since: Instant::from_millis(1_000),
        is_well: true,
    })
}

/// Nothing is known of it.
fn quiet() -> Option<JudgedServer> {
    Some(JudgedServer {
        is_well: false,
        ..well()?
    })
}

fn with(symptom: Symptom, since: u64) -> Option<JudgedServer> {
    Some(JudgedServer {
        symptom: Some(symptom),
        since: Instant::from_millis(since),
        is_well: symptom == Symptom::FailsProbes,
    })
}

/// How a request to these servers fails.
type Fails<'a> = Option<(Outcome, &'a [u32])>;
/// The symptoms, the load, and the cause that follows.
type Row<'a> = (&'a [Option<JudgedServer>], f64, Option<FaultKind>);

/// Tallies of `(method, target, servers that answer 200, servers that fail like this)`, ten requests each.
fn tallies(list: &[(&str, &str, &[u32], Fails<'_>)]) -> Vec<RouteTally> {
    let mut routes = Routes::new(std::time::Duration::from_secs(10));
    let at = Instant::from_millis(500);
    for (method, target, well, failing) in list {
        let shape = RequestShape::of(method.as_bytes(), target.as_bytes());
        for server in well.iter().cycle().take(well.len() * 10) {
            routes.take(at, *server, shape, Outcome::Answered(200));
        }
        let Some((outcome, servers)) = failing else {
            continue;
        };
        for server in servers.iter().cycle().take(servers.len() * 10) {
            routes.take(at, *server, shape, *outcome);
        }
    }
    routes.tallies(at)
}

fn judged(servers: &[Option<JudgedServer>], routes: &[RouteTally], load: f64) -> Option<FaultKind> {
    common_cause(&JudgedService {
        servers,
        routes,
        load,
        overload: None,
    })
    .map(|cause| cause.kind)
}

#[test]
fn half_of_the_servers_or_more_with_one_symptom_have_one_cause() {
    use FaultKind as Kind;
    use Symptom as S;
    let none: [Option<JudgedServer>; 0] = [];
    let table: &[Row<'_>] = &[
        (&none, 1.0, None),
        (&[well(), well(), well()], 1.0, None),
        (&[with(S::Errs, 1), well(), well()], 1.0, None),
        (&[with(S::Errs, 1), with(S::Hangs, 2), well()], 1.0, None),
        (&[with(S::Errs, 1)], 1.0, None),
        (
            &[with(S::Errs, 1), with(S::Errs, 2), quiet()],
            1.0,
            Some(Kind::DependencyFailure),
        ),
        // The healthy one can carry what the others cannot.
        (&[with(S::Errs, 1), with(S::Errs, 2), well()], 1.0, None),
        (
            &[
                with(S::Errs, 1),
                with(S::Errs, 2),
                quiet(),
                quiet(),
                quiet(),
            ],
            1.0,
            None,
        ),
        // Of two servers that are left, both.
        (
            &[with(S::Hangs, 1), None, with(S::Hangs, 2)],
            1.0,
            Some(Kind::DependencyFailure),
        ),
        (
            &[with(S::Hangs, 1), with(S::Hangs, 2)],
            5.0,
            Some(Kind::Overload),
        ),
        (
            &[with(S::Sheds, 1), with(S::Sheds, 2)],
            1.0,
            Some(Kind::Overload),
        ),
        (
            &[with(S::FailsProbes, 1), with(S::FailsProbes, 2)],
            1.0,
            Some(Kind::BadProbe),
        ),
        // Their requests succeed: other tiers need not take over.
        (
            &[with(S::FailsProbes, 1), with(S::FailsProbes, 2), well()],
            1.0,
            Some(Kind::BadProbe),
        ),
        (
            &[with(S::Unreachable, 1), with(S::Unreachable, 2)],
            1.0,
            Some(Kind::Unreachable),
        ),
        (&[with(S::Refuses, 1), with(S::Refuses, 2)], 1.0, None),
    ];
    for (servers, load, expected) in table {
        assert_eq!(judged(servers, &[], *load), *expected, "{servers:?}");
    }
}

#[test]
fn what_is_costly_is_refused_where_half_show_the_same_though_others_are_well() {
    let servers = [with(Symptom::Errs, 1), with(Symptom::Errs, 2), well(), None];
    let alike = SymptomCounts::count(&servers);
    assert_eq!(alike.shared(Symptom::Errs), Some((2, 3)));
    assert_eq!(alike.shared(Symptom::Hangs), None);
    assert_eq!(
        SymptomCounts::count(&servers[1..]).shared(Symptom::Errs),
        None
    );
}

#[test]
fn the_first_to_show_it_is_named_first() {
    let servers = [with(Symptom::Errs, 30), with(Symptom::Errs, 10), quiet()];
    let cause = common_cause(&JudgedService {
        servers: &servers,
        routes: &[],
        load: 1.0,
        overload: None,
    })
    .unwrap();
    assert_eq!(cause.servers, [1, 0]);
    assert_eq!(cause.onset, Instant::from_millis(10));
}

#[test]
fn a_route_that_fails_everywhere_is_what_is_broken() {
    let all = [0, 1, 2];
    let three = [with(Symptom::Errs, 1), with(Symptom::Errs, 2), quiet()];
    let error = |servers| Some((Outcome::Answered(500), servers));
    let broken = tallies(&[
        ("GET", "/orders/7", &[], error(&all[..])),
        ("GET", "/", &all, None),
    ]);
    assert_eq!(judged(&three, &broken, 1.0), Some(FaultKind::BrokenRoute));
    // With nothing else to hold it against, it is the servers.
    let alone = tallies(&[("GET", "/orders/7", &[], error(&all[..]))]);
    assert_eq!(
        judged(&three, &alone, 1.0),
        Some(FaultKind::DependencyFailure)
    );
    // On one server only, it is that server.
    let one = tallies(&[
        ("GET", "/orders/7", &all[1..], error(&all[..1])),
        ("GET", "/", &all, None),
    ]);
    assert_eq!(
        judged(&[with(Symptom::Errs, 1), well(), well()], &one, 1.0),
        None
    );
}

#[test]
fn a_method_that_fails_on_all_routes_is_named_as_one() {
    let all = [0, 1, 2];
    let hangs = |servers| Some((Outcome::AttemptTimeout, servers));
    let routes = tallies(&[
        ("POST", "/orders", &[], hangs(&all[..])),
        ("POST", "/carts", &[], hangs(&all[..])),
        ("GET", "/orders", &all, None),
    ]);
    let failing = failing(&routes, 3).unwrap();
    assert!(failing.is_method, "{failing:?}");
    assert_eq!((failing.failed, failing.servers), (60, 3));
}

/// Two failures in a row are a symptom where hardly any requests come. At once they are not, also where none has ended for a while.
#[test]
fn two_failures_in_a_row_are_a_symptom_at_sparse_traffic_only() {
    let second = std::time::Duration::from_secs(1);
    let options = DetectOptions {
        probe: ProbeOptions {
            kind: ProbeKind::Tcp,
            every: second * 2,
            timeout: second,
            fall: 3,
            rise: 2,
            fast: second,
        },
        consecutive_failures: 5,
        failure_ratio: None,
        slow: None,
    };
    for (apart, symptom) in [
        (1, None),
        (200, None),
        (400, Some(Symptom::Hangs)),
        (2_000, Some(Symptom::Hangs)),
    ] {
        let mut facts = ServerHistory::new(&options, 2);
        let mut ends = |millis, outcome| {
            facts.attempt(ObservedAttempt {
                at: Instant::from_millis(millis),
                outcome,
                latency: std::time::Duration::from_millis(1),
                shape: RequestShape::of(b"GET", b"/"),
            });
        };
        (1..=500).for_each(|nth| ends(nth * 10, Outcome::Answered(200)));
        ends(17_000, Outcome::AttemptTimeout);
        ends(17_000 + apart, Outcome::AttemptTimeout);
        let now = Instant::from_millis(17_000 + apart);
        let judged = JudgedServer::read(&facts, &options, now);
        assert_eq!(judged.symptom, symptom, "{apart} ms apart");
    }
}
