//! Random signals, orders and results.

use std::hash::{BuildHasherDefault, DefaultHasher};
use std::time::Duration;

use evenkeel_core::{
    ExactShape, ExactText, Exit, Exposure, ExposureEvent, Instant, Observation, Outcome,
    ProbeOutcome, Random, ServerId, ServiceId, StartFailure,
};
use evenkeel_fault::Input;
use evenkeel_fault::contract::{Examination, OperatorOrder, OrderId, ProcessState};
use evenkeel_fault::incident::ActionOutcome;
use evenkeel_fault::maintenance::OrderTerms;

pub(crate) fn outcome(random: &mut Random) -> Outcome {
    match random.below(11) {
        0 => Outcome::Answered(500),
        1 => Outcome::ConnectRefused,
        2 => Outcome::AttemptTimeout,
        3 => Outcome::Unreachable,
        4 => Outcome::Cancelled,
        5 => Outcome::Reset { sent: true },
        6 => Outcome::LocalError,
        7 => Outcome::StreamRefused,
        8 => Outcome::Superseded,
        _ => Outcome::Answered(200),
    }
}

pub(crate) fn probe_outcome(random: &mut Random) -> ProbeOutcome {
    match random.below(9) {
        0 => ProbeOutcome::Refused,
        1 => ProbeOutcome::NoAnswer,
        2 => ProbeOutcome::WrongStatus(503),
        3 => ProbeOutcome::Unreachable,
        4 => ProbeOutcome::LocalError,
        _ => ProbeOutcome::Passed,
    }
}

pub(crate) fn exit(random: &mut Random) -> Exit {
    let signal = (random.below(2) == 0).then_some(9);
    Exit {
        code: signal.is_none().then_some(1),
        signal,
        asked: random.below(4) == 0,
        uptime: random.duration_up_to(Duration::from_secs(20)),
        last_lines: Vec::new(),
        guardian: None,
        port_holder: None,
        changed: None,
        changed_since: None,
    }
}

pub(crate) fn observation(random: &mut Random, mood: usize) -> Observation {
    let latency = random.duration_up_to(Duration::from_millis(100));
    match random.below(40) {
        0 => Observation::Exited(Box::new(exit(random))),
        1 => Observation::StartFailed(Box::new(StartFailure {
            reason: "no".to_owned(),
            changed: None,
        })),
        2..4 => Observation::Started {
            pid: 1,
            changed: None,
        },
        4..14 if mood == 0 => Observation::Probe {
            outcome: ProbeOutcome::Passed,
            latency,
        },
        4..14 => Observation::Probe {
            outcome: probe_outcome(random),
            latency,
        },
        _ if mood == 0 => Observation::Attempt {
            outcome: Outcome::Answered(200),
            latency,
            shape: evenkeel_core::RequestShape::UNKNOWN,
        },
        _ => Observation::Attempt {
            outcome: outcome(random),
            latency,
            shape: evenkeel_core::RequestShape::UNKNOWN,
        },
    }
}

type Keys = BuildHasherDefault<DefaultHasher>;

pub(crate) fn exposure(random: &mut Random, at: Instant, server: ServerId) -> Exposure {
    let target = format!("/{}", random.below(5));
    let head = format!("GET {target} HTTP/1.1");
    Exposure {
        at,
        server,
        shape: ExactShape::of_head(&Keys::default(), head.as_bytes()),
        what: match random.below(4) {
            0 => ExposureEvent::Began,
            1 => ExposureEvent::Survived,
            2 => ExposureEvent::Unsent,
            _ => ExposureEvent::Broke {
                age: random.duration_up_to(Duration::from_secs(2)),
                route: evenkeel_core::RequestShape::of(b"GET", target.as_bytes()),
                text: ExactText::of_head(head.as_bytes()),
            },
        },
    }
}

pub(crate) fn order(random: &mut Random) -> OperatorOrder {
    let server = ServerId::new(0, u32::try_from(random.below(5)).expect("small"));
    let id = format!("2026-11-22-{:04}", random.below(20));
    let lasts = random.duration_up_to(Duration::from_secs(60));
    let terms = OrderTerms {
        lasts: (random.below(2) == 0).then_some(lasts),
        force: random.below(2) == 0,
        ..OrderTerms::default()
    };
    match random.below(10) {
        8 => OperatorOrder::LiftQuarantine(ServiceId(0)),
        0 => OperatorOrder::Approve(id),
        1 => OperatorOrder::Reject(id),
        2 => OperatorOrder::Close(id),
        3 => OperatorOrder::Drain(server, terms),
        4 => OperatorOrder::Eject(server, terms),
        5 => OperatorOrder::Restart(server, terms),
        6 => OperatorOrder::MaintenanceOn(ServiceId(0), terms),
        7 => OperatorOrder::MaintenanceOff(ServiceId(0), terms),
        _ => OperatorOrder::Restore(server),
    }
}

pub(crate) fn answer(random: &mut Random, at: Instant, id: OrderId, is_action: bool) -> Input {
    if is_action {
        let outcome = match random.below(5) {
            0 => ActionOutcome::Failed,
            1 => ActionOutcome::TimedOut,
            2 => ActionOutcome::Refused,
            _ => ActionOutcome::Done,
        };
        return Input::ActionEnded {
            id,
            at,
            outcome,
            detail: None,
        };
    }
    let tcp = probe_outcome(random);
    let process = ProcessState {
        pid: (random.below(3) > 0).then_some(1),
        ..ProcessState::default()
    };
    let examination = Examination {
        tcp: Some((tcp, Duration::from_millis(1))),
        http: tcp
            .passed()
            .then(|| (probe_outcome(random), Duration::from_millis(1))),
        process: (random.below(2) == 0).then_some(process),
    };
    Input::Examined {
        id,
        at,
        examination: Box::new(examination),
    }
}
