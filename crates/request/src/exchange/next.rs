//! What a stage hands on, so that stages do not call each other.

use super::step::{NoResponse, Reply, Step};
use crate::Cause;

/// Where the exchange goes on after a stage.
#[derive(Debug, Clone, Copy)]
pub(super) enum Next {
    /// Nowhere: this is to be done, and then something happens.
    Step(Step),
    /// The service is asked, unless its requests are answered for it.
    AskService,
    /// A server is selected for the next attempt.
    Select,
    /// All servers have as many requests as they may, or others wait already: it waits for its turn.
    EnterQueue,
    /// No server can be asked, for this cause: it waits for one to come back if that may help, else there is no response.
    Hold {
        /// What the client is told if it waits in vain.
        cause: Cause,
        /// Another attempt was granted, or it is the first.
        granted: bool,
    },
    /// There is no response to pass on: something takes its place.
    NoResponse(NoResponse),
    /// evenkeel itself answers, and the exchange is over.
    Reply(Reply),
    /// Nobody is to be answered, and the exchange is over.
    Abort,
}
