//! A new connection to a server.

use std::net::SocketAddr;
use std::time::Duration;

use evenkeel_connect::{Stream, is_out_of_descriptors, outcome_of};
use evenkeel_core::Outcome;

use crate::stats::counters::ServerCounters;
use crate::worker::{MissingOn, Worker};

/// Connects to the server with these counters within `timeout`. Pooled connections are closed for it where descriptors have run out.
///
/// # Errors
/// How the attempt ended.
pub(super) async fn connect(
    worker: &Worker,
    counters: &ServerCounters,
    address: SocketAddr,
    timeout: Duration,
) -> Result<Stream, Outcome> {
    let endpoint = address.into();
    let opened = match Stream::connect(&endpoint, timeout).await {
        Err(error) if is_out_of_descriptors(&error) && worker.close_idle() > 0 => {
            worker.lacks(MissingOn::Server, &error);
            Stream::connect(&endpoint, timeout).await
        }
        opened => opened,
    };
    match opened {
        Ok(stream) => {
            counters.connections.add_from_owner(1);
            Ok(stream)
        }
        Err(error) => {
            let outcome = outcome_of(&error);
            if outcome == Outcome::LocalError {
                worker.lacks(MissingOn::Server, &error);
            }
            Err(outcome)
        }
    }
}
