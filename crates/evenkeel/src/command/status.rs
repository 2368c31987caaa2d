//! `evenkeel status`

use clap::{Args, ValueEnum};
use evenkeel_admin::{ServiceView, text};

use super::find::Find;
use crate::output::{self, Ending, Result, print};

/// Show what is in service now.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  evenkeel status\n  evenkeel status --admin http://127.0.0.1:7070 --format json"
)]
pub(crate) struct Status {
    #[command(flatten)]
    find: Find,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl Status {
    pub(crate) fn carry_out(self) -> Result {
        let admin = self.find.admin()?;
        let body = admin.text("/api/services")?;
        if self.format == Format::Json {
            print(body)?;
            return Ok(Ending::Good);
        }
        let services: Vec<ServiceView> = admin.understand(&body)?;
        print(text::status(&services, output::colours()))?;
        Ok(Ending::Good)
    }
}
