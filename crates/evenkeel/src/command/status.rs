//! `evenkeel status`

use clap::{Args, ValueEnum};
use evenkeel_admin::{ServiceView, client, text};

use super::find::Find;
use crate::output::{self, Ending, Failure, Result, print};

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
        let address = self.find.address()?;
        let body = match client::get(address, "/api/services", None) {
            Ok((200, body)) => body,
            Ok((status, body)) => {
                return Err(Failure::world(address, client::error_of(status, &body)));
            }
            Err(why) => {
                let origin = self.find.origin();
                return Err(Failure::World(format!(
                    "no evenkeel answers: {why} ({origin})"
                )));
            }
        };
        if self.format == Format::Json {
            print(body)?;
            return Ok(Ending::Good);
        }
        let services: Vec<ServiceView> = serde_json::from_str(&body).map_err(|error| {
            Failure::world(
                format_args!("{address} is no evenkeel of this version"),
                error,
            )
        })?;
        print(text::status(&services, output::colours()))?;
        Ok(Ending::Good)
    }
}
