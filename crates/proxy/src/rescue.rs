//! Requests that wait on a server which was taken out as dead or hung, and are tried elsewhere.
//!
//! The order reaches each worker by its inbox; the worker wakes what waits on that server. Whether a request may leave is
//! decided by [`evenkeel_request::Exchange::may_rescue`], once, by whoever waits. Nothing of it costs a request anything.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use evenkeel_core::{Outcome, ServerId};
use evenkeel_tolerate::AttemptFacts;
use tokio::sync::Notify;

use crate::body::RequestBody;
use crate::client_watch::ClientWatch;
use crate::drive::Journey;
use crate::roster::Roster;

/// Servers whose requests in flight a worker is to send elsewhere. It has at most one entry per server.
#[derive(Debug, Default)]
pub(crate) struct RescueInbox {
    servers: Mutex<Vec<ServerId>>,
    filled: Notify,
}

impl RescueInbox {
    /// Called by the control loop.
    pub(crate) fn push(&self, server: ServerId) {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if !servers.contains(&server) {
            servers.push(server);
        }
        drop(servers);
        self.filled.notify_one();
    }

    /// Waits until there is one, and takes all.
    pub(crate) async fn take(&self) -> Vec<ServerId> {
        loop {
            self.filled.notified().await;
            let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
            if !servers.is_empty() {
                return std::mem::take(&mut *servers);
            }
        }
    }
}

impl Journey<'_> {
    /// Whether the attempt that waits on this server may be given up because the server was taken out.
    pub(crate) fn may_rescue(&self, body: &RequestBody, server: ServerId, roster: &Roster) -> bool {
        let facts = AttemptFacts {
            outcome: Outcome::Rescued,
            method_may_repeat: self.may_repeat,
            body_replayable: body.is_replayable(),
            server: server.index,
            wish: None,
        };
        let now = self.worker.clock.now();
        self.exchange.may_rescue(&facts, roster.pool(), now)
    }
}

/// Does `work`, a part of an attempt, until it is done, the client is gone, or the server was taken out and `may_rescue` agrees.
/// It is pinned by the caller: a future that is moved into another one takes its room twice.
///
/// # Errors
/// The outcome of an attempt that is given up.
pub(crate) async fn until_given_up<F: Future>(
    client: &ClientWatch,
    mut work: Pin<&mut F>,
    may_rescue: impl Fn() -> bool,
) -> Result<F::Output, Outcome> {
    let given_up = |cx: &Context<'_>| {
        if client.poll_gone(cx) {
            Some(Outcome::Cancelled)
        } else {
            (client.take_server_out() && may_rescue()).then_some(Outcome::Rescued)
        }
    };
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Ok(done)),
        Poll::Pending => match given_up(cx) {
            Some(outcome) => Poll::Ready(Err(outcome)),
            None => Poll::Pending,
        },
    })
    .await
}
