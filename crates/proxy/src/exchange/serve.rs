//! A client's connection from its first request to its end: each request is handed to its exchange, one after the other.

use std::rc::Rc;

use evenkeel_request::Cause;

use super::drive::handle;
use crate::downstream::h1::client::{Client, HeadRead, Persist};
use crate::downstream::local_reply;
use crate::downstream::violation::Violation;
use crate::worker::{Worker, Workspace};

/// Serves a connection until its end. What its requests need is allocated when the first byte has come and freed when no further byte is
/// there, so that a connection that waits takes little memory.
pub(crate) async fn serve(worker: &Rc<Worker>, client: &mut Client) {
    let mut persist = Persist::Keep;
    while persist == Persist::Keep && client.wait(worker).await {
        persist = Box::pin(requests(worker, client)).await;
    }
    if persist == Persist::Linger {
        Box::pin(client.linger(worker)).await;
    }
    worker.buffers.give(std::mem::take(&mut client.buffer));
}

/// Answers requests for as long as they are there.
async fn requests(worker: &Rc<Worker>, client: &mut Client) -> Persist {
    let mut work = worker.workspace();
    client.buffer = worker.buffers.take();
    let persist = answer_all(worker, client, &mut work).await;
    worker.give_workspace(work);
    persist
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

    #[test]
    fn a_connection_that_waits_holds_nothing_of_a_request() {
        let waiting = size_of_future(|worker: &'static Rc<Worker>, client: &'static mut Client| {
            serve(worker, client)
        });
        let client = size_of::<Client>();
        assert!(waiting + client <= 320, "{waiting} and {client} bytes");
    }
}
