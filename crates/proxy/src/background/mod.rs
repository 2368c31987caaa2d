//! Requests that evenkeel makes for no client.

pub(crate) mod request;
pub(crate) mod mirror;
pub(crate) mod revalidate;
pub(crate) mod load_probe;
