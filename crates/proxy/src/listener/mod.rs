//! Accepting clients.

pub(crate) mod limits;
pub(crate) mod accept;
