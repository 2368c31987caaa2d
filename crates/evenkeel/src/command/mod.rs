//! The command line: one file per command. What does not exist yet is not shown.

mod check;
mod demo;
mod find;
mod incidents;
mod proxy;
mod run;
mod sample_server;
mod schema;
mod status;
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
    Incidents(incidents::Incidents),
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
            Command::Incidents(command) => command.carry_out(),
            Command::Schema(command) => command.carry_out(),
            Command::Version(command) => command.carry_out(),
            Command::SampleServer(command) => command.carry_out(),
        }
    }
}
