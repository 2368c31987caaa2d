//! `evenkeel proxy`: serve without a file.

use clap::Args;

use evenkeel_core::Endpoint;

use super::run;
use crate::configuration::{self, ConfigurationSource};
use crate::output::Result;
use crate::place::state_directory;

/// Serve without a configuration file: balance one address over several servers, with safe defaults.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  evenkeel proxy --listen 127.0.0.1:8080 --to 127.0.0.1:9001 --to 127.0.0.1:9002"
)]
pub(crate) struct ProxyArgs {
    /// The address to accept traffic on: IP:PORT or unix:/PATH.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: Endpoint,
    /// A server, HOST:PORT or unix:/PATH; repeat for each server.
    #[arg(long, value_name = "ADDR", required = true, num_args = 1..)]
    to: Vec<String>,
}

impl ProxyArgs {
    pub(crate) fn carry_out(self) -> Result {
        let state = state_directory();
        run::serve(|| {
            let (text, name) = (self.text(), "the command line");
            let plan = configuration::parse_to_serve(&text, name, &state)?;
            let source = ConfigurationSource::of_command_line(&text, name, &plan);
            Ok((plan, source))
        })
    }

    /// The arguments as a configuration. Addresses are quoted as JSON strings, which are valid TOML.
    fn text(&self) -> String {
        let servers = serde_json::json!(self.to);
        let listen = serde_json::json!(self.listen.to_string());
        format!(
            "[admin]\naddress = \"127.0.0.1:0\"\n\n[store]\nurl = \"memory:\"\n\n[listen.web]\naddress = {listen}\n\
             service = \"servers\"\n\n[service.servers]\nservers = {servers}\n"
        )
    }
}
