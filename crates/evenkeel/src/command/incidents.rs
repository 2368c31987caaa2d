//! `evenkeel incidents`: queries the running evenkeel; if there is none, reads its store.

use std::path::Path;

use clap::{Args, Subcommand, ValueEnum};
use evenkeel_admin::{ServiceReport, escaped, text};
use evenkeel_core::WallTime;
use evenkeel_fault::Incident;
use evenkeel_history::{IncidentFilter, Store};
use evenkeel_runtime::Clock;

use super::find::{AdminAddress, AdminClient};
use crate::output::{CommandEnding, CommandFailure, Result, print};
use crate::{configuration, period, wiring};

/// List incidents, show one, or summarize them.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  evenkeel incidents list --since 7d\n  \
                        evenkeel incidents show 2026-11-22-0007 --format markdown\n  evenkeel incidents report --since 30d")]
pub(crate) struct IncidentsArgs {
    #[command(subcommand)]
    what: Option<IncidentsMode>,
    #[command(flatten)]
    find: AdminAddress,
    /// The output format.
    #[arg(long, value_enum, default_value_t = IncidentsFormat::Text, global = true)]
    format: IncidentsFormat,
}

#[derive(Debug, Subcommand)]
enum IncidentsMode {
    /// List incidents, newest first, with means and availability per service.
    #[command(after_help = "Example:\n  evenkeel incidents list --since 7d --service shop")]
    List {
        /// Only incidents of this service.
        #[arg(long, value_name = "NAME")]
        service: Option<String>,
        /// Only incidents with this status: open, recovering, verifying, awaiting-approval, escalated, closed.
        #[arg(long, value_name = "WORD")]
        status: Option<String>,
        /// The start of the period: an age such as 30d, or a date.
        #[arg(long, value_name = "SINCE", default_value = "30d")]
        since: String,
    },
    /// Show one incident: what happened, the evidence, the actions, the impact, and recommendations.
    #[command(after_help = "Example:\n  evenkeel incidents show 2026-11-22-0007 --format markdown")]
    Show {
        /// The incident's id.
        id: String,
    },
    /// Summarize per service: mean times to detect and to restore, and availability.
    #[command(after_help = "Example:\n  evenkeel incidents report --since 30d")]
    Report {
        /// The start of the period: an age such as 30d, or a date.
        #[arg(long, value_name = "SINCE", default_value = "30d")]
        since: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum IncidentsFormat {
    Text,
    Json,
    Markdown,
}

impl IncidentsArgs {
    pub(crate) fn carry_out(self) -> Result {
        let source = IncidentSource::find(&self.find)?;
        let all = || IncidentsMode::List {
            service: None,
            status: None,
            since: "30d".to_owned(),
        };
        match self.what.unwrap_or_else(all) {
            IncidentsMode::List {
                service,
                status,
                since,
            } => {
                let incidents = source.list(service, status, &since)?;
                let reports = source.report(&since)?;
                match self.format {
                    IncidentsFormat::Json => print(json(&incidents))?,
                    IncidentsFormat::Markdown => print(
                        incidents
                            .iter()
                            .map(text::incident_markdown)
                            .collect::<String>(),
                    )?,
                    IncidentsFormat::Text => print(text::incidents(&incidents, &reports))?,
                }
            }
            IncidentsMode::Show { id } => {
                let incident = source
                    .get(&id)?
                    .ok_or_else(|| CommandFailure::World(format!("there is no incident {id}")))?;
                print(match self.format {
                    IncidentsFormat::Json => json(&incident),
                    IncidentsFormat::Markdown => text::incident_markdown(&incident),
                    IncidentsFormat::Text => text::incident(&incident),
                })?;
            }
            IncidentsMode::Report { since } => {
                let reports = source.report(&since)?;
                match self.format {
                    IncidentsFormat::Json => print(json(&reports))?,
                    IncidentsFormat::Text | IncidentsFormat::Markdown => {
                        print(text::reports(&reports))?;
                    }
                }
            }
        }
        Ok(CommandEnding::Good)
    }
}

/// The source of incidents.
#[derive(Debug)]
enum IncidentSource {
    /// A running evenkeel.
    Running(AdminClient),
    /// A store, read directly.
    File(Store),
}

impl IncidentSource {
    fn find(find: &AdminAddress) -> Result<Self> {
        let admin = find.admin()?;
        match (admin.ask("/health/live"), find.file()) {
            (Ok(_), _) => Ok(Self::Running(admin)),
            (Err(_), Some(file)) => Self::open(&file),
            (Err(failure), None) => Err(failure),
        }
    }

    fn open(file: &Path) -> Result<Self> {
        let store = configuration::read(file)?.plan.store.file;
        let Some(store) = store else {
            let file = file.display();
            return Err(CommandFailure::World(format!(
                "no evenkeel responds, and {file} configures no incident store"
            )));
        };
        let store = Store::open_read_only(&store)
            .map_err(|error| CommandFailure::world("no evenkeel responds", error))?;
        Ok(Self::File(store))
    }

    fn list(
        &self,
        service: Option<String>,
        status: Option<String>,
        since: &str,
    ) -> Result<Vec<Incident>> {
        match self {
            Self::Running(admin) => {
                let mut path = format!("/api/incidents?since={}", escaped(since));
                for (name, value) in [("service", &service), ("status", &status)] {
                    if let Some(value) = value {
                        path.push_str(&format!("&{name}={}", escaped(value)));
                    }
                }
                admin.read(&path)
            }
            Self::File(store) => {
                let status = status.map(|word| {
                    serde_json::from_value(word.as_str().into()).map_err(|_| {
                        CommandFailure::Call(format!("--status {word}: unknown status"))
                    })
                });
                let filter = IncidentFilter {
                    service,
                    since: Some(period::since(since, now())),
                    status: status.transpose()?,
                    limit: None,
                };
                store
                    .list(&filter)
                    .map_err(|error| CommandFailure::World(error.to_string()))
            }
        }
    }

    fn get(&self, id: &str) -> Result<Option<Incident>> {
        match self {
            Self::Running(admin) => admin.find(&format!("/api/incidents/{}", escaped(id))),
            Self::File(store) => store
                .get(id)
                .map_err(|error| CommandFailure::World(error.to_string())),
        }
    }

    fn report(&self, since: &str) -> Result<Vec<ServiceReport>> {
        match self {
            Self::Running(admin) => admin.read(&format!("/api/report?since={}", escaped(since))),
            Self::File(store) => {
                let reports = store.report(&period::since(since, now()));
                let reports = reports.map_err(|error| CommandFailure::World(error.to_string()))?;
                Ok(reports.into_iter().map(wiring::report_view).collect())
            }
        }
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).expect("incidents and reports are JSON")
}

fn now() -> WallTime {
    let clock = Clock::start();
    clock.epoch().wall(clock.now())
}
