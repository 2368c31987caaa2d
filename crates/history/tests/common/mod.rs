//! Incidents for tests.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(
    clippy::allow_attributes,
    reason = "an unmet expectation would be a warning in the other files"
)]

use evenkeel_fault::Incident;
use evenkeel_fault::incident::{Durations, Impact, IncidentStatus};

/// An incident of `shop` on 2026-11-22 at ten o'clock, and `minute` minutes; closed.
pub(crate) fn incident(number: u32, minute: u32) -> Incident {
    let at = |second: u32| format!("2026-11-22T10:{minute:02}:{second:02}.000Z");
    Incident {
        id: format!("2026-11-22-{number:04}"),
        drill: false,
        status: IncidentStatus::Closed,
        service: "shop".to_owned(),
        servers: vec!["one".to_owned()],
        onset: at(0),
        detected: Some(at(1)),
        diagnosed: Some(at(2)),
        recovered: Some(at(3)),
        closed: Some(at(4)),
        durations_ms: Durations {
            detection: Some(1_000.0),
            diagnosis: Some(500.0),
            recovery: Some(f64::from(number) * 1_000.0),
            analysis: Some(1.0),
        },
        detected_by: "process-exit".to_owned(),
        diagnosis: Vec::new(),
        actions: Vec::new(),
        verification: None,
        impact: Impact::default(),
        timeline: Vec::new(),
        end: None,
        analysis: None,
    }
}

/// The same, not over yet.
#[allow(
    dead_code,
    clippy::allow_attributes,
    reason = "not every test file needs one"
)]
pub(crate) fn open(number: u32, minute: u32) -> Incident {
    Incident {
        status: IncidentStatus::Recovering,
        recovered: None,
        closed: None,
        ..incident(number, minute)
    }
}
