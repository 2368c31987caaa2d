//! A request's head as its server gets it.

use std::io::Write as _;
use std::net::SocketAddr;

use evenkeel_core::Endpoint;

use super::edits::HeaderEdits;
use super::writer::{RequestWriter, text, via};
use crate::RequestId;
use crate::head::{Authority, FieldClass, HeaderField as _, HttpVersion, RequestView};
use crate::headers::Fact;
use crate::route::Route;

/// What is known of a request beside its head, and what is to be changed in it.
#[derive(Debug, Clone, Copy)]
pub struct ForwardedRequest<'a> {
    /// The client's address, without port; `None` if it came over a Unix domain socket.
    pub client_address: Option<&'a [u8]>,
    /// The scheme of the client's connection; what the client itself says of it does not count.
    pub scheme: &'a str,
    /// The request's id, for a request that brings none.
    pub id: RequestId,
    /// The service's first server: stands in for a host that an HTTP/1.0 client left out.
    pub server: Option<&'a Endpoint>,
    /// The service's name.
    pub service: &'a str,
    /// The route that it came by, if one matched.
    pub route: Option<&'a Route>,
    /// What is changed in its header.
    pub edits: Option<HeaderEdits<'a>>,
    /// The field in which the server is told how much time is left.
    pub deadline: Option<&'a str>,
}

/// What was found among the fields of a request.
#[derive(Debug, Default)]
struct PassedFields {
    /// One of those that pass is the request's id.
    has_id: bool,
    /// The client accepts trailer fields.
    accepts_trailers: bool,
}

