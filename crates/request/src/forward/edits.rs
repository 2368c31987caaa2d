//! The changes of one message's header that its service and its route ask for: the service's come first, and the route has the last word.
//!
//! There are none for most messages, which then are written as if this did not exist.

use crate::HeaderChanges;
use crate::headers::HeaderLine;
use crate::route::Route;

/// The changes of one message's header.
#[derive(Debug, Clone, Copy)]
pub struct HeaderEdits<'a> {
    service: &'a HeaderChanges,
    route: Option<&'a HeaderChanges>,
    /// The field in which servers report their load, which is meant for evenkeel alone.
    load: Option<&'a str>,
    /// The field in which evenkeel itself writes how much time is left.
    deadline: Option<&'a str>,
}

impl<'a> HeaderEdits<'a> {
    /// Those of a request, `None` if there are none. `service` are the changes of its service; `deadline` is the field in which evenkeel
    /// writes how much time is left.
    #[must_use]
    pub fn of_request(
        service: &'a HeaderChanges,
        route: Option<&'a Route>,
        deadline: Option<&'a str>,
    ) -> Option<Self> {
        let route = route.map(|route| &route.request_headers);
        Self::new(service, route, None, deadline)
    }

    /// Those of a response, `None` if there are none. `service` are the changes of its service; `load` is the field in which its servers
    /// report their load.
    #[must_use]
    pub fn of_response(
        service: &'a HeaderChanges,
        route: Option<&'a Route>,
        load: Option<&'a str>,
    ) -> Option<Self> {
        let route = route.map(|route| &route.response_headers);
        Self::new(service, route, load, None)
    }

    fn new(
        service: &'a HeaderChanges,
        route: Option<&'a HeaderChanges>,
        load: Option<&'a str>,
        deadline: Option<&'a str>,
    ) -> Option<Self> {
        let route = route.filter(|changes| !changes.is_empty());
        let some = route.is_some() || load.or(deadline).is_some() || !service.is_empty();
        some.then_some(Self {
            service,
            route,
            load,
            deadline,
        })
    }

    /// Whether fields of this name, in any letter case, do not pass.
    #[must_use]
    pub fn drops(&self, name: &[u8]) -> bool {
        self.service.drops(name)
            || self.route.is_some_and(|route| route.drops(name))
            || [self.load, self.deadline]
                .into_iter()
                .flatten()
                .any(|own| name.eq_ignore_ascii_case(own.as_bytes()))
    }

    /// Whether a field of this name, in any letter case, is added.
    #[must_use]
    pub fn adds(&self, name: &str) -> bool {
        self.lines()
            .any(|line| line.name.eq_ignore_ascii_case(name))
    }

    /// The fields that are added.
    pub(super) fn lines(&self) -> impl Iterator<Item = &'a HeaderLine> {
        let (route, deadline) = (self.route, self.deadline);
        let stays =
            move |line: &&HeaderLine| route.is_none_or(|route| !route.drops(line.name.as_bytes()));
        let is_free = move |line: &&HeaderLine| {
            deadline.is_none_or(|name| !line.name.eq_ignore_ascii_case(name))
        };
        let of_route = route.map_or(&[][..], HeaderChanges::lines);
        let of_service = self.service.lines().iter().filter(stays);
        of_service.chain(of_route).filter(is_free)
    }
}
