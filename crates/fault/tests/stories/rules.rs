//! Rules that hold for every fault: modes, guards, limits, one incident per fault, orders, expiry.

use evenkeel_core::{
    Directive, EjectionReason, Instant, Observation, Outcome, ProbeOutcome, ServerId, Signal,
};
use evenkeel_fault::contract::{Managed, OperatorOrder, ProbePace, ServerStatus, Totals};
use evenkeel_fault::incident::{ActionOutcome, Incident, IncidentStatus};
use evenkeel_fault::maintenance::OrderTerms;
use evenkeel_fault::policy::{Action, Mode, Playbook};
use evenkeel_fault::{FaultKind, Input, Output, PersistedState, Similar};

use super::world::{Condition, World, ms, options};

fn closed(world: &World) -> bool {
    !world.incidents.is_empty()
        && world
            .incidents
            .values()
            .all(|incident| incident.status == IncidentStatus::Closed)
}

fn actions(incident: &Incident) -> Vec<(&str, &str)> {
    let word = |outcome: Option<ActionOutcome>| outcome.map_or("under way", ActionOutcome::word);
    incident
        .actions
        .iter()
        .map(|action| (action.action.as_str(), word(action.outcome)))
        .collect()
}

fn in_mode(mode: Mode) -> World {
    let mut options = options();
    options.recover.mode = mode;
    let mut world = World::new(3, Managed::Child, options);
    world.run(5_000);
    world
}

fn kind(incident: &Incident) -> FaultKind {
    incident.diagnosis[0].fault
}

#[test]
fn off_only_records_and_closes_when_it_is_well_again() {
    let mut world = in_mode(Mode::Off);
    world.break_server(1, Condition::Hung);
    world.run(10_000);
    let gave = |output: &Output| matches!(output, Output::Directive(_) | Output::Act(_));
    assert!(!world.outputs.iter().any(|(_, output)| gave(output)));
    assert_eq!(kind(world.only()), FaultKind::ProcessHung);
    assert_eq!(actions(world.only()), []);
    assert_eq!(world.only().status, IncidentStatus::Open);
    world.heal(1);
    world.until(6_000, closed);
    assert!(!world.outputs.iter().any(|(_, output)| gave(output)));
}

#[test]
fn dry_run_does_what_is_free_and_writes_down_the_rest() {
    let mut world = in_mode(Mode::DryRun);
    world.break_server(1, Condition::Hung);
    world.run(20_000);
    assert!(!world.in_service(1), "what is free is done");
    assert!(world.restarts.is_empty());
    assert_eq!(
        actions(world.only()),
        [("eject", "done"), ("restart", "would-do")]
    );
    world.heal(1);
    world.until(6_000, closed);
}

#[test]
fn dry_run_keeps_traffic_from_a_dead_process() {
    let mut world = in_mode(Mode::DryRun);
    world.break_server(1, Condition::Dead);
    world.run(20_000);
    assert!(!world.in_service(1));
    assert_eq!(world.state(1), ServerStatus::Down);
    assert_eq!(
        actions(world.only()),
        [("eject", "done"), ("restart", "would-do")]
    );
}

#[test]
fn ask_waits_for_a_person_and_acts_once_approved() {
    let mut world = in_mode(Mode::Ask);
    world.break_server(1, Condition::Hung);
    world.run(10_000);
    assert_eq!(world.only().status, IncidentStatus::AwaitingApproval);
    assert_eq!(
        actions(world.only()),
        [("eject", "done"), ("restart", "would-do")]
    );
    assert!(world.restarts.is_empty());
    let id = world.only().id.clone();
    world.order(OperatorOrder::Approve("2026-11-22-9999".to_owned()));
    assert_eq!(world.only().status, IncidentStatus::AwaitingApproval);
    world.order(OperatorOrder::Approve(id));
    world.until(2_000, closed);
    assert_eq!(actions(world.only())[2..], [("restart", "done")]);
}

#[test]
fn ask_and_a_no_means_that_it_is_only_watched() {
    let mut world = in_mode(Mode::Ask);
    world.break_server(1, Condition::Hung);
    world.run(10_000);
    let id = world.only().id.clone();
    world.order(OperatorOrder::Reject(id));
    assert_eq!(world.only().status, IncidentStatus::Open);
    world.run(10_000);
    assert!(world.restarts.is_empty());
    world.heal(1);
    world.until(6_000, closed);
}

