//! `evenkeel diff`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::configuration;
use crate::output::{CommandEnding, Result, print};

/// Show what differs between two configuration files, key by key, in effect: an order of keys, a unit or a default that is
/// written out is no difference.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 the files mean the same, 1 they differ.\n\n\
                  Example:\n  evenkeel diff evenkeel.toml evenkeel.new.toml"
)]
pub(crate) struct DiffArgs {
    /// The old configuration file.
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The new configuration file.
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// The output format.
    #[arg(long, value_enum, default_value_t = DiffFormat::Text)]
    format: DiffFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DiffFormat {
    Text,
    Json,
}

impl DiffArgs {
    pub(crate) fn carry_out(self) -> Result {
        let old = configuration::settings(&self.old)?;
        let changes = old.changes_to(&configuration::settings(&self.new)?);
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
}
