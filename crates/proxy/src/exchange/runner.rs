//! What serves the requests of a connection while there are any: a future with its workspace, kept for the next connection.
//!
//! A connection that waits should take little memory, and the state of a request is large. To allocate it for each burst of requests and
//! to move it there costs a small request 5 % of its instructions. So the future never ends: it waits for a connection, serves it, hands it
//! back, and waits for the next. Those that wait are kept in a stack, so that a busy worker uses few, which stay in the processor's caches.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use crate::downstream::h1::{Client, Persist};
use crate::worker::Worker;

/// Runners that are kept for the next connections, per listener.
const KEPT: usize = 1024;

/// The runners of a worker's listener. `F` is the future that [`Self::new`]'s function makes.
pub(crate) struct Runners<F> {
    worker: Rc<Worker>,
    make: fn(Rc<Worker>, Rc<Handover>) -> F,
    idle: RefCell<Vec<Runner<F>>>,
}

struct Runner<F> {
    future: Pin<Box<F>>,
    handover: Rc<Handover>,
}

/// Where a connection and its runner hand over the client.
#[derive(Default)]
pub(crate) struct Handover {
    to_serve: Cell<Option<Box<Client>>>,
    served: Cell<Option<(Box<Client>, Persist)>>,
}

impl Handover {
    /// The next client to serve.
    pub(crate) async fn next(&self) -> Box<Client> {
        poll_fn(|_| self.to_serve.take().map_or(Poll::Pending, Poll::Ready)).await
    }

    /// The client has no request any more.
    pub(crate) fn served(&self, client: Box<Client>, persist: Persist) {
        self.served.set(Some((client, persist)));
    }
}

impl<F: Future<Output = Infallible>> Runners<F> {
    /// Whose futures `make` makes: each serves one client of its handover after the other.
    pub(crate) fn new(worker: Rc<Worker>, make: fn(Rc<Worker>, Rc<Handover>) -> F) -> Self {
        Self {
            worker,
            make,
            idle: RefCell::new(Vec::new()),
        }
    }

    /// Whose they are.
    pub(crate) const fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// Answers requests for as long as they are there. If this is dropped before, so is the client.
    pub(crate) async fn serve(&self, client: Box<Client>) -> (Box<Client>, Persist) {
        let kept = self.idle.borrow_mut().pop();
        let mut runner = kept.unwrap_or_else(|| self.runner());
        runner.handover.to_serve.set(Some(client));
        let served = poll_fn(|cx| {
            // Its output does not exist: it is always pending, and says by the handover that it has served.
            let _: Poll<Infallible> = runner.future.as_mut().poll(cx);
            runner
                .handover
                .served
                .take()
                .map_or(Poll::Pending, Poll::Ready)
        })
        .await;
        let mut idle = self.idle.borrow_mut();
        if idle.len() < KEPT {
            idle.push(runner);
        }
        served
    }

    fn runner(&self) -> Runner<F> {
        let handover = Rc::<Handover>::default();
        Runner {
            future: Box::pin((self.make)(Rc::clone(&self.worker), Rc::clone(&handover))),
            handover,
        }
    }
}
