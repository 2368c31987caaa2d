//! `evenkeel version`

use clap::Args;

use crate::output::{CommandEnding, Result, print};

/// Print the version.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  evenkeel version")]
pub(crate) struct VersionArgs {}

impl VersionArgs {
    pub(crate) fn carry_out(self) -> Result {
        let Self {} = self;
        print(format_args!("evenkeel {}", env!("CARGO_PKG_VERSION")))?;
        Ok(CommandEnding::Good)
    }
}
