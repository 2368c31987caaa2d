//! The command line: one file per command. What does not exist yet is not shown.

mod check;
mod client;
mod demo;
mod find;
mod incidents;
mod order;
mod playbooks;
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
    Playbooks(playbooks::Playbooks),
    /// Give a server no new requests; what it has it may finish. It is in maintenance until `restore`: nothing is repaired.
    #[command(
        after_help = "Example:\n  evenkeel drain shop/shop-1 --for 30m --reason \"a new disk\" --wait"
    )]
    Drain(order::TakeOut),
    /// Give a server requests again, after a verification.
    #[command(after_help = "Example:\n  evenkeel restore shop/shop-1 --wait")]
    Restore(order::Restore),
    /// Take a server out of service at once. It is in maintenance until `restore`: nothing is repaired.
    #[command(after_help = "Example:\n  evenkeel eject shop/shop-1 --reason \"it lies\"")]
    Eject(order::TakeOut),
    /// Restart a server, and verify that it is well again.
    #[command(after_help = "Example:\n  evenkeel restart shop/shop-1 --wait")]
    Restart(order::Restart),
    /// Answer all requests of a service for it, or send them to its servers again. Meanwhile nothing is repaired.
    #[command(
        after_help = "Requests get the answer of `service.fallback`, or 503 with Retry-After. Servers run on and are probed.\n\n\
                      Example:\n  evenkeel maintenance shop on --for 30m --reason \"a new schema\"\n  evenkeel maintenance shop off --wait"
    )]
    Maintenance(order::Maintenance),
    /// Send requests that are in quarantine, since they brought servers down, to servers again.
    #[command(after_help = "Example:\n  evenkeel lift shop")]
    Lift(order::Lift),
    /// Do what an incident proposes (`recover.mode = "ask"`).
    #[command(after_help = "Example:\n  evenkeel approve 2026-11-22-0007 --wait")]
    Approve(order::Approve),
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
            Command::Playbooks(command) => command.carry_out(),
            Command::Drain(command) => command.carry_out("drain"),
            Command::Restore(command) => command.carry_out(),
            Command::Eject(command) => command.carry_out("eject"),
            Command::Restart(command) => command.carry_out(),
            Command::Maintenance(command) => command.carry_out(),
            Command::Lift(command) => command.carry_out(),
            Command::Approve(command) => command.carry_out(),
            Command::Reject(command) => command.carry_out("reject"),
            Command::Schema(command) => command.carry_out(),
            Command::Version(command) => command.carry_out(),
            Command::SampleServer(command) => command.carry_out(),
        }
    }
}
