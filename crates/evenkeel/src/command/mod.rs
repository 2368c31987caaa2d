//! The command line: one file per command. What does not exist yet is not shown.

mod check;
mod demo;
mod find;
mod incidents;
mod order;
mod proxy;
mod run;
mod sample_server;
mod schema;
mod status;
mod top;
mod version;

use clap::{Parser, Subcommand};

use crate::output::Result;

/// A call of the program.
#[derive(Debug, Parser)]
#[command(
    name = "evenkeel",
    version,
    about = "A load balancer that hides faults from clients, repairs what it finds, and writes down what happened.",
    after_help = "Start here:\n  evenkeel demo                     watch a service break and heal, on this machine\n  \
                  evenkeel run evenkeel.toml        serve\n\n\
                  Exit status: 0 all is well, 1 the thing asked about is wrong, 2 the call is wrong.",
    max_term_width = 100
)]
pub(crate) struct Call {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Run(run::Run),
    Proxy(proxy::Proxy),
    Check(check::Check),
    Status(status::Status),
    Top(top::Top),
    Incidents(incidents::Incidents),
    /// Give a server no new requests; what it has it may finish. Lasts until `restore`.
    #[command(after_help = "Example:\n  evenkeel drain shop/shop-1")]
    Drain(order::ServerOrder),
    /// Give a server requests again.
    #[command(after_help = "Example:\n  evenkeel restore shop/shop-1")]
    Restore(order::ServerOrder),
    /// Take a server out of service at once. Lasts until `restore`.
    #[command(after_help = "Example:\n  evenkeel eject shop/shop-1")]
    Eject(order::ServerOrder),
    /// Restart a server, and verify that it is well again.
    #[command(after_help = "Example:\n  evenkeel restart shop/shop-1")]
    Restart(order::ServerOrder),
    /// Do what an incident proposes (`recover.mode = "ask"`).
    #[command(after_help = "Example:\n  evenkeel approve 2026-11-22-0007")]
    Approve(order::IncidentOrder),
    /// Do not do what an incident proposes: only watch it.
    #[command(after_help = "Example:\n  evenkeel reject 2026-11-22-0007")]
    Reject(order::IncidentOrder),
    Schema(schema::Schema),
    Version(version::Version),
    #[command(hide = true)]
    SampleServer(sample_server::SampleServer),
}

impl Call {
    /// Does what is asked.
    pub(crate) fn carry_out(self) -> Result {
        match self.command {
            Command::Demo(command) => command.carry_out(),
            Command::Run(command) => command.carry_out(),
            Command::Proxy(command) => command.carry_out(),
            Command::Check(command) => command.carry_out(),
            Command::Status(command) => command.carry_out(),
            Command::Top(command) => command.carry_out(),
            Command::Incidents(command) => command.carry_out(),
            Command::Drain(command) => command.carry_out("drain"),
            Command::Restore(command) => command.carry_out("restore"),
            Command::Eject(command) => command.carry_out("eject"),
            Command::Restart(command) => command.carry_out("restart"),
            Command::Approve(command) => command.carry_out("approve"),
            Command::Reject(command) => command.carry_out("reject"),
            Command::Schema(command) => command.carry_out(),
            Command::Version(command) => command.carry_out(),
            Command::SampleServer(command) => command.carry_out(),
        }
    }
}
