//! `evenkeel show`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use evenkeel_admin::{ConfigurationView, text};
use serde_json::json;

use super::find::AdminAddress;
use crate::configuration;
use crate::output::{CommandEnding, Result, print};

/// Show the effective configuration of a running evenkeel, or of a file: each value that holds, and where it comes from.
#[derive(Debug, Args)]
#[command(
    after_help = "The text is a configuration file itself; with --all it has every default. A value comes from a\n\
                  line of the file, the command line, the API (a change at run time), or is a default.\n\n\
                  Example:\n  evenkeel show\n  evenkeel show evenkeel.toml\n  evenkeel show evenkeel.toml --all --format json"
)]
pub(crate) struct ShowArgs {
    /// The configuration file, as it is now; without it, a running evenkeel shows what it runs.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Also values that are defaults.
    #[arg(long)]
    all: bool,
    /// The output format.
    #[arg(long, value_enum, default_value_t = ShowFormat::Text)]
    format: ShowFormat,
    #[command(flatten)]
    find: AdminAddress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ShowFormat {
    Text,
    Json,
}

impl ShowArgs {
    pub(crate) fn carry_out(self) -> Result {
        let Some(file) = &self.file else {
            return self.running();
        };
        let settings = configuration::settings(file)?;
        match self.format {
            ShowFormat::Text => print(settings.toml(self.all))?,
            ShowFormat::Json => print(format_args!("{:#}", settings.json(self.all)))?,
        }
        Ok(CommandEnding::Good)
    }

    fn running(&self) -> Result {
        let admin = self.find.commander()?;
        let all = if self.all { "?all=true" } else { "" };
        let view: ConfigurationView = admin.read(&format!("/api/configuration{all}"))?;
        match self.format {
            ShowFormat::Text => print(commented(&view))?,
            ShowFormat::Json => {
                let shown = json!({
                    "file": view.file,
                    "settings": view.settings,
                    "runtime_changes": view.runtime_changes,
                });
                print(format_args!("{shown:#}"))?;
            }
        }
        Ok(CommandEnding::Good)
    }
}

/// The configuration below the file that its lines are of, and the changes that are not in it.
fn commented(view: &ConfigurationView) -> String {
    let mut shown = match &view.file {
        Some(file) => format!("# lines: {}\n", text::clean(file)),
        None => String::new(),
    };
    for change in &view.runtime_changes {
        shown += &format!("# {}\n", text::runtime_change(change));
    }
    if !shown.is_empty() {
        shown.push('\n');
    }
    shown + &view.toml
}
