//! The response cache on the request path: a stored response that is sent, a response that is stored while it is relayed, and what a
//! request invalidates.

use evenkeel_core::Instant;
use evenkeel_http1::{Body, Framing, write};
use evenkeel_request::cache::StoredValue;
use evenkeel_request::exchange::NoResponse;

use super::context::RequestContext;
use crate::cache::fill::Tee;
use crate::cache::store::{Answer, response_facts};
use crate::downstream::address::AddressText;
use crate::downstream::h1::head::{write_connection, write_stored};
use crate::downstream::local_reply::write_why;
use crate::exchange::io::ExchangeIo;
use crate::upstream::h1::UpstreamExchange;

impl RequestContext<'_> {
    /// Writes a kept answer to `out`, and its status. Without `why` it is a cache's answer (RFC 9211).
    pub(crate) fn compose_old(
        &self,
        out: &mut Vec<u8>,
        kept: &StoredValue<Answer>,
        why: Option<NoResponse>,
        (peer, keep_alive): (&AddressText, bool),
    ) -> u16 {
        let answer = &kept.value;
        out.clear();
        out.extend_from_slice(b"HTTP/1.1 ");
        write::decimal(out, u64::from(answer.status));
        out.push(b' ');
        out.extend_from_slice(write::reason(answer.status).as_bytes());
        out.extend_from_slice(b"\r\n");
        let response = self.forwarded_response(peer.as_bytes(), "");
        write_stored(out, &answer.lines, &response);
        out.extend_from_slice(b"content-length: ");
        write::decimal(out, answer.body.len() as u64);
        out.extend_from_slice(b"\r\nage: ");
        write::decimal(out, (answer.age + kept.age).as_secs());
        match why {
            None => {
                // Below nothing when it is stale (RFC 9211, section 2.4).
                out.extend_from_slice(b"\r\ncache-status: evenkeel; hit; ttl=");
                if kept.stale_for.as_secs() > 0 {
                    out.push(b'-');
                }
                write::decimal(out, kept.fresh_for.max(kept.stale_for).as_secs());
            }
            Some(why) => {
                out.extend_from_slice(b"\r\nproxy-status: evenkeel; ");
                write_why(why, out);
            }
        }
        out.extend_from_slice(b"\r\nx-request-id: ");
        self.id.write(out);
        out.extend_from_slice(b"\r\n");
        write_connection(out, self.version, keep_alive);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&answer.body);
        answer.status
    }

    /// For the answer that is to be passed on, if it may be kept and its end can be told from its being cut off. What the
    /// request has made out of date is forgotten first.
    pub(crate) fn tee(
        &self,
        io: &ExchangeIo<'_>,
        upstream: &UpstreamExchange,
        now: Instant,
    ) -> Option<Box<Tee>> {
        let (head, bytes) = (&io.work.response, upstream.head_bytes());
        self.invalidate(io, upstream, now);
        let (stale, wanted) = self.entry().stale.as_ref().zip(self.wanted.as_ref())?;
        let key = wanted.key()?;
        let lifetimes = stale.lifetimes(key, &response_facts(wanted.asked(), head, bytes))?;
        let most = stale.most();
        let may = match head.framing {
            Framing::Length(length) => length <= most as u64,
            Framing::Chunked => true,
            Framing::None | Framing::UntilClose => false,
        };
        if !may || stale.is_recent(key, now) {
            return None;
        }
        Some(Box::new(Tee {
            answer: Answer::of(head, bytes, &self.worker.date(now)),
            came: now,
            lifetimes,
            body: Body::of_response(head.framing),
            most,
        }))
    }

    /// The answer has been passed on as a whole.
    pub(crate) fn keep(&self, tee: Tee) {
        if let Some((stale, wanted)) = self.entry().stale.as_ref().zip(self.wanted.as_ref())
            && let Some(key) = wanted.key()
            && tee.body.is_done()
        {
            let times = (self.exchange.started(), tee.came);
            stale.put(key, tee.answer, times, tee.lifetimes);
        }
    }

    /// A server has answered a request that may have changed something: what is kept for its address is out of date, in every
    /// service, and for those that the answer names as well.
    fn invalidate(&self, io: &ExchangeIo<'_>, upstream: &UpstreamExchange, now: Instant) {
        let Some(request) = &self.wanted else {
            return;
        };
        let outdated = request.outdated(&io.work.response, upstream.head_bytes());
        let services = self.snapshot.shared.services();
        for stale in services.filter_map(|entry| entry.stale.as_ref()) {
            (outdated.iter()).for_each(|address| stale.invalidate(address, now));
        }
    }
}
