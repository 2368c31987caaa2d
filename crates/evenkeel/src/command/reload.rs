//! `evenkeel reload`

use std::time::Duration;

use clap::Args;

use super::find::AdminAddress;
use crate::output::{CommandEnding, Result, print};

/// A reload takes longer than other orders where the file has many names to resolve.
const LONGEST: Duration = Duration::from_secs(60);

/// Have a running evenkeel read its configuration file again and apply what has changed.
#[derive(Debug, Args)]
#[command(
    after_help = "Nothing is changed if the file has a mistake or a new address cannot be used. What has not changed keeps everything:\n\
                  connections, processes, health, counters. Exit status: 0 what runs is what the file says, 1 nothing was changed.\n\n\
                  Example:\n  evenkeel diff; evenkeel reload"
)]
pub(crate) struct ReloadArgs {
    #[command(flatten)]
    find: AdminAddress,
}

impl ReloadArgs {
    pub(crate) fn carry_out(self) -> Result {
        print(self.find.commander()?.order("/api/reload", LONGEST)?)?;
        Ok(CommandEnding::Good)
    }
}

/// What a reload would change in the evenkeel that runs, a line each.
pub(super) fn pending_changes(find: &AdminAddress) -> Result<String> {
    find.commander()?.order("/api/reload?check=true", LONGEST)
}
