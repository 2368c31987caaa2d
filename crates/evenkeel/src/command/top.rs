//! `evenkeel top`

use std::io::{IsTerminal as _, stdout};
use std::time::Duration;

use clap::Args;
use evenkeel_fault::Incident;

use super::find::{AdminAddress, AdminClient};
use crate::output::{self, CommandFailure, Result};
use crate::top::{self, Fetch, Fetcher, Snapshot};

/// The number of incidents to fetch; open ones are among the newest.
const INCIDENTS: &str = "/api/incidents?limit=200";

/// Watch services and servers live in the terminal.
#[derive(Debug, Args)]
#[command(
    after_help = "Keys: up and down select a service, s sorts its servers, p pauses, ? shows help, q ends.\n\n\
                  Examples:\n  evenkeel top\n  evenkeel top --every 5 --admin http://127.0.0.1:7070\n  evenkeel top --count 1      plain lines, once"
)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    find: AdminAddress,
    /// Seconds between two updates.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
    every: f64,
    /// Print plain lines and exit after this many updates; 0 means never.
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
}

impl TopArgs {
    pub(crate) fn carry_out(self) -> Result {
        let admin = self.find.admin()?;
        let ask: Fetch = Box::new(move || look(&admin).map_err(said));
        let asker = Fetcher::start(ask, Duration::from_secs_f64(self.every))?;
        if self.count.is_some() || !stdout().is_terminal() {
            top::print_all(&asker, self.count.filter(|count| *count > 0))
        } else {
            top::show(&asker, output::colours())
        }
    }
}

fn look(admin: &AdminClient) -> Result<Snapshot> {
    let services = admin.read("/api/services")?;
    // Without its store evenkeel still serves, and can still be observed.
    let incidents: Vec<Incident> = admin.read(INCIDENTS).unwrap_or_default();
    Ok(Snapshot::new(services, incidents))
}

fn said(failure: CommandFailure) -> String {
    match failure {
        CommandFailure::Call(why) | CommandFailure::World(why) => why,
        CommandFailure::ReaderGone => "nobody reads".to_owned(),
    }
}

fn seconds(text: &str) -> std::result::Result<f64, String> {
    text.parse()
        .ok()
        .filter(|seconds| (0.1..=3600.0).contains(seconds))
        .ok_or_else(|| "expected a number of seconds from 0.1 to 3600".to_owned())
}
