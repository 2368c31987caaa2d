//! `evenkeel top`

use std::io::{IsTerminal as _, stdout};
use std::time::Duration;

use clap::Args;
use evenkeel_fault::Incident;

use super::find::{Admin, Find};
use crate::output::{self, Failure, Result};
use crate::top::{self, Ask, Asker, Snapshot};

/// Incidents that are asked for; those that are open are among the newest.
const INCIDENTS: &str = "/api/incidents?limit=200";

/// Watch what is in service, live in the terminal.
#[derive(Debug, Args)]
#[command(
    after_help = "Keys: up and down select a service, s sorts its servers, p pauses, ? shows help, q ends.\n\n\
                  Examples:\n  evenkeel top\n  evenkeel top --every 5 --admin http://127.0.0.1:7070\n  evenkeel top --count 1      plain lines, once"
)]
pub(crate) struct Top {
    #[command(flatten)]
    find: Find,
    /// Seconds between two looks.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
    every: f64,
    /// Print plain lines and end after so many looks. 0 is for ever.
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
}

impl Top {
    pub(crate) fn carry_out(self) -> Result {
        let admin = self.find.admin()?;
        let ask: Ask = Box::new(move || look(&admin).map_err(said));
        let asker = Asker::start(ask, Duration::from_secs_f64(self.every))?;
        if self.count.is_some() || !stdout().is_terminal() {
            top::print_all(&asker, self.count.filter(|count| *count > 0))
        } else {
            top::show(&asker, output::colours())
        }
    }
}

fn look(admin: &Admin) -> Result<Snapshot> {
    let services = admin.read("/api/services")?;
    // Without its store an evenkeel serves all the same, and is watched all the same.
    let incidents: Vec<Incident> = admin.read(INCIDENTS).unwrap_or_default();
    Ok(Snapshot::new(services, incidents))
}

fn said(failure: Failure) -> String {
    match failure {
        Failure::Call(why) | Failure::World(why) => why,
        Failure::ReaderGone => "nobody reads".to_owned(),
    }
}

fn seconds(text: &str) -> std::result::Result<f64, String> {
    text.parse()
        .ok()
        .filter(|seconds| (0.1..=3600.0).contains(seconds))
        .ok_or_else(|| "expected a number of seconds from 0.1 to 3600".to_owned())
}