#[test]
fn a_person_closes_an_incident_as_it_is() {
    let mut world = World::new(3, Managed::Nothing, options());
    world.run(5_000);
    world.break_server(1, Condition::BadProbe);
    world.run(20_000);
    let id = world.only().id.clone();
    world.order(OperatorOrder::Close(id));
    assert!(closed(&world));
    assert!(world.only().recovered.is_none());
    assert!(
        world
            .only()
            .analysis
            .as_ref()
            .expect("report")
            .summary
            .contains("an operator closed it")
    );
}

#[test]
fn the_only_server_may_be_restarted_when_it_serves_nothing() {
    for condition in [Condition::Dead, Condition::Hung] {
        let mut world = World::new(1, Managed::Child, options());
        world.run(5_000);
        world.break_server(0, condition);
        world.until(10_000, closed);
        assert_eq!(world.restarts.len(), 1);
    }
}

#[test]
fn the_only_server_is_not_restarted_while_it_still_serves() {
    let mut world = World::new(1, Managed::Child, options());
    world.run(5_000);
    world.break_server(0, Condition::Errors(50));
    world.run(30_000);
    assert!(world.restarts.is_empty());
    assert!(world.in_service(0));
    assert_eq!(
        actions(world.only()),
        [("eject", "refused"), ("escalate", "done")]
    );
    assert!(
        world.only().actions[0]
            .detail
            .as_ref()
            .expect("why")
            .contains("keep_serving")
    );
    world.heal(0);
    world.until(20_000, closed);
}

#[test]
fn servers_that_serve_are_taken_out_only_as_far_as_keep_serving_allows() {
    let mut options = options();
    options.recover.keep_serving = 0.75;
    let mut world = World::new(4, Managed::Nothing, options);
    world.run(5_000);
    world.break_server(0, Condition::Errors(45));
    world.break_server(1, Condition::Slow(20));
    for _ in 0..100 {
        world.run(200);
        let serving = (0..4).filter(|index| world.in_service(*index)).count();
        assert!(serving >= 3, "{serving}");
    }
    assert_eq!(world.incidents.len(), 2);
}

#[test]
fn dead_servers_are_all_restarted_whatever_keep_serving_says() {
    let mut options = options();
    options.recover.keep_serving = 1.0;
    let mut world = World::new(3, Managed::Child, options);
    world.run(5_000);
    for index in 0..3 {
        world.break_server(index, Condition::Dead);
    }
    world.until(1_500, closed);
    assert_eq!(world.incidents.len(), 3);
}

#[test]
fn restarts_of_one_server_back_off() {
    let mut world = World::new(3, Managed::Child, options());
    world.run(5_000);
    world.reborn(1, Condition::Stillborn);
    world.break_server(1, Condition::Dead);
    world.run(10_000);
    let times: Vec<Instant> = world.restarts.iter().map(|(at, _, _)| *at).collect();
    let gaps: Vec<u128> = times
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_millis())
        .collect();
    // It lives 30 ms each time, and the supervisor's report takes one.
    assert_eq!(gaps, [131, 231, 431, 831]);
    assert!(
        world
            .only()
            .actions
            .iter()
            .any(|action| action.action == "escalate")
    );
}

#[test]
fn several_detectors_one_incident() {
    let mut world = World::new(3, Managed::Child, options());
    world.run(5_000);
    // Refused attempts and a failed probe reach the keeper before the supervisor's report.
    let at = world.now;
    let server = ServerId::new(0, 1);
    let refused = |after: u64| {
        let observation = Observation::Attempt {
            outcome: Outcome::ConnectRefused,
            latency: ms(0),
            shape: evenkeel_core::RequestShape::UNKNOWN,
        };
        Input::Signal(Signal {
            at: at.before(ms(after)),
            server,
            observation,
        })
    };
    world.feed((0..8).rev().map(|n| refused(n * 10)).collect());
    world.break_server(1, Condition::Dead);
    world.until(2_000, closed);
    let incident = world.only();
    assert_eq!(incident.detected_by, "consecutive-failures");
    assert_eq!(kind(incident), FaultKind::ProcessCrashed);
    assert_eq!(
        incident
            .timeline
            .iter()
            .filter(|entry| entry.kind == "detection")
            .count(),
        2
    );
    assert_eq!(
        incident
            .actions
            .iter()
            .filter(|action| action.action == "restart")
            .count(),
        1
    );
    let detection = incident.durations_ms.detection.expect("detected");
    assert!(
        (69.0..71.0).contains(&detection),
        "from the first refused attempt: {detection}"
    );
}

