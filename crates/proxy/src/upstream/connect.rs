//! A new connection to a server, within the time that is left of a request.

use std::net::SocketAddr;
use std::time::Duration;

use evenkeel_connect::{Stream, is_out_of_descriptors, outcome_of};
use evenkeel_core::blame::{EndContext, EndEvent, TimeLimit, judge};
use evenkeel_core::{Outcome, ServerId};

use crate::worker::{Side, Worker};

/// Connects within `timeout.connect`, or within what is left of the request if that is less. A server that was not given
/// its whole time is not blamed for it.
///
/// # Errors
/// How it ended.
pub(crate) async fn connect(
    worker: &Worker,
    (server, address): (ServerId, SocketAddr),
    timeout: Duration,
    left: Duration,
) -> Result<Stream, Outcome> {
    within(worker, server, address, timeout.min(left))
        .await
        .map_err(|outcome| match outcome {
            Outcome::ConnectTimeout if left < timeout => {
                judge(EndEvent::Late(TimeLimit::Total), EndContext::CONNECTING).outcome
            }
            outcome => outcome,
        })
}

/// A new connection. Kept ones are closed for it where descriptors have run out.
async fn within(
    worker: &Worker,
    server: ServerId,
    address: SocketAddr,
    timeout: Duration,
) -> Result<Stream, Outcome> {
    let endpoint = address.into();
    let opened = match Stream::connect(&endpoint, timeout).await {
        Err(error) if is_out_of_descriptors(&error) && worker.upstreams.close_all() > 0 => {
            worker.lacks(Side::Server, &error);
            Stream::connect(&endpoint, timeout).await
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
                worker.lacks(Side::Server, &error);
            }
            Err(outcome)
        }
    }
}