impl ForwardedRequest<'_> {
    /// Writes the head.
    pub fn write<'r, R: RequestView>(
        &self,
        request: &'r R,
        writer: &mut impl RequestWriter<R::Field<'r>>,
    ) {
        let authority = request.authority();
        writer.request_line(request.method(), |out| self.write_target(request, out));
        match authority {
            Authority::HostField(_) => {}
            Authority::Target(_) | Authority::Missing if self.adds("host") => {}
            Authority::Target(host) => writer.authority("host", text(host)),
            Authority::Missing => writer.authority("host", |out| write_address(self.server, out)),
        }
        let passed = self.pass(request, authority, writer);
        self.write_edits(request, writer);
        // A client without an address is left out rather than invented: applications read what stands here as an IP address.
        if let Some(address) = self.client_address {
            writer.add("x-forwarded-for", text(address));
        }
        writer.add("x-forwarded-proto", text(self.scheme.as_bytes()));
        if let Some(host) = authority.value() {
            writer.add("x-forwarded-host", text(host));
        }
        if !passed.has_id && !self.adds("x-request-id") {
            writer.add("x-request-id", |out| self.id.write(out));
        }
        writer.add("via", text(via(request.version())));
        writer.end(passed.accepts_trailers, self.deadline);
    }

    /// Writes the fields that pass.
    fn pass<'r, R: RequestView>(
        &self,
        request: &'r R,
        authority: Authority<'_>,
        writer: &mut impl RequestWriter<R::Field<'r>>,
    ) -> PassedFields {
        let mut found = PassedFields::default();
        // A chunked body is passed on to a client of HTTP/1.0 without its trailers.
        let takes_trailers = request.version() != HttpVersion::Http10;
        let passes = |class| match class {
            FieldClass::HopByHop | FieldClass::Forwarding | FieldClass::MirrorMark => false,
            FieldClass::Host => matches!(authority, Authority::HostField(_)),
            FieldClass::TransferEncoding
            | FieldClass::RequestId
            | FieldClass::Date
            | FieldClass::Other => true,
        };
        let passed = request.fields().filter(|field| {
            let class = field.class();
            let passes =
                passes(class) && !self.edits.is_some_and(|edits| edits.drops(field.name()));
            found.has_id |= passes && class == FieldClass::RequestId;
            if takes_trailers && class == FieldClass::HopByHop {
                found.accepts_trailers |= is_te_trailers(field.name(), field.value());
            }
            passes
        });
        writer.fields(passed);
        found
    }

    fn write_edits<'r, R: RequestView>(
        &self,
        request: &'r R,
        writer: &mut impl RequestWriter<R::Field<'r>>,
    ) {
        let Some(edits) = self.edits else {
            return;
        };
        for line in edits.lines() {
            let value = |out: &mut Vec<u8>| {
                line.value
                    .write(out, |fact, out| self.write_fact(fact, request, out));
            };
            if line.name.eq_ignore_ascii_case("host") {
                writer.authority(&line.name, value);
            } else {
                writer.add(&line.name, value);
            }
        }
    }

    fn write_fact(&self, fact: Fact, request: &impl RequestView, out: &mut Vec<u8>) {
        match fact {
            Fact::Host => out.extend_from_slice(request.host().unwrap_or_default()),
            Fact::Path => out.extend_from_slice(request.path()),
            Fact::Rest => {
                let path = request.path();
                let rest = match self.route {
                    Some(route) => route.rest(path),
                    None => path.strip_prefix(b"/").unwrap_or(path),
                };
                out.extend_from_slice(rest);
            }
            Fact::Query => {
                if let Some(query) = request.query() {
                    out.push(b'?');
                    out.extend_from_slice(query);
                }
            }
            Fact::ClientAddress => write_client(self.client_address, out),
            Fact::RequestId => self.id.write(out),
            Fact::Service => out.extend_from_slice(self.service.as_bytes()),
            Fact::Server => {}
        }
    }

    /// Whether edits add a field of this name.
    fn adds(&self, name: &str) -> bool {
        self.edits.is_some_and(|edits| edits.adds(name))
    }

    /// Appends the path and query that the server gets: rewritten by the route, or as they came.
    fn write_target(&self, request: &impl RequestView, out: &mut Vec<u8>) {
        let target = request.path_and_query();
        if let Some(route) = self.route
            && target != b"*"
            && let Some(template) = &route.rewrite
        {
            let start = out.len();
            template.write(out, request, route.rest(request.path()));
            if out.get(start) != Some(&b'/') {
                out.insert(start, b'/');
            }
            return;
        }
        match target.first() {
            // RFC 9112 section 3.2.4: an absolute URI without path and query stands for the whole server.
            None if request.method() == b"OPTIONS" => out.push(b'*'),
            None | Some(b'?') => out.push(b'/'),
            Some(_) => {}
        }
        out.extend_from_slice(target);
    }
}

/// Appends the client's address, or what stands for one that came over a Unix domain socket.
pub(super) fn write_client(address: Option<&[u8]>, out: &mut Vec<u8>) {
    out.extend_from_slice(address.unwrap_or(b"unix"));
}

/// Whether it is the field `TE` with the word `trailers`: its sender accepts trailer fields. That goes on to the server, since trailers are
/// passed on (RFC 9110 section 6.5.1), and gRPC needs it; transfer codings that `TE` names are for the client's connection only.
fn is_te_trailers(name: &[u8], value: &[u8]) -> bool {
    let mut words = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    name.eq_ignore_ascii_case(b"te") && words.any(|word| word.eq_ignore_ascii_case(b"trailers"))
}

/// Appends a server's address as a host with its port; nothing without one. A Unix domain socket has no host: it is this machine.
fn write_address(server: Option<&Endpoint>, out: &mut Vec<u8>) {
    match server {
        Some(Endpoint::Tcp(server)) => {
            // Without the zone that an IPv6 address may have: it means something on this machine only.
            let address = SocketAddr::new(server.ip(), server.port());
            write!(out, "{address}").expect("a list of bytes takes everything");
        }
        Some(Endpoint::Unix(_)) => out.extend_from_slice(b"localhost"),
        None => {}
    }
}
