//! `evenkeel status`

use clap::{Args, ValueEnum};
use evenkeel_admin::escaped;
use evenkeel_admin::{ServiceView, ServiceWhy, text};

use super::find::{Admin, Find};
use crate::output::{self, Ending, Failure, Result, print};

/// Show what is in service now.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  evenkeel status shop\n  evenkeel status shop --why\n  evenkeel status --admin http://127.0.0.1:7070 --format json"
)]
pub(crate) struct Status {
    /// This service only.
    #[arg(value_name = "SERVICE")]
    service: Option<String>,
    /// Show the weights and scores now, why each server gets its share, and what recovery would do next, when, and what it waits
    /// for.
    #[arg(long)]
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
        if self.why && self.service.is_none() {
            return self.why_of_all(&admin);
        }
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

    /// The same of each service, one after the other.
    fn why_of_all(&self, admin: &Admin) -> Result {
        let services: Vec<ServiceView> = admin.understand(&admin.text("/api/services")?)?;
        let mut all: Vec<ServiceWhy> = Vec::new();
        for service in &services {
            let path = format!("/api/services/{}/why", escaped(&service.name));
            all.push(admin.understand(&admin.text(&path)?)?);
        }
        if self.format == Format::Json {
            let body = serde_json::to_string(&all);
            print(body.map_err(|error| Failure::world("the answer", error))?)?;
            return Ok(Ending::Good);
        }
        let parts = all.iter().map(|why| text::why(why, output::colours()));
        print(parts.collect::<Vec<_>>().join("\n"))?;
        Ok(Ending::Good)
    }
}
