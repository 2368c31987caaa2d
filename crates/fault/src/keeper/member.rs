//! Servers from DNS: a slot gets another server, or becomes empty.
//!
//! Nothing known about the previous server applies to the next. Its incident is closed, since a server that is no
//! longer a member can be neither repaired nor verified, and the next one starts without history.

use std::net::SocketAddr;

use evenkeel_core::{Directive, Instant, ServerId};

use crate::contract::{OrderAnswer, Output, ProbePace, ServerSpec, ServerStatus};
use crate::incident::CloseReason;

use super::server::WatchedServer;
use super::{Keeper, ServerContext};

impl Keeper {
    /// Another server is at this place now, or nobody.
    pub(super) fn moved(
        &mut self,
        now: Instant,
        id: ServerId,
        address: Option<SocketAddr>,
        out: &mut Vec<Output>,
    ) {
        self.with(now, id, out, |work| work.leave());
        let Some(service) = self.services.get_mut(id.service.0 as usize) else {
            return;
        };
        // A late word about a server that a reload has removed.
        let spec = service.spec.servers.get(id.index as usize);
        if spec.is_none_or(ServerSpec::is_vacant) {
            return;
        }
        let server = service.servers.get_mut(id.index as usize);
        // One that leaves the DNS may come back: its maintenance waits for it.
        if let Some(held) = server.and_then(|server| server.held.take()) {
            service.send_away(id.index, held.maintenance);
        }
        let address = address.map(|address| address.to_string());
        let back = address
            .as_ref()
            .and_then(|address| service.take_back(address));
        if let Some(spec) = service.spec.servers.get_mut(id.index as usize) {
            spec.address = address;
        }
        self.with(now, id, out, |work| work.arrive());
        if let Some((before, maintenance)) = back {
            self.with(now, id, out, |work| {
                work.maintenance_back(before, maintenance);
            });
        }
    }

    /// Whether the slot is empty.
    pub(super) fn is_vacant(&self, id: ServerId) -> bool {
        let service = self.services.get(id.service.0 as usize);
        service
            .and_then(|service| service.servers.get(id.index as usize))
            .is_some_and(|server| server.vacant.is_some())
    }
}

impl ServerContext<'_> {
    /// Closes the case of a server that is no longer a member.
    fn leave(&mut self) {
        let now = self.now;
        if let Some(case) = self.case() {
            let text = "the server has another address in DNS, or was removed";
            case.note(now, "signal", text.to_owned());
            self.close(CloseReason::Left);
        }
        self.close_unproven(CloseReason::Left, false);
        let answer = OrderAnswer::Failed("the server was removed from DNS".to_owned());
        self.server.answer(answer, self.out);
    }

    /// Starts over with the current members.
    fn arrive(&mut self) {
        let slot = self.server.id.index as usize;
        let Some(spec) = self.spec.servers.get(slot) else {
            return;
        };
        let (id, options) = (self.server.id, &self.spec.options);
        *self.server = WatchedServer::new(id, spec, options, self.spec.peers());
        self.server.vacant = spec.address.is_none().then_some(ServerStatus::Absent);
        // A late order about the one before may have reached the next one. A slow start goes on.
        self.out.push(Output::Directive(Directive::Restore {
            server: id,
            slowly: true,
        }));
        self.out.push(Output::Pace {
            server: id,
            pace: ProbePace::Normal,
        });
    }
}
