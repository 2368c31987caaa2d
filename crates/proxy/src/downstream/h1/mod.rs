//! HTTP/1.1 at the side of the client: a connection with one request after the other, the source of a request's body, the sink of a
//! response, and heads.

pub(crate) mod head;
pub(crate) mod client;
pub(crate) mod trailers;
pub(crate) mod body;
pub(crate) mod response;

pub(crate) use body::{BodySource, RequestBody};
pub(crate) use client::{Client, Persist};
pub(crate) use response::{ResponseForm, ResponseSink};
