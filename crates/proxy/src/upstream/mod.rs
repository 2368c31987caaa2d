//! The side of the servers: connections that are kept or opened, and what goes over them.

pub(crate) mod idle_timeout;
pub(crate) mod pool;
pub(crate) mod connect;
pub(crate) mod lease;
pub(crate) mod deadlines;
pub(crate) mod load_report;
pub(crate) mod retry_after;
pub(crate) mod h1;
pub(crate) mod client;
