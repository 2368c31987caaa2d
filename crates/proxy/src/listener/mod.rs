//! Accepting clients.

pub(crate) mod limits;
pub(crate) mod socket;
mod next;
pub(crate) mod accept;
