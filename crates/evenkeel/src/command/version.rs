//! `evenkeel version`

use clap::Args;

use crate::output::{Ending, Result, print};

/// Print the version.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  evenkeel version")]
pub(crate) struct Version {}

impl Version {
    pub(crate) fn carry_out(self) -> Result {
        let Self {} = self;
        print(format_args!("evenkeel {}", env!("CARGO_PKG_VERSION")))?;
        Ok(Ending::Good)
    }
}
