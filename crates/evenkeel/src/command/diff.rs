//! `evenkeel diff`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::find::AdminAddress;
use super::reload::pending_changes;
use crate::configuration;
use crate::output::{CommandEnding, Result, print};

/// Show what differs between the file of a running evenkeel and what runs, or between two files: key by key, in effect. An order of
/// keys, a unit or a default that is written out is no difference.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 there is no difference, 1 there is one.\n\n\
                  Example:\n  evenkeel diff\n  evenkeel diff evenkeel.toml evenkeel.new.toml"
)]
pub(crate) struct DiffArgs {
    /// The old and the new configuration file; without them, a running evenkeel compares its file with what runs.
    #[arg(value_name = "OLD NEW", num_args = 2)]
    files: Vec<PathBuf>,
    /// The output format.
    #[arg(long, value_enum, default_value_t = DiffFormat::Text)]
    format: DiffFormat,
    #[command(flatten)]
    find: AdminAddress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DiffFormat {
    Text,
    Json,
}

impl DiffArgs {
    pub(crate) fn carry_out(self) -> Result {
        let [old, new] = self.files.as_slice() else {
            return self.against_running();
        };
        let old = configuration::settings(old)?;
        let changes = old.changes_to(&configuration::settings(new)?);
        match self.format {
            DiffFormat::Json => print(format_args!("{:#}", json!({ "changes": changes })))?,
            DiffFormat::Text => {
                let lines = changes.iter().map(|change| format!("{change}\n"));
                print(lines.collect::<String>())?;
            }
        }
        Ok(if changes.is_empty() {
            CommandEnding::Good
        } else {
            CommandEnding::Wrong
        })
    }

    fn against_running(&self) -> Result {
        let changes = pending_changes(&self.find)?;
        let lines: Vec<&str> = changes.lines().collect();
        match self.format {
            DiffFormat::Json => print(format_args!("{:#}", json!({ "changes": lines })))?,
            DiffFormat::Text if lines.is_empty() => {}
            DiffFormat::Text => print(&changes)?,
        }
        Ok(match lines.is_empty() {
            true => CommandEnding::Good,
            false => CommandEnding::Wrong,
        })
    }
}