#[test]
fn an_exit_that_was_asked_for_is_no_fault() {
    let mut world = World::new(3, Managed::Child, options());
    world.run(5_000);
    world.order(OperatorOrder::Restart(
        ServerId::new(0, 1),
        OrderTerms::default(),
    ));
    assert_eq!(world.state(1), ServerStatus::Recovering);
    assert!(!world.in_service(1));
    world.run(300);
    assert_eq!(world.state(1), ServerStatus::Verifying);
    world.run(1_000);
    assert_eq!(world.state(1), ServerStatus::Up);
    assert!(world.in_service(1));
    assert!(world.incidents.is_empty());
    assert_eq!(world.restarts.len(), 1);
}

#[test]
fn a_restart_by_hand_that_does_not_succeed_opens_an_incident() {
    let mut world = World::new(3, Managed::Child, options());
    world.run(5_000);
    world.reborn(1, Condition::Unstartable);
    world.order(OperatorOrder::Restart(
        ServerId::new(0, 1),
        OrderTerms::default(),
    ));
    world.run(2_000);
    assert_eq!(kind(world.only()), FaultKind::CannotStart);
}

#[test]
fn directives_are_renewed_before_they_expire_and_end_with_a_restore() {
    let mut world = World::new(3, Managed::Nothing, options());
    world.run(5_000);
    world.break_server(1, Condition::Hung);
    world.until(10_000, |world| !world.in_service(1));
    let from = world.now;
    for _ in 0..300 {
        world.run(100);
        assert!(!world.in_service(1));
    }
    let renewed = world.outputs.iter().filter(|(at, output)| {
        *at > from
            && matches!(
                output,
                Output::Directive(Directive::Eject {
                    verdict: EjectionReason::Hung,
                    ..
                })
            )
    });
    assert!((25..40).contains(&renewed.count()));
    world.heal(1);
    world.until(5_000, closed);
    let last = world
        .outputs
        .iter()
        .rev()
        .find_map(|(_, output)| match output {
            Output::Directive(directive) => Some(*directive),
            _ => None,
        });
    assert_eq!(
        last,
        Some(Directive::Restore {
            server: ServerId::new(0, 1),
            slowly: true
        })
    );
}

#[test]
fn probes_that_flap_are_a_doubt_and_no_incident() {
    let mut world = World::new(2, Managed::Nothing, options());
    world.every = ms(3_600_000);
    world.run(200);
    let server = ServerId::new(0, 1);
    for n in 0..200_u64 {
        let outcome = if n % 3 == 2 {
            ProbeOutcome::Passed
        } else {
            ProbeOutcome::NoAnswer
        };
        let observation = Observation::Probe {
            outcome,
            latency: ms(1),
        };
        let at = world.now;
        world.feed(vec![Input::Signal(Signal {
            at,
            server,
            observation,
        })]);
        assert_eq!(world.state(1), ServerStatus::Doubtful);
    }
    assert!(world.incidents.is_empty());
    let fast = world.outputs.iter().filter(|(_, output)| {
        matches!(
            output,
            Output::Pace {
                pace: ProbePace::Fast,
                ..
            }
        )
    });
    assert_eq!(fast.count(), 1);
    world.run(30_000);
    assert_eq!(world.state(1), ServerStatus::Up);
}

#[test]
fn a_child_takes_traffic_once_it_is_ready_and_is_given_time() {
    let mut world = World::new(2, Managed::Child, options());
    assert_eq!(world.state(0), ServerStatus::Starting);
    assert!(!world.in_service(0));
    world.run(150);
    assert_eq!(world.state(0), ServerStatus::Up);
    assert!(world.in_service(0));

    let mut world = World::new(2, Managed::Child, options());
    world.break_server(1, Condition::Deaf);
    world.run(9_000);
    assert!(world.incidents.is_empty());
    assert_eq!(world.state(1), ServerStatus::Starting);
    world.run(5_000);
    assert_eq!(kind(world.only()), FaultKind::CannotStart);
}

#[test]
fn an_unmanaged_server_that_fails_from_the_start_is_detected() {
    let mut world = World::new(2, Managed::Nothing, options());
    world.break_server(1, Condition::Deaf);
    world.run(5_000);
    assert_eq!(kind(world.only()), FaultKind::NotListening);
}

