//! Why nobody is in a slot at the start.

use crate::contract::{ServerSpec, ServerStatus};

impl ServerSpec {
    /// Why nobody is in the slot, if so: a server whose name has not resolved yet, or none at all.
    pub(super) fn vacancy(&self) -> Option<ServerStatus> {
        match self.address {
            Some(_) => None,
            None if self.is_vacant() => Some(ServerStatus::Absent),
            None => Some(ServerStatus::Unresolved),
        }
    }
}
