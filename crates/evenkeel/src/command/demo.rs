//! `evenkeel demo`

use clap::Args;

use crate::demo;
use crate::output::Result;

/// Run a service with servers, load and injected faults on this machine, and watch it recover.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  evenkeel demo\n  evenkeel demo --keep        then break it by hand"
)]
pub(crate) struct DemoArgs {
    /// Keep everything running at the end, and print how to break things by hand.
    #[arg(long)]
    keep: bool,
    /// Print plain lines, even on a terminal.
    #[arg(long)]
    plain: bool,
}

impl DemoArgs {
    pub(crate) fn carry_out(self) -> Result {
        demo::run(demo::DemoOptions {
            keep: self.keep,
            plain: self.plain,
        })
    }
}
