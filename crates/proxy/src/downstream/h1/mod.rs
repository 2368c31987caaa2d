//! HTTP/1.1 from clients: a connection with its requests one after the other, where the body of a request comes from, and where
//! its response goes.

pub(crate) mod client;
pub(crate) mod body;
pub(crate) mod response;

pub(crate) use body::{BodySource, RequestBody};
pub(crate) use client::{Client, Persist};
pub(crate) use response::{ResponseForm, ResponseSink};
