//! Heads in HTTP/1.1: what the parser has found as the models that routing and the header policy see, and the policy's writers.
//!
//! The header policy is in [`evenkeel_request::forward`]. What is HTTP/1's own is here: request and status lines, `Connection` and
//! `Upgrade`, and the framing that HTTP/1.0 clients do not know.

mod view;
mod lines;
mod request;
mod response;
mod stored;
mod trailers;
mod copies;
#[cfg(test)]
mod tests;

pub(crate) use copies::{without_fields, write_mirrored};
pub(crate) use request::write_request;
pub(crate) use response::{Manner, is_delimited, write_connection, write_interim, write_response};
pub(crate) use stored::write_stored;
pub(crate) use trailers::write_trailers;
pub(crate) use view::{H1Request, H1Response};
