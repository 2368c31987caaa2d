//! Accepting clients.

pub(crate) mod limits;
pub(crate) mod socket;
pub(crate) mod accept;
