//! `evenkeel incidents`: asks the evenkeel that runs; if none does, reads its store.

use std::path::Path;

use clap::{Args, Subcommand, ValueEnum};
use evenkeel_admin::{ServiceReport, escaped, text};
use evenkeel_core::Wall;
use evenkeel_fault::Incident;
use evenkeel_history::{Filter, Store};
use evenkeel_runtime::Clock;

use super::find::{Admin, Find};
use crate::output::{Ending, Failure, Result, print};
use crate::{configuration, period, wiring};

/// List incidents, show one, or sum them up.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  evenkeel incidents list --since 7d\n  \
                        evenkeel incidents show 2026-11-22-0007 --format markdown\n  evenkeel incidents report --since 30d")]
pub(crate) struct Incidents {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    find: Find,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Format::Text, global = true)]
    format: Format,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List incidents, the newest first, with each service's means and availability.
    #[command(after_help = "Example:\n  evenkeel incidents list --since 7d --service shop")]
    List {
        /// Of this service only.
        #[arg(long, value_name = "NAME")]
        service: Option<String>,
        /// With this status only: open, recovering, verifying, awaiting-approval, escalated, closed.
        #[arg(long, value_name = "WORD")]
        status: Option<String>,
        /// How far back: an age like 30d, or a date.
        #[arg(long, value_name = "SINCE", default_value = "30d")]
        since: String,
    },
    /// Show one incident: what happened, how we know, what was done, what it cost, what to change.
    #[command(after_help = "Example:\n  evenkeel incidents show 2026-11-22-0007 --format markdown")]
    Show {
        /// Its id.
        id: String,
    },
    /// Sum up: mean times to detect and to restore, and availability, per service.
    #[command(after_help = "Example:\n  evenkeel incidents report --since 30d")]
    Report {
        /// How far back: an age like 30d, or a date.
        #[arg(long, value_name = "SINCE", default_value = "30d")]
        since: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
    Markdown,
}

impl Incidents {
    pub(crate) fn carry_out(self) -> Result {
        let source = Source::find(&self.find)?;
        let all = || What::List {
            service: None,
            status: None,
            since: "30d".to_owned(),
        };
        match self.what.unwrap_or_else(all) {
            What::List {
                service,
                status,
                since,
            } => {
                let incidents = source.list(service, status, &since)?;
                let reports = source.report(&since)?;
                match self.format {
                    Format::Json => print(json(&incidents))?,
                    Format::Markdown => print(
                        incidents
                            .iter()
                            .map(text::incident_markdown)
                            .collect::<String>(),
                    )?,
                    Format::Text => print(text::incidents(&incidents, &reports))?,
                }
            }
            What::Show { id } => {
                let incident = source
                    .get(&id)?
                    .ok_or_else(|| Failure::World(format!("there is no incident {id}")))?;
                print(match self.format {
                    Format::Json => json(&incident),
                    Format::Markdown => text::incident_markdown(&incident),
                    Format::Text => text::incident(&incident),
                })?;
            }
            What::Report { since } => {
                let reports = source.report(&since)?;
                match self.format {
                    Format::Json => print(json(&reports))?,
                    Format::Text | Format::Markdown => print(text::reports(&reports))?,
                }
            }
        }
        Ok(Ending::Good)
    }
}

/// Where incidents come from.
#[derive(Debug)]
enum Source {
    /// An evenkeel that runs.
    Running(Admin),
    /// A store that is read without one.
    File(Store),
}

impl Source {
    fn find(find: &Find) -> Result<Self> {
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
            return Err(Failure::World(format!(
                "no evenkeel answers, and {file} keeps no incidents in a store"
            )));
        };
        let store = Store::open_read_only(&store)
            .map_err(|error| Failure::world("no evenkeel answers", error))?;
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
                        Failure::Call(format!("--status {word}: there is no such status"))
                    })
                });
                let filter = Filter {
                    service,
                    since: Some(period::since(since, now())),
                    status: status.transpose()?,
                    limit: None,
                };
                store
                    .list(&filter)
                    .map_err(|error| Failure::World(error.to_string()))
            }
        }
    }

    fn get(&self, id: &str) -> Result<Option<Incident>> {
        match self {
            Self::Running(admin) => admin.find(&format!("/api/incidents/{}", escaped(id))),
            Self::File(store) => store
                .get(id)
                .map_err(|error| Failure::World(error.to_string())),
        }
    }

    fn report(&self, since: &str) -> Result<Vec<ServiceReport>> {
        match self {
            Self::Running(admin) => admin.read(&format!("/api/report?since={}", escaped(since))),
            Self::File(store) => {
                let reports = store.report(&period::since(since, now()));
                let reports = reports.map_err(|error| Failure::World(error.to_string()))?;
                Ok(reports.into_iter().map(wiring::report_view).collect())
            }
        }
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).expect("incidents and reports are JSON")
}

fn now() -> Wall {
    let clock = Clock::start();
    clock.epoch().wall(clock.now())
}
