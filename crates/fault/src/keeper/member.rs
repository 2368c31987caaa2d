//! Servers that come from DNS: another one takes a place, or nobody is there any more.
//!
//! Nothing that was known of the one before says anything about the next. Its incident is closed, since a server that is
//! not a member can neither be repaired nor verified, and the next one begins as a server that nothing is known of.

use std::net::SocketAddr;

use evenkeel_core::{Directive, Instant, ServerId};

use crate::contract::{OrderAnswer, Output, Pace, ServerState};
use crate::incident::End;

use super::server::Server;
use super::{Keeper, Work};

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

    /// Whether nobody is at this place.
    pub(super) fn is_vacant(&self, id: ServerId) -> bool {
        let service = self.services.get(id.service.0 as usize);
        service
            .and_then(|service| service.servers.get(id.index as usize))
            .is_some_and(|server| server.vacant.is_some())
    }
}

impl Work<'_> {
    /// Closes the case of a server that is not a member any more.
    fn leave(&mut self) {
        let now = self.now;
        if let Some(case) = self.case() {
            let text = "the server has another address in DNS, or is not there any more";
            case.note(now, "signal", text.to_owned());
            self.close(End::Left);
        }
        self.close_unproven(End::Left, false);
        let answer = OrderAnswer::Failed("the server has left the DNS".to_owned());
        self.server.answer(answer, self.out);
    }

    /// Begins anew with whoever is here now.
    fn arrive(&mut self) {
        let place = self.server.id.index as usize;
        let Some(spec) = self.spec.servers.get(place) else {
            return;
        };
        let (id, options) = (self.server.id, &self.spec.options);
        let peers = self.spec.servers.len().saturating_sub(1);
        *self.server = Server::new(id, spec, options, peers);
        self.server.vacant = spec.address.is_none().then_some(ServerState::Absent);
        // A late order about the one before may have reached the next one. A slow start goes on.
        self.out.push(Output::Directive(Directive::Restore {
            server: id,
            slowly: true,
        }));
        self.out.push(Output::Pace {
            server: id,
            pace: Pace::Normal,
        });
    }
}
