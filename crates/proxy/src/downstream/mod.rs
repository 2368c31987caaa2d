//! The side of the client: its connection, the head and body of its request, and the heads that it gets.

pub(crate) mod address;
pub(crate) mod violation;
pub(crate) mod io;
pub(crate) mod h1;
pub(crate) mod local_reply;
