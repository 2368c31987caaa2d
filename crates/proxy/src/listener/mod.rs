//! Accepting clients.

pub(crate) mod limits;
pub(crate) mod acceptor;
pub(crate) mod sockets;
mod next;
pub(crate) mod accept;
pub(crate) mod follow;
