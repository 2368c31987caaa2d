//! A new connection to a server, within the time that is left of a request.

use std::net::SocketAddr;
use std::time::Duration;

use evenkeel_core::blame::{Event, Facts, Limit, judge};
use evenkeel_core::{Outcome, ServerId};
use tokio::net::TcpStream;

use crate::worker::Worker;

/// Connects within `timeout.connect`, or within what is left of the request if that is less. A server that was not given
/// its whole time is not blamed for it.
///
/// # Errors
/// How it ended, as [`Worker::connect`] says it.
pub(crate) async fn dial(
    worker: &Worker,
    (server, address): (ServerId, SocketAddr),
    timeout: Duration,
    left: Duration,
) -> Result<TcpStream, Outcome> {
    worker
        .connect(server, address, timeout.min(left))
        .await
        .map_err(|outcome| match outcome {
            Outcome::ConnectTimeout if left < timeout => {
                judge(Event::Late(Limit::Total), Facts::CONNECTING).outcome
            }
            outcome => outcome,
        })
}
