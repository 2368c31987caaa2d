//! Changes of headers that services and routes ask for: the service's come first, and the route has the last word.
//!
//! There are none for most messages, which then are written as if this did not exist.

use std::net::{IpAddr, SocketAddr};

use evenkeel_request::headers::{Fact, HeaderLine};
use evenkeel_request::route::Route;
use evenkeel_request::{Head as _, HeaderChanges};

use crate::downstream::address::AddressText;
use crate::downstream::view::View;
use crate::worker::request_id::RequestId;
use crate::worker::state::ServiceEntry;

/// The changes of one message's header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Edits<'a> {
    service: &'a HeaderChanges,
    route: Option<&'a HeaderChanges>,
    /// A field that is meant for evenkeel alone.
    own: Option<&'a str>,
    /// A field that evenkeel writes itself.
    written: Option<&'a str>,
}

/// What is known of a request beside its head.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) peer: &'a AddressText,
    pub(crate) id: RequestId,
    /// The service's first server: stands in for a `Host` that an HTTP/1.0 client left out.
    pub(crate) server: Option<SocketAddr>,
    pub(crate) service: &'a str,
    /// The route that it came by, if one matched.
    pub(crate) route: Option<&'a Route>,
    /// What is changed in the header.
    pub(crate) edits: Option<Edits<'a>>,
    /// The field in which it is told how much time is left.
    pub(crate) deadline: Option<&'a str>,
}

/// Who answered whom: what may be said in a response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answerer<'a> {
    pub(crate) peer: IpAddr,
    pub(crate) id: RequestId,
    pub(crate) service: &'a str,
    pub(crate) server: &'a str,
}

impl<'a> Edits<'a> {
    /// Those of a request; nothing if there are none.
    pub(crate) fn of_request(
        service: &'a ServiceEntry,
        route: Option<&'a Route>,
        written: Option<&'a str>,
    ) -> Option<Self> {
        let route = route.map(|route| &route.request_headers);
        Self::new(&service.request_headers, route, None, written)
    }

    /// Those of a response; nothing if there are none.
    pub(crate) fn of_response(service: &'a ServiceEntry, route: Option<&'a Route>) -> Option<Self> {
        Self::new(
            &service.response_headers,
            route.map(|route| &route.response_headers),
            service.load_header.as_deref(),
            None,
        )
    }

    fn new(
        service: &'a HeaderChanges,
        route: Option<&'a HeaderChanges>,
        own: Option<&'a str>,
        written: Option<&'a str>,
    ) -> Option<Self> {
        let route = route.filter(|changes| !changes.is_empty());
        let some = route.is_some() || own.or(written).is_some() || !service.is_empty();
        some.then_some(Self {
            service,
            route,
            own,
            written,
        })
    }

    /// Whether lines of this name go.
    pub(crate) fn drops(&self, name: &[u8]) -> bool {
        self.service.drops(name)
            || self.route.is_some_and(|route| route.drops(name))
            || [self.own, self.written]
                .into_iter()
                .flatten()
                .any(|own| name.eq_ignore_ascii_case(own.as_bytes()))
    }

    /// Whether a line of this name comes.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.lines()
            .any(|line| line.name.eq_ignore_ascii_case(name))
    }

    /// The lines that come.
    fn lines(&self) -> impl Iterator<Item = &'a HeaderLine> {
        let route = self.route;
        let stays =
            move |line: &&HeaderLine| route.is_none_or(|route| !route.drops(line.name.as_bytes()));
        let own = route.map_or(&[][..], HeaderChanges::lines);
        let written = self.written;
        let comes = move |line: &&HeaderLine| {
            written.is_none_or(|name| !line.name.eq_ignore_ascii_case(name))
        };
        let of_service = self.service.lines().iter().filter(stays);
        of_service.chain(own).filter(comes)
    }

    /// Writes the lines that come into a request.
    pub(crate) fn write_request(&self, out: &mut Vec<u8>, view: &View<'_>, origin: &Origin<'_>) {
        self.write(out, |fact, out| match fact {
            Fact::Host => out.extend_from_slice(view.host().unwrap_or_default()),
            Fact::Path => out.extend_from_slice(view.path()),
            Fact::Rest => {
                let path = view.path();
                let rest = match origin.route {
                    Some(route) => route.rest(path),
                    None => path.strip_prefix(b"/").unwrap_or(path),
                };
                out.extend_from_slice(rest);
            }
            Fact::Query => {
                if let Some(query) = view.query() {
                    out.push(b'?');
                    out.extend_from_slice(query);
                }
            }
            Fact::ClientAddress => out.extend_from_slice(origin.peer.as_bytes()),
            Fact::RequestId => origin.id.write(out),
            Fact::Service => out.extend_from_slice(origin.service.as_bytes()),
            Fact::Server => {}
        });
    }

    /// Writes the lines that come into a response.
    pub(crate) fn write_response(&self, out: &mut Vec<u8>, answerer: Answerer<'_>) {
        self.write(out, |fact, out| match fact {
            Fact::Host | Fact::Path | Fact::Rest | Fact::Query => {}
            Fact::ClientAddress => {
                out.extend_from_slice(AddressText::of(answerer.peer).as_bytes());
            }
            Fact::RequestId => answerer.id.write(out),
            Fact::Service => out.extend_from_slice(answerer.service.as_bytes()),
            Fact::Server => out.extend_from_slice(answerer.server.as_bytes()),
        });
    }

    fn write(&self, out: &mut Vec<u8>, mut fill: impl FnMut(Fact, &mut Vec<u8>)) {
        for line in self.lines() {
            out.extend_from_slice(line.name.as_bytes());
            out.extend_from_slice(b": ");
            line.value.write(out, &mut fill);
            out.extend_from_slice(b"\r\n");
        }
    }
}
