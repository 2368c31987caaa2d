//! The header policy: which fields of a request reach a server and which fields of a response reach a client, and which fields evenkeel
//! adds. Decided once, on the models of [`crate::head`], whatever protocols the two sides speak.
//!
//! A protocol carries it out through [`HeadWriter`]. Decided here: hop-by-hop fields and those that `Connection` names stay behind (RFC
//! 9110 section 7.6.1); `X-Forwarded-For/Proto/Host` are replaced, and `Forwarded` and `X-Evenkeel-Mirror` removed, since no peer is
//! trusted; `Via`, a missing `X-Request-Id` and a missing `Date` are added; services and routes edit the rest. Trailer fields pass by the
//! same rules, unless they may not be trailers (RFC 9110 section 6.5.1). Not decided here: what a protocol says of its own
//! connections and framing (`Connection`, `Upgrade`, `Transfer-Encoding`).

mod writer;
mod edits;
mod request;
mod response;
mod trailers;
mod copies;

pub use copies::{MIRROR_MARK, is_left_out_of_revalidation};
pub use edits::HeaderEdits;
pub use request::ForwardedRequest;
pub use response::{ForwardedResponse, write_interim};
pub use trailers::ForwardedTrailers;
pub use writer::{HeadWriter, RequestWriter, ResponseWriter};
