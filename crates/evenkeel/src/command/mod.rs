//! The command line: one file per command.

mod check;
mod client;
mod demo;
mod diff;
mod find;
mod incidents;
mod order;
mod playbooks;
mod proxy;
mod reload;
mod run;
mod sample_server;
mod schema;
mod server;
mod show;
mod status;
mod top;
mod version;

use clap::{Parser, Subcommand};

use crate::output::Result;

/// The arguments of the program.
#[derive(Debug, Parser)]
#[command(
    name = "evenkeel",
    version,
    about = "A load balancer that hides faults from clients, repairs what it finds, and records what happened.",
    after_help = "Start here:\n  evenkeel demo                     watch a service break and heal, on this machine\n  \
                  evenkeel run evenkeel.toml        serve\n\n\
                  Exit status: 0 all is well, 1 the thing asked about is wrong, 2 the call is wrong.",
    max_term_width = 100
)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    Run(run::RunArgs),
    Proxy(proxy::ProxyArgs),
    Check(check::CheckArgs),
    Show(show::ShowArgs),
    Diff(diff::DiffArgs),
    Status(status::StatusArgs),
    Top(top::TopArgs),
    Incidents(incidents::IncidentsArgs),
    Playbooks(playbooks::PlaybooksArgs),
    /// Send a server no new requests and let those in flight finish. It stays in maintenance, without repairs, until `restore`.
    #[command(
        after_help = "Example:\n  evenkeel drain shop/shop-1 --for 30m --reason \"a new disk\" --wait"
    )]
    Drain(order::TakeOutArgs),
    /// Verify a server and return it to service.
    #[command(after_help = "Example:\n  evenkeel restore shop/shop-1 --wait")]
    Restore(order::RestoreArgs),
    /// Take a server out of service at once. It stays in maintenance, without repairs, until `restore`.
    #[command(after_help = "Example:\n  evenkeel eject shop/shop-1 --reason \"it lies\"")]
    Eject(order::TakeOutArgs),
    /// Restart a server and verify that it is healthy.
    #[command(after_help = "Example:\n  evenkeel restart shop/shop-1 --wait")]
    Restart(order::RestartArgs),
    /// Put a service into maintenance, so that evenkeel answers its requests and repairs nothing, or end the maintenance.
    #[command(
        after_help = "Requests get the answer of `service.fallback`, or 503 with Retry-After. Servers run on and are probed.\n\n\
                      Example:\n  evenkeel maintenance shop on --for 30m --reason \"a new schema\"\n  evenkeel maintenance shop off --wait"
    )]
    Maintenance(order::MaintenanceArgs),
    Reload(reload::ReloadArgs),
    Server(server::ServerCommand),
    /// Lift the quarantine of requests that crashed servers.
    #[command(after_help = "Example:\n  evenkeel lift shop")]
    Lift(order::LiftArgs),
    /// Approve the action that an incident proposes (`recover.mode = "ask"`).
    #[command(after_help = "Example:\n  evenkeel approve 2026-11-22-0007 --wait")]
    Approve(order::ApproveArgs),
    /// Reject the action that an incident proposes; the incident is only watched.
    #[command(after_help = "Example:\n  evenkeel reject 2026-11-22-0007")]
    Reject(order::IncidentOrderArgs),
    Schema(schema::SchemaArgs),
    Version(version::VersionArgs),
    #[command(hide = true)]
    SampleServer(sample_server::SampleServerArgs),
}

impl CommandLine {
    /// Executes the command.
    pub(crate) fn carry_out(self) -> Result {
        match self.command {
            Command::Demo(command) => command.carry_out(),
            Command::Run(command) => command.carry_out(),
            Command::Proxy(command) => command.carry_out(),
            Command::Check(command) => command.carry_out(),
            Command::Show(command) => command.carry_out(),
            Command::Diff(command) => command.carry_out(),
            Command::Status(command) => command.carry_out(),
            Command::Top(command) => command.carry_out(),
            Command::Incidents(command) => command.carry_out(),
            Command::Playbooks(command) => command.carry_out(),
            Command::Drain(command) => command.carry_out("drain"),
            Command::Restore(command) => command.carry_out(),
            Command::Eject(command) => command.carry_out("eject"),
            Command::Restart(command) => command.carry_out(),
            Command::Maintenance(command) => command.carry_out(),
            Command::Reload(command) => command.carry_out(),
            Command::Server(command) => command.carry_out(),
            Command::Lift(command) => command.carry_out(),
            Command::Approve(command) => command.carry_out(),
            Command::Reject(command) => command.carry_out("reject"),
            Command::Schema(command) => command.carry_out(),
            Command::Version(command) => command.carry_out(),
            Command::SampleServer(command) => command.carry_out(),
        }
    }
}
