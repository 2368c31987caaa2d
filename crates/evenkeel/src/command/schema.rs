//! `evenkeel schema`

use clap::Args;

use crate::output::{CommandEnding, Result, print};

/// Print the JSON Schema of the configuration file, for editors.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  evenkeel schema > evenkeel.schema.json")]
pub(crate) struct SchemaArgs {}

impl SchemaArgs {
    pub(crate) fn carry_out(self) -> Result {
        let Self {} = self;
        let schema =
            serde_json::to_string_pretty(&evenkeel_config::schema()).expect("a schema is JSON");
        print(schema)?;
        Ok(CommandEnding::Good)
    }
}
