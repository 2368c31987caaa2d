//! `evenkeel sample-server`: the small server of the demo and the tests, which misbehaves on command.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use evenkeel_lab::SampleServerOptions;

use crate::output::{CommandEnding, CommandFailure, Result};

/// A small HTTP server that misbehaves on command, for the demo and for tests.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  evenkeel sample-server --port 9001 --name one\n  \
                        curl -d 'slow 10' http://127.0.0.1:9001/mode"
)]
pub(crate) struct SampleServerArgs {
    /// The port to listen on.
    #[arg(long, value_name = "PORT")]
    port: u16,
    /// The address to listen on.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    ip: IpAddr,
    /// The server's name [default: the port].
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// A file with the initial mode; `ok` if absent or empty.
    #[arg(long, value_name = "FILE")]
    mode_file: Option<PathBuf>,
    /// The duration of an ordinary request, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 2)]
    base_delay_ms: u64,
}

impl SampleServerArgs {
    pub(crate) fn carry_out(self) -> Result {
        let address = SocketAddr::new(self.ip, self.port);
        let name = self.name.unwrap_or_else(|| self.port.to_string());
        let options = SampleServerOptions {
            mode_file: self.mode_file,
            base_delay: Duration::from_millis(self.base_delay_ms),
            ..SampleServerOptions::new(address, &name)
        };
        evenkeel_lab::server::run(&options).map_err(|error| {
            CommandFailure::world(format_args!("sample server {name} at {address}"), error)
        })?;
        Ok(CommandEnding::Good)
    }
}
