//! `evenkeel diff`

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use evenkeel_admin::{ConfigurationView, InstanceView, RuntimeChangeView, text};
use evenkeel_config::change::{Overlay, drift};
use serde_json::{Value as Json, json};

use super::find::AdminAddress;
use super::reload::pending_changes;
use crate::configuration;
use crate::output::{CommandEnding, CommandFailure, Result, print};

/// Show what differs between what runs and a file, or between two files: key by key, in effect. An order of keys, a unit or a default
/// that is written out is no difference.
#[derive(Debug, Args)]
#[command(
    after_help = "Lines with ~ are changes that were made at run time (`evenkeel server`) and are not in the file:\n\
                  a reload keeps them. All others are what a reload would change.\n\
                  Exit status: 0 there is no difference, 1 there is one.\n\n\
                  Example:\n  evenkeel diff\n  evenkeel diff evenkeel.new.toml\n  evenkeel diff evenkeel.toml evenkeel.new.toml"
)]
pub(crate) struct DiffArgs {
    /// A file to compare with what runs, or two files, the old one first; without any, a running evenkeel compares its own file with
    /// what runs.
    #[arg(value_name = "FILE", num_args = 0..=2)]
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
        match self.files.as_slice() {
            [old, new] => self.between(old, new),
            [file] => self.against_running(file),
            _ => self.of_running(),
        }
    }

    fn between(&self, old: &Path, new: &Path) -> Result {
        let old = configuration::settings(old)?;
        let changes = old.changes_to(&configuration::settings(new)?);
        let lines: Vec<String> = changes.iter().map(ToString::to_string).collect();
        self.show(&lines, &json!(changes), None)
    }

    /// A running evenkeel compares its own file with what runs.
    fn of_running(&self) -> Result {
        let changes = pending_changes(&self.find)?;
        let lines: Vec<String> = changes.lines().map(str::to_owned).collect();
        // One of an earlier version does not know it, and makes no such changes.
        let instance: Option<InstanceView> = self.find.admin()?.find("/api/status")?;
        let runtime = instance.unwrap_or_default().runtime_changes;
        self.show(&lines, &json!(lines), Some(&runtime))
    }

    /// The file is compared here: the running evenkeel need not be able to read it.
    fn against_running(&self, file: &Path) -> Result {
        let read = configuration::read_to_compare(file)?;
        let admin = self.find.or_of(file).commander()?;
        let view: ConfigurationView = admin.read("/api/configuration")?;
        let running = configuration::running_settings(&view.toml, file)?;
        let overlay: Overlay = serde_json::from_value(view.overlay)
            .map_err(|error| CommandFailure::world("the running evenkeel's changes", error))?;
        let differs = drift(&running, &overlay, (read.plan, read.settings));
        let changes = differs.changes.iter().map(ToString::to_string);
        let ended = differs.ended.iter().map(ToString::to_string);
        let lines: Vec<String> = changes.chain(ended).collect();
        self.show(&lines, &json!(lines), Some(&view.runtime_changes))
    }

    fn show(
        &self,
        lines: &[String],
        changes: &Json,
        runtime: Option<&[RuntimeChangeView]>,
    ) -> Result {
        let is_same = lines.is_empty() && runtime.is_none_or(<[_]>::is_empty);
        match self.format {
            DiffFormat::Json => {
                let mut shown = json!({ "changes": changes });
                if let Some(runtime) = runtime {
                    shown["runtime_changes"] = json!(runtime);
                }
                print(format_args!("{shown:#}"))?;
            }
            DiffFormat::Text => {
                let lines = lines.iter().map(|line| format!("{line}\n"));
                let runtime = runtime.into_iter().flatten();
                let runtime = runtime.map(|change| format!("~ {}\n", text::runtime_change(change)));
                print(lines.chain(runtime).collect::<String>())?;
            }
        }
        Ok(match is_same {
            true => CommandEnding::Good,
            false => CommandEnding::Wrong,
        })
    }
}
