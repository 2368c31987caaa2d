//! Connections to servers, and requests that evenkeel sends on its own behalf.
//!
//! One [`Stream`] type for every transport, one interpretation of the operating system's errors, and one small HTTP/1.1
//! client ([`send_request`]). Requests and probes share them, so that a probe sees what a request would see.

mod error;
mod stream;
mod client;

pub use client::{
    ClientDeadlines, ClientError, ClientFailure, ClientRequest, ClientResponse, ClientStep,
    send_request, send_with_method,
};
pub use error::{
    ExhaustedResource, event_of, is_local, is_out_of_descriptors, lack_of, outcome_of, read_event,
    stream_event,
};
pub use stream::{IdleState, Stream};
