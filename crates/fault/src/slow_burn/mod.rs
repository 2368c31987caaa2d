//! Detects persistent faults that are below every limit of a single server: a share of all answers that fails, a route
//! that fails on one server, several servers that have become slow together. Found by comparing a service with its
//! usual behaviour.
//!
//! No server is ejected or restarted for a slow burn: none of the servers is at fault, or only for requests that others
//! serve.

mod errors;
mod pairs;
mod speed;

pub use errors::{Burn, ErrorShare};
pub use pairs::{ServerRoute, ServerRoutes};
pub use speed::{Speed, UsualSpeed, slow_together};
