//! Responses that are kept for when there is no new one.

pub(crate) mod key;
pub(crate) mod store;
pub(crate) mod fill;
