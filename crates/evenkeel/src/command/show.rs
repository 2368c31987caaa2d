//! `evenkeel show`

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::configuration;
use crate::output::{CommandEnding, Result, print};

/// Show the effective configuration of a file: each value that holds, and where it comes from.
#[derive(Debug, Args)]
#[command(
    after_help = "The text is a configuration file itself; with --all it has every default.\n\n\
                  Example:\n  evenkeel show evenkeel.toml\n  evenkeel show evenkeel.toml --all --format json"
)]
pub(crate) struct ShowArgs {
    /// The configuration file.
    #[arg(value_name = "CONFIG")]
    config: PathBuf,
    /// Also values that are defaults.
    #[arg(long)]
    all: bool,
    /// The output format.
    #[arg(long, value_enum, default_value_t = ShowFormat::Text)]
    format: ShowFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ShowFormat {
    Text,
    Json,
}

impl ShowArgs {
    pub(crate) fn carry_out(self) -> Result {
        let settings = configuration::settings(&self.config)?;
        match self.format {
            ShowFormat::Text => print(settings.toml(self.all))?,
            ShowFormat::Json => print(format_args!("{:#}", settings.json(self.all)))?,
        }
        Ok(CommandEnding::Good)
    }
}
