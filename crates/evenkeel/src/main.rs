//! evenkeel keeps a service up: it balances requests, hides faults from clients, repairs servers, and records what
//! happened.

mod command;
mod configuration;
mod demo;
mod file_state;
mod holder;
mod logging;
mod output;
mod period;
mod place;
mod top;
mod wiring;

use std::process::ExitCode;

use clap::Parser as _;

/// The word that makes this program the guardian.
const GUARDIAN: &str = "guardian";

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Some(status) = guardian() {
        return status;
    }
    let status = match command::CommandLine::parse().carry_out() {
        Ok(ending) => ending.code(),
        Err(failure) => {
            if let Some(why) = failure.reason() {
                logging::print_message(format_args!("evenkeel: {why}"));
            }
            failure.code()
        }
    };
    logging::flush();
    status
}

/// The hidden command `evenkeel guardian …`, which evenkeel calls to hold its children: an internal command, hidden
/// from the command line help. Its arguments are another program's and must not be interpreted.
fn guardian() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != GUARDIAN {
        return None;
    }
    let arguments: Vec<_> = arguments.collect();
    let status = evenkeel_supervise::guardian::main(&arguments).unwrap_or_else(|error| {
        logging::print_message(format_args!("evenkeel guardian: {error}"));
        1
    });
    Some(ExitCode::from(u8::try_from(status).unwrap_or(1)))
}
