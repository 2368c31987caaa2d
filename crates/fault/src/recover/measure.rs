//! The second check of what a playbook does for a service as a whole: failing over, shedding, answering with the fallback.
//!
//! As for a plan about one server, it knows facts only, and nothing about how the decision was made.

use crate::policy::{Action, Mode};

use super::plan::{ServerFacts, Veto};

/// The facts about the service.
#[derive(Debug)]
pub struct MeasureFacts {
    /// Its mode.
    pub mode: Mode,
    /// It is in maintenance.
    pub in_maintenance: bool,
    /// Its servers.
    pub servers: Vec<ServerFacts>,
}

/// The second check of a measure: lets it through, or says why not.
///
/// # Errors
/// The first rule that is against it.
pub fn check_measure(action: &Action, facts: &MeasureFacts) -> Result<(), Veto> {
    if facts.mode == Mode::Off {
        return Err(Veto::Mode);
    }
    if facts.in_maintenance {
        return Err(Veto::Maintenance);
    }
    let carries = |one: &ServerFacts| {
        let responds = one.answers != Some(false) && one.does_well;
        one.tier > 0 && one.is_present && one.in_rotation && one.runs && responds
    };
    if *action == Action::FailOver && !facts.servers.iter().any(carries) {
        return Err(Veto::Capacity);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIMARY: ServerFacts = ServerFacts {
        is_present: true,
        in_rotation: true,
        runs: true,
        answers: Some(false),
        does_well: false,
        is_changing: false,
        tier: 0,
    };
    const BACKUP: ServerFacts = ServerFacts {
        tier: 1,
        answers: None,
        does_well: true,
        ..PRIMARY
    };

    #[test]
    fn requests_are_taken_from_the_first_tier_only_for_backups_that_respond() {
        let errs = ServerFacts {
            does_well: false,
            ..BACKUP
        };
        let hangs = ServerFacts {
            answers: Some(false),
            ..BACKUP
        };
        let out = ServerFacts {
            in_rotation: false,
            ..BACKUP
        };
        for (action, mode, in_maintenance, behind, expected) in [
            (Action::FailOver, Mode::Automatic, false, BACKUP, None),
            (Action::FailOver, Mode::DryRun, false, BACKUP, None),
            (Action::FailOver, Mode::Off, false, BACKUP, Some(Veto::Mode)),
            (
                Action::FailOver,
                Mode::Automatic,
                false,
                errs,
                Some(Veto::Capacity),
            ),
            (
                Action::FailOver,
                Mode::Automatic,
                false,
                hangs,
                Some(Veto::Capacity),
            ),
            (
                Action::FailOver,
                Mode::Automatic,
                false,
                out,
                Some(Veto::Capacity),
            ),
            (Action::FallBack, Mode::Automatic, false, out, None),
            (Action::Shed, Mode::Ask, false, out, None),
            (Action::Shed, Mode::Ask, true, out, Some(Veto::Maintenance)),
        ] {
            let facts = MeasureFacts {
                mode,
                in_maintenance,
                servers: vec![PRIMARY, behind],
            };
            let found = check_measure(&action, &facts).err();
            assert_eq!(found, expected, "{action:?} {mode:?} {behind:?}");
        }
    }
}
