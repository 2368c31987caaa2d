//! Connections to servers, and what evenkeel asks over them of its own accord.
//!
//! One [`Stream`] whatever carries it, one reading of the operating system's errors, and one small HTTP/1.1 client
//! ([`send_request`]). Requests and probes share them, so that a probe sees what a request would.

mod error;
mod stream;
mod client;

pub use client::{
    ClientDeadlines, ClientError, ClientFailure, ClientRequest, ClientResponse, ClientStep,
    send_request,
};
pub use error::{
    Lack, event_of, is_local, is_out_of_descriptors, lack_of, outcome_of, stream_event,
};
pub use stream::{Endpoint, IdleState, Stream};
