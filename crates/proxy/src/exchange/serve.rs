//! A client's connection from its first request to its end: each request is handed to its exchange, one after the other.

use std::net::SocketAddr;
use std::rc::Rc;

use evenkeel_request::Cause;
use tokio::net::TcpStream;

use super::drive::handle;
use crate::downstream::h1::client::{Arrival, Client, Persist};
use crate::downstream::local_reply;
use crate::downstream::violation::Violation;
use crate::worker::{Worker, Workspace};

/// Serves a connection until its end.
pub(crate) async fn serve(
    worker: &Rc<Worker>,
    listener: usize,
    stream: TcpStream,
    peer: SocketAddr,
) {
    let mut client = Client::new(worker, listener, stream, peer);
    let mut persist = Persist::Keep;
    while persist == Persist::Keep && client.wait(worker).await {
        let mut work = worker.workspace();
        persist = requests(worker, &mut client, &mut work).await;
        worker.give_workspace(work);
    }
    if persist == Persist::Linger {
        Box::pin(client.linger(worker)).await;
    }
    worker.buffers.give(std::mem::take(&mut client.buffer));
}

/// Answers requests for as long as they are there.
async fn requests(worker: &Rc<Worker>, client: &mut Client, work: &mut Workspace) -> Persist {
    client.buffer = worker.buffers.take();
    loop {
        let persist = match client.next_head(worker, work).await {
            Arrival::Head => handle(worker, client, work).await,
            Arrival::Closed => Persist::Close,
            Arrival::Late => {
                Box::pin(local_reply::refuse(
                    worker,
                    client,
                    work,
                    Cause::RequestTimeout,
                ))
                .await
            }
            Arrival::Bad(error) => {
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
    }
}
