//! `evenkeel status`

use clap::{Args, ValueEnum};
use evenkeel_admin::escaped;
use evenkeel_admin::{InstanceView, ServiceView, ServiceWhy, text};

use super::find::{AdminAddress, AdminClient};
use crate::output::{self, CommandEnding, CommandFailure, Result, print};

/// Show the current state of services and servers.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  evenkeel status shop\n  evenkeel status shop --why\n  evenkeel status --admin http://127.0.0.1:7070 --format json"
)]
pub(crate) struct StatusArgs {
    /// Only this service.
    #[arg(value_name = "SERVICE")]
    service: Option<String>,
    /// Show current weights and scores, why each server gets its share, and what recovery would do next.
    #[arg(long)]
    why: bool,
    #[command(flatten)]
    find: AdminAddress,
    /// The output format.
    #[arg(long, value_enum, default_value_t = StatusFormat::Text)]
    format: StatusFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StatusFormat {
    Text,
    Json,
}

impl StatusArgs {
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
        if self.format == StatusFormat::Json {
            print(body)?;
            return Ok(CommandEnding::Good);
        }
        if self.why {
            print(text::why(&admin.understand(&body)?, output::colours()))?;
            return Ok(CommandEnding::Good);
        }
        let services: Vec<ServiceView> = match self.service {
            Some(_) => vec![admin.understand(&body)?],
            None => admin.understand(&body)?,
        };
        // An evenkeel of an earlier version does not know it.
        let instance: Option<InstanceView> = admin.find("/api/status")?;
        let instance = instance.unwrap_or_default();
        let above = text::instance(&instance, self.service.as_deref());
        print(above + &text::status(&services, output::colours()))?;
        Ok(CommandEnding::Good)
    }

    /// The same for each service in turn.
    fn why_of_all(&self, admin: &AdminClient) -> Result {
        let services: Vec<ServiceView> = admin.understand(&admin.text("/api/services")?)?;
        let mut all: Vec<ServiceWhy> = Vec::new();
        for service in &services {
            let path = format!("/api/services/{}/why", escaped(&service.name));
            all.push(admin.understand(&admin.text(&path)?)?);
        }
        if self.format == StatusFormat::Json {
            let body = serde_json::to_string(&all);
            print(body.map_err(|error| CommandFailure::world("the answer", error))?)?;
            return Ok(CommandEnding::Good);
        }
        let parts = all.iter().map(|why| text::why(why, output::colours()));
        print(parts.collect::<Vec<_>>().join("\n"))?;
        Ok(CommandEnding::Good)
    }
}
