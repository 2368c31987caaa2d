//! The rules of the response cache (RFC 9111): which responses may be stored, for how long they may be served, and to which
//! requests.
//!
//! It is a shared cache: it shows one client what another one got. So what is private, what depends on the client, and what may
//! not be served stale is not stored. By default servers are asked first, and a stored response is served when none answers
//! (`stale-if-error`, RFC 5861, section 4).
//!
//! Pure: the proxy reads the heads, fills the cache while responses pass, and looks up.

mod control;
mod response_cache;
mod storing;

pub use control::{RequestCacheControl, ResponseCacheControl};
pub use response_cache::ResponseCache;
pub use storing::ResponseFacts;

pub use evenkeel_tolerate::stale::{Lifetimes, Servable, StoredValue};
