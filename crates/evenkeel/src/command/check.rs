//! `evenkeel check`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use evenkeel_config::plan::ServicePlan;
use evenkeel_config::{Diagnostics, Plan, render};
use evenkeel_fault::policy::ProbeKind;

use super::find::DEFAULT_FILE;
use crate::configuration;
use crate::output::{self, CommandEnding, Result, count, print};

/// Check a configuration and report every error.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  evenkeel check evenkeel.toml\n  evenkeel check --format json")]
pub(crate) struct CheckArgs {
    /// The configuration file.
    #[arg(value_name = "CONFIG", default_value = DEFAULT_FILE)]
    config: PathBuf,
    /// The output format.
    #[arg(long, value_enum, default_value_t = CheckFormat::Text)]
    format: CheckFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CheckFormat {
    Text,
    Json,
}

impl CheckArgs {
    pub(crate) fn carry_out(self) -> Result {
        let (mistakes, plan) = match configuration::load(&self.config)? {
            Ok(loaded) => (loaded.warnings, Some(loaded.plan)),
            Err(mistakes) => (mistakes, None),
        };
        match self.format {
            CheckFormat::Json => print(format_args!("{:#}", render::json(&mistakes)))?,
            CheckFormat::Text => {
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
            CommandEnding::Good
        } else {
            CommandEnding::Wrong
        })
    }
}

fn summary(mistakes: &Diagnostics, plan: &Plan) -> String {
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

/// The `Host` that HTTP probes of a service send. An application that checks it answers 400 to an unknown host.
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
