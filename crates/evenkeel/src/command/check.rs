//! `evenkeel check`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use evenkeel_config::plan::ServicePlan;
use evenkeel_config::{Mistakes, Plan, render};
use evenkeel_fault::policy::ProbeKind;

use super::find::DEFAULT_FILE;
use crate::configuration;
use crate::output::{self, Ending, Result, count, print};

/// Say what is wrong with a configuration, or that it is right.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  evenkeel check evenkeel.toml\n  evenkeel check --format json")]
pub(crate) struct Check {
    /// The configuration.
    #[arg(value_name = "CONFIG", default_value = DEFAULT_FILE)]
    config: PathBuf,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl Check {
    pub(crate) fn carry_out(self) -> Result {
        let (mistakes, plan) = match configuration::load(&self.config)? {
            Ok(loaded) => (loaded.warnings, Some(loaded.plan)),
            Err(mistakes) => (mistakes, None),
        };
        match self.format {
            Format::Json => print(format_args!("{:#}", render::json(&mistakes)))?,
            Format::Text => {
                if !mistakes.is_empty() {
                    let style = render::Style {
                        colour: output::colours(),
                        ..render::Style::default()
                    };
                    print(render::human(&mistakes, style))?;
                }
                if let Some(plan) = &plan {
                    print(summary(&mistakes, plan))?;
                }
            }
        }
        Ok(if mistakes.errors() == 0 {
            Ending::Good
        } else {
            Ending::Wrong
        })
    }
}

fn summary(mistakes: &Mistakes, plan: &Plan) -> String {
    let servers = plan
        .services
        .iter()
        .map(|service| service.servers.len())
        .sum();
    let mut text = format!(
        "{} can be used: {}, {}, {}",
        mistakes.name(),
        count(plan.listeners.len(), "listener"),
        count(plan.services.len(), "service"),
        count(servers, "server"),
    );
    for service in &plan.services {
        text += &probe(service);
    }
    text
}

/// What HTTP probes of a service send. An application that checks the host answers 400 to one that it does not know.
fn probe(service: &ServicePlan) -> String {
    match &service.fault.detect.probe.kind {
        ProbeKind::Http { path, host, .. } => {
            let host = host.as_deref().unwrap_or(ProbeKind::DEFAULT_HOST);
            let name = &service.name;
            format!("\n{name}: probes send `GET {path}` with `Host: {host}`")
        }
        ProbeKind::Tcp => String::new(),
    }
}
