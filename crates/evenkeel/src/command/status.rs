//! `evenkeel status`

use clap::{Args, ValueEnum};
use evenkeel_admin::client::escaped;
use evenkeel_admin::{ServiceView, text};

use super::find::Find;
use crate::output::{self, Ending, Result, print};

/// Show what is in service now.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  evenkeel status shop\n  evenkeel status shop --why\n  evenkeel status --admin http://127.0.0.1:7070 --format json"
)]
pub(crate) struct Status {
    /// This service only.
    #[arg(value_name = "SERVICE")]
    service: Option<String>,
    /// Show the weights and scores now, and why each server gets its share.
    #[arg(long, requires = "service")]
    why: bool,
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
        let end = if self.why { "/why" } else { "" };
        let path = self.service.as_ref().map_or_else(
            || "/api/services".to_owned(),
            |service| format!("/api/services/{}{end}", escaped(service)),
        );
        let body = admin.text(&path)?;
        if self.format == Format::Json {
            print(body)?;
            return Ok(Ending::Good);
        }
        if self.why {
            print(text::why(&admin.understand(&body)?, output::colours()))?;
            return Ok(Ending::Good);
        }
        let services: Vec<ServiceView> = match self.service {
            Some(_) => vec![admin.understand(&body)?],
            None => admin.understand(&body)?,
        };
        print(text::status(&services, output::colours()))?;
        Ok(Ending::Good)
    }
}
