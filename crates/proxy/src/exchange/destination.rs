//! Where a request goes: the listener's routes, asked once.

use evenkeel_core::ServiceId;
use evenkeel_request::route::{self, Redirect, Route, Target};

use crate::downstream::h1::Client;
use crate::downstream::h1::head::H1Request;
use crate::worker::service_entry::ServiceEntry;
use crate::worker::worker_snapshot::WorkerSnapshot;
use crate::worker::{Worker, Workspace};

/// Where a request goes.
#[derive(Debug)]
pub(crate) enum Destination<'a> {
    /// To a service, by the route if one matched.
    Service(ServiceId, Option<&'a Route>),
    /// To another place, which the client is told.
    Elsewhere(&'a Route, &'a Redirect),
    Nowhere,
}

/// Where the request whose head is in `work` goes, by the routes of its listener.
pub(crate) fn destination<'a>(
    worker: &Worker,
    snapshot: &'a WorkerSnapshot,
    client: &Client,
    work: &Workspace,
) -> Destination<'a> {
    let Some(listener) = snapshot.shared.listener(client.listener.slot()) else {
        return Destination::Nowhere;
    };
    let listener = &listener.plan;
    let view = H1Request {
        head: &work.request,
        bytes: client.buffer.unread(),
    };
    let Some(route) = route::find(&listener.routes, &view) else {
        return match listener.default_service {
            Some(service) => Destination::Service(service, None),
            None => Destination::Nowhere,
        };
    };
    match &route.target {
        Target::Service(service) => Destination::Service(*service, Some(route)),
        Target::Split(split) => {
            let drawn = split.draw(&mut worker.random.borrow_mut());
            Destination::Service(drawn, Some(route))
        }
        Target::Redirect(redirect) => Destination::Elsewhere(route, redirect),
    }
}

/// What the request whose head is in `work` is hashed on, if its service's policy hashes.
pub(crate) fn hash_key(entry: &ServiceEntry, client: &Client, work: &Workspace) -> Option<u64> {
    let view = H1Request {
        head: &work.request,
        bytes: client.buffer.unread(),
    };
    entry.service().hash_on()?.key(&view, client.peer)
}
