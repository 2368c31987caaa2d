//! `evenkeel demo`

use clap::Args;

use crate::demo;
use crate::output::Result;

/// A service, its servers, load and faults on this machine: watch it heal, read the reports.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  evenkeel demo\n  evenkeel demo --keep        and then break it by hand"
)]
pub(crate) struct Demo {
    /// Leave it running after the story, to break by hand; it says how.
    #[arg(long)]
    keep: bool,
    /// Plain lines, also on a terminal.
    #[arg(long)]
    plain: bool,
}

impl Demo {
    pub(crate) fn carry_out(self) -> Result {
        demo::run(demo::Options {
            keep: self.keep,
            plain: self.plain,
        })
    }
}
