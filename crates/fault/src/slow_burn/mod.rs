//! What is too little for any limit of a single server, and lasts: a share of all answers that fails, a route that fails on one
//! server, several servers that have become slow together. Found by holding a service against how it usually is.
//!
//! Nobody is ejected or restarted for it: none of the servers is what is wrong, or only for requests that others serve.

mod errors;
mod pairs;
mod speed;

pub use errors::{Burn, ErrorShare};
pub use pairs::{Pair, Pairs};
pub use speed::{Speed, Usual, slow_together};
