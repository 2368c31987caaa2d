//! HTTP/1.1 at the side of the client.

pub(crate) mod head;
