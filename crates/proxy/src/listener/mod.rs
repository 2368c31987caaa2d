//! Accepting clients.

pub(crate) mod limits;
pub(crate) mod sockets;
pub(crate) mod accept;
pub(crate) mod follow;
