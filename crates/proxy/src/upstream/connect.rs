//! A new connection to a server.

use std::time::Duration;

use evenkeel_connect::{Stream, is_out_of_descriptors, outcome_of};
use evenkeel_core::{Endpoint, Outcome, ServerId};

use crate::worker::{MissingOn, Worker};

/// Connects within `timeout`. Pooled connections are closed for it where descriptors have run out.
///
/// # Errors
/// How the attempt ended.
pub(super) async fn connect(
    worker: &Worker,
    server: ServerId,
    address: &Endpoint,
    timeout: Duration,
) -> Result<Stream, Outcome> {
    let opened = match Stream::connect(address, timeout).await {
        Err(error) if is_out_of_descriptors(&error) && worker.upstreams.close_all() > 0 => {
            worker.lacks(MissingOn::Server, &error);
            Stream::connect(address, timeout).await
        }
        opened => opened,
    };
    match opened {
        Ok(stream) => {
            let counters = worker.server_counters(server);
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