#[test]
fn a_playbook_of_the_user_comes_first_and_is_climbed_in_rungs() {
    let mut options = options();
    let page = Action::Exec(vec!["./page.sh".to_owned()]);
    let actions_of_user = vec![Action::Eject, Action::Restart, page, Action::Escalate];
    options.recover.playbooks = vec![Playbook {
        when: vec![FaultKind::ProcessHung],
        actions: actions_of_user,
    }];
    let mut world = World::new(3, Managed::Child, options.clone());
    world.run(5_000);
    world.break_server(1, Condition::Hung);
    world.until(10_000, closed);
    assert_eq!(
        actions(world.only()),
        [("eject", "done"), ("restart", "done"), ("exec", "done")]
    );

    let mut world = World::new(3, Managed::Child, options);
    world.run(5_000);
    world.reborn(1, Condition::Hung);
    world.break_server(1, Condition::Hung);
    world.run(20_000);
    let done = actions(world.only());
    assert_eq!(
        done[..4],
        [
            ("eject", "done"),
            ("restart", "done"),
            ("exec", "done"),
            ("escalate", "done")
        ]
    );
    world.heal(1);
    world.until(20_000, closed);
}

#[test]
fn ids_go_on_where_history_ended_and_similar_incidents_are_named() {
    let before = Similar {
        id: "2026-11-20-0003".to_owned(),
        service: "shop".to_owned(),
        fault: FaultKind::ProcessCrashed,
        closed: "2026-11-20T10:00:00.000Z".to_owned(),
    };
    let other = Similar {
        id: "2026-11-21-0001".to_owned(),
        service: "api".to_owned(),
        ..before.clone()
    };
    let memory = PersistedState {
        numbers: vec![("2026-11-22".to_owned(), 41)],
        recent: vec![before, other],
        ..PersistedState::default()
    };
    let mut world = World::with_memory(3, Managed::Child, options(), memory);
    world.run(5_000);
    world.break_server(1, Condition::Dead);
    world.until(2_000, closed);
    assert_eq!(world.only().id, "2026-11-22-0042");
    assert_eq!(
        world.only().analysis.as_ref().expect("report").similar,
        ["2026-11-20-0003"]
    );
    world.break_server(2, Condition::Dead);
    world.run(2_000);
    let last = world.incidents.values().next_back().expect("two");
    assert_eq!(last.id, "2026-11-22-0043");
    assert_eq!(
        last.analysis.as_ref().expect("report").similar,
        ["2026-11-22-0042", "2026-11-20-0003"]
    );
}

#[test]
fn impact_is_the_difference_of_totals_from_onset_to_recovery() {
    let mut world = World::new(1, Managed::Child, options());
    world.run(10_000);
    let before = world.totals;
    world.break_server(0, Condition::Dead);
    world.until(3_000, closed);
    let Totals {
        requests, failed, ..
    } = world.totals;
    let impact = world.only().impact;
    assert!(
        impact.failed > 0 && impact.failed <= failed - before.failed + 30,
        "{impact:?}"
    );
    assert!(impact.requests >= impact.failed && impact.requests <= requests);
    // 200 requests/s over 30 days leave 518,400 failures at 99.9 %.
    let expected = impact.failed as f64 / 518_400.0;
    assert!(
        (impact.budget_spent / expected - 1.0).abs() < 0.1,
        "{impact:?}"
    );
}

#[test]
fn successes_alone_bring_no_output_and_no_wake_up_beyond_the_comparison() {
    let mut options = options();
    options.detect.slow = None;
    let mut world = World::new(2, Managed::Nothing, options);
    world.run(1_000);
    world.outputs.clear();
    world.run(60_000);
    assert!(world.outputs.is_empty());
    assert_eq!(world.keeper.next_wake(), None);
}

#[test]
fn a_lost_answer_does_not_hold_the_keeper_for_ever() {
    let mut world = World::new(2, Managed::Nothing, options());
    world.run(1_000);
    let (at, server) = (world.now, ServerId::new(0, 1));
    let outcome = ProbeOutcome::NoAnswer;
    let observation = Observation::Probe {
        outcome,
        latency: ms(1_000),
    };
    let inputs = (0..3).map(|_| {
        Input::Signal(Signal {
            at,
            server,
            observation: observation.clone(),
        })
    });
    // Fed past the world, which therefore never answers the examination.
    let mut out = Vec::new();
    world.keeper.step(at, &mut inputs.collect(), &mut out);
    assert!(
        out.iter()
            .any(|output| matches!(output, Output::Examine { .. }))
    );
    world.keeper.step(at + ms(2_300), &mut Vec::new(), &mut out);
    let diagnosed = world.keeper.incidents().next().expect("open");
    assert!(diagnosed.diagnosed.is_some());
}
