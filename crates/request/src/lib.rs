//! The request path, decided: route → \[ balance → attempt \] → respond.
//!
//! No socket, no clock: the proxy asks what comes next and does it. `exchange` is the only control flow; the other
//! stages are pure functions that it, or the proxy, calls.
#![warn(clippy::wildcard_enum_match_arm)]

pub mod head;
pub mod route;
pub mod hash;
pub mod headers;
pub mod mirror;
pub mod hold;
pub mod fallback;
pub mod cache;
pub mod deadline;
pub mod policies;
pub mod quarantine;
pub mod closed;
pub mod service;
pub mod exchange;
mod request_id;
pub mod forward;
pub mod respond;

pub use deadline::DeadlineHeader;
pub use exchange::Exchange;
pub use fallback::{Fallback, FallbackResponse, FallbackTo};
pub use hash::{HashOn, hash_address};
pub use head::{RequestView, ResponseView};
pub use headers::HeaderChanges;
pub use hold::{HeldNow, Hold, HoldOptions};
pub use mirror::Mirror;
pub use policies::Policies;
pub use request_id::RequestId;
pub use respond::Cause;
pub use service::Service;
