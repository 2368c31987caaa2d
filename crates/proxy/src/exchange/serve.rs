//! A client's connection from its first request to its end: each request is handed to its exchange, one after the other.

use std::convert::Infallible;
use std::future::Future;
use std::rc::Rc;

use evenkeel_request::Cause;

use super::drive::handle;
use super::runner::{Handover, Runners};
use crate::downstream::h1::client::{Client, HeadRead, Persist};
use crate::downstream::local_reply;
use crate::downstream::violation::Violation;
use crate::worker::{Worker, Workspace};

/// Serves a connection until its end. What its requests need is a runner's, from the first byte on until no further byte is there, so
/// that a connection that waits takes little memory.
pub(crate) async fn serve<F>(runners: &Runners<F>, mut client: Box<Client>)
where
    F: Future<Output = Infallible>,
{
    let worker = runners.worker();
    let mut persist = Persist::Keep;
    while persist == Persist::Keep && client.wait(worker).await {
        (client, persist) = runners.serve(client).await;
    }
    if persist == Persist::Linger {
        Box::pin(client.linger(worker)).await;
    }
    worker.buffers.give(std::mem::take(&mut client.buffer));
}

/// Serves the clients of this handover, one after the other.
pub(crate) async fn run(worker: Rc<Worker>, handover: Rc<Handover>) -> Infallible {
    let mut work = Workspace::default();
    loop {
        let mut client = handover.next().await;
        client.buffer = worker.buffers.take();
        let persist = answer_all(&worker, &mut client, &mut work).await;
        handover.served(client, persist);
    }
}

async fn answer_all(worker: &Rc<Worker>, client: &mut Client, work: &mut Workspace) -> Persist {
    loop {
        let persist = match client.next_head(worker, work).await {
            HeadRead::Head => handle(worker, client, work).await,
            HeadRead::Closed => Persist::Close,
            HeadRead::Late => {
                Box::pin(local_reply::refuse(
                    worker,
                    client,
                    work,
                    Cause::RequestTimeout,
                ))
                .await
            }
            HeadRead::Bad(error) => {
                let field = work.request.refused_field(client.buffer.unread(), error);
                work.violation = Some(Violation::of_head(error, field));
                let cause = Cause::BadRequest {
                    status: error.status(),
                    word: error.word(),
                };
                Box::pin(local_reply::refuse(worker, client, work, cause)).await
            }
        };
        if persist != Persist::Keep || client.buffer.is_empty() {
            worker.buffers.give(std::mem::take(&mut client.buffer));
            return persist;
        }
        // Requests that came together may all be answered without a wait: others have their turn in between.
        tokio::task::consume_budget().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of the future that such a function returns.
    fn size_of_future<A, B, F>(_: impl Fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    /// The size of a connection's future, if its requests are served by such runners.
    fn size_of_serve<F>(_: fn(Rc<Worker>, Rc<Handover>) -> F) -> usize
    where
        F: Future<Output = Infallible> + 'static,
    {
        size_of_future(|runners: &'static Runners<F>, client| serve(runners, client))
    }

    #[test]
    fn a_connection_that_waits_holds_nothing_of_a_request() {
        let waiting = size_of_serve(run);
        let client = size_of::<Client>();
        assert!(waiting + client <= 320, "{waiting} and {client} bytes");
    }
}
