//! `evenkeel playbooks`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use evenkeel_config::Plan;
use evenkeel_config::plan::{ManagedPlan, ServerPlan, ServicePlan};
use evenkeel_fault::FaultKind;
use evenkeel_fault::contract::Managed;
use evenkeel_fault::policy::{Action, Mode};
use evenkeel_fault::recover::{Situation, playbook};
use serde::Serialize;

use super::find::DEFAULT_FILE;
use crate::configuration;
use crate::output::{CommandEnding, CommandFailure, Result, print};

/// Show the actions for each kind of fault, from the built-in playbooks and your own.
#[derive(Debug, Args)]
#[command(
    after_help = "Guards, modes and shared causes take precedence: see the guide, \"How recovery works\".\n\n\
                  Example:\n  evenkeel playbooks evenkeel.toml\n  evenkeel playbooks --json"
)]
pub(crate) struct PlaybooksArgs {
    /// The configuration file.
    #[arg(value_name = "CONFIG", default_value = DEFAULT_FILE)]
    config: PathBuf,
    /// The output format.
    #[arg(long, value_enum, default_value_t = PlaybooksFormat::Text)]
    format: PlaybooksFormat,
    /// Same as `--format json`.
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PlaybooksFormat {
    Text,
    Json,
}

/// The playbooks for servers of a service that are managed in the same way.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct ServerGroup {
    service: String,
    servers: Vec<String>,
    /// How they are restarted and stopped: `run`, `commands` or `none`.
    managed: &'static str,
    mode: &'static str,
    playbooks: Vec<PlaybookLine>,
}

/// The playbook for one kind of fault.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct PlaybookLine {
    fault: &'static str,
    /// `own` or `built-in`.
    from: &'static str,
    #[serde(rename = "do")]
    actions: Vec<String>,
    /// Whether this version ever diagnoses this kind for a server or a service.
    diagnosed: bool,
}

impl PlaybooksArgs {
    pub(crate) fn carry_out(self) -> Result {
        let plan = configuration::read(&self.config)?.plan;
        let groups = groups(&plan);
        if self.json || self.format == PlaybooksFormat::Json {
            let text = serde_json::to_string_pretty(&groups);
            print(text.map_err(|error| CommandFailure::world("the result", error))?)?;
        } else {
            print(text(&groups))?;
        }
        Ok(CommandEnding::Good)
    }
}

fn groups(plan: &Plan) -> Vec<ServerGroup> {
    plan.services.iter().flat_map(of_service).collect()
}

fn of_service(service: &ServicePlan) -> Vec<ServerGroup> {
    let mut groups: Vec<(Managed, ServerGroup)> = Vec::new();
    for server in &service.servers {
        let managed = managed(&server.managed);
        let known = groups.iter_mut().find(|(other, _)| *other == managed);
        if let Some((_, group)) = known {
            group.servers.push(server.name.clone());
            continue;
        }
        let recover = &service.fault.recover;
        let line = |kind| line(service, managed, kind);
        groups.push((
            managed,
            ServerGroup {
                service: service.name.clone(),
                servers: vec![server.name.clone()],
                managed: match managed {
                    Managed::Child => "run",
                    Managed::Commands { .. } => "commands",
                    Managed::Nothing => "none",
                },
                mode: match recover.mode {
                    Mode::Automatic => "automatic",
                    Mode::Ask => "ask",
                    Mode::DryRun => "dry-run",
                    Mode::Off => "off",
                },
                playbooks: FaultKind::ALL.into_iter().map(line).collect(),
            },
        ));
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

const fn managed(plan: &ManagedPlan) -> Managed {
    match plan {
        ManagedPlan::Child(_) => Managed::Child,
        ManagedPlan::Commands { restart, stop } => Managed::Commands {
            restart: restart.is_some(),
            stop: stop.is_some(),
        },
        ManagedPlan::Nothing => Managed::Nothing,
    }
}

fn rolls_back(server: &ServerPlan) -> bool {
    match &server.managed {
        ManagedPlan::Child(child) => child.roll_back.is_some(),
        ManagedPlan::Commands { .. } | ManagedPlan::Nothing => false,
    }
}

fn line(service: &ServicePlan, managed: Managed, fault: FaultKind) -> PlaybookLine {
    let recover = &service.fault.recover;
    let situation = Situation {
        managed,
        passed: false,
        hang_wait: Some(recover.hang_wait),
        rolls_back: service.servers.iter().any(rolls_back),
        listens_elsewhere: false,
    };
    let is_own = recover
        .playbooks
        .iter()
        .any(|playbook| playbook.when.contains(&fault));
    let actions = playbook(fault, &recover.playbooks, situation);
    let mut actions: Vec<String> = actions.iter().map(in_words).collect();
    if fault == FaultKind::PoisonRequest {
        // Whatever a playbook says: it is what this kind is about.
        actions.insert(0, "quarantine".to_owned());
    }
    PlaybookLine {
        fault: fault.word(),
        from: if is_own { "own" } else { "built-in" },
        actions,
        diagnosed: fault.is_diagnosed(),
    }
}

fn in_words(action: &Action) -> String {
    match action {
        Action::Exec(command) => {
            let words: Vec<String> = command.iter().map(|word| format!("{word:?}")).collect();
            format!("exec [{}]", words.join(", "))
        }
        Action::Wait(time) => format!("wait {}", seconds(time.as_secs_f64())),
        Action::Eject
        | Action::Drain
        | Action::Restore
        | Action::Restart
        | Action::Stop
        | Action::RollBack
        | Action::FailOver
        | Action::Shed
        | Action::FallBack
        | Action::Escalate => action.word().to_owned(),
    }
}

/// `10 s`, `0.5 s`.
fn seconds(seconds: f64) -> String {
    let text = format!("{seconds:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text} s")
}

/// Each list of actions once, with all the kinds it applies to.
fn text(groups: &[ServerGroup]) -> String {
    let mut shown: Vec<(Vec<String>, &ServerGroup)> = Vec::new();
    for group in groups {
        let of = format!("{} ({})", group.service, group.servers.join(", "));
        let same = shown.iter_mut().find(|(_, other)| {
            other.playbooks == group.playbooks
                && other.mode == group.mode
                && other.managed == group.managed
        });
        match same {
            Some((names, _)) => names.push(of),
            None => shown.push((vec![of], group)),
        }
    }
    let parts = shown.iter().map(|(names, group)| {
        let how = match group.managed {
            "run" => "evenkeel runs them",
            "commands" => "reached by commands",
            _ => "evenkeel cannot restart them",
        };
        let mut part = format!("{}: {how}, mode {}\n\n", names.join(", "), group.mode);
        let width = |text: fn(&PlaybookLine) -> &str| {
            let lines = group.playbooks.iter();
            lines.map(|line| text(line).len()).max().unwrap_or_default()
        };
        let (fault, from) = (width(|line| line.fault), width(|line| line.from));
        for line in &group.playbooks {
            let actions = if line.actions.is_empty() {
                "nothing".to_owned()
            } else {
                line.actions.join(", ")
            };
            let note = if line.diagnosed {
                ""
            } else {
                "  (not diagnosed of a server yet)"
            };
            part += &format!(
                "  {:fault$}  {:from$}  {actions}{note}\n",
                line.fault, line.from
            );
        }
        part
    });
    parts.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_shown_without_trailing_zeros() {
        for (given, shown) in [(10.0, "10 s"), (0.5, "0.5 s"), (100.0, "100 s")] {
            assert_eq!(seconds(given), shown);
        }
    }
}
