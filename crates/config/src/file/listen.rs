//! Listeners and their routes, as typed.

use super::address::ListenAddress;
use super::choice::{ClassWord, ProtocolWord};
use super::dns::DnsName;
use super::fallback::Fallback;
use super::headers::Headers;
use super::hedge::Hedge;
use super::inject::Inject;
use super::limit::Rate;
use super::mirror::Mirror;
use super::own::{Own, OwnRetry};
use super::quantity::{Size, Time};
use super::service::Timeout;
use super::table;
use super::value::{Filled, List, Map, OrOff, Text, Whole};
use crate::defaults;

table! {
    /// An address on which traffic is accepted.
    pub struct Listen {
        /// The IP address and port. `0.0.0.0` stands for all addresses of the machine.
        address: ListenAddress [required];
        /// The protocol that clients speak.
        protocol: ProtocolWord = defaults::LISTEN_PROTOCOL;
        /// The service that takes what no route matches. Without it, that is answered with 404.
        service: Text;
        /// Rules that pick a service; the first that matches wins.
        routes: List<Route>;
        /// Limits on what a client may send and how slowly.
        limits: Limits;
        /// For `protocol = "dns"`: the names that are answered.
        names: Filled<DnsName>;
        /// For `protocol = "dns"`: answers per second over UDP to clients of the same network (/24 of IPv4, /56 of IPv6). Of what is more, half
        /// is told to come by TCP, and half gets nothing. 0 turns it off.
        rate: Whole<0, 1_000_000> = defaults::DNS_RATE;
    }
    later { "tls" }
}

table! {
    /// A rule that picks a service. Every condition that is present must hold.
    pub struct Route {
        /// The host, without port: `shop.example.com`, or `*.example.com` for all names below it.
        host: Text;
        /// The path, without query: `/cart`, `/v1/*` for `/v1` and all below it, or `~REGEX`.
        path: Text;
        /// Methods, in capitals: one of them.
        method: Filled<Text>;
        /// Header fields: the value, `*` for present, or `~REGEX`. All must hold.
        header: Map<Text>;
        /// Parameters of the query, in the same way. They are compared as they were sent, nothing is decoded.
        query: Map<Text>;
        /// Cookies, in the same way.
        cookie: Map<Text>;
        /// The service that takes the request. A route has one of `service`, `split` and `redirect`.
        service: Text;
        /// Services that share the requests, each in proportion to its number: `{ shop = 95, shop-canary = 5 }`.
        split: Map<Whole<0, 1_000_000>>;
        /// Where the client is sent instead.
        redirect: Redirect;
        /// How much these requests matter when there is not enough for all. It goes before what the service says about that.
        class: ClassWord;
        /// How many of these requests a second may come, beside the service's `limit.rate`. What comes beyond is answered 429.
        rate: Rate;
        /// The path, and query, that the server gets: a text with `{path}`, `{rest}` (what is below the `/*` of `path`),
        /// `{query}` (with its question mark) and `{host}`. `"/{rest}{query}"` takes a prefix off.
        rewrite: Text;
        /// Changes of the request's header, as servers get it; after those of the service.
        request_headers: Headers;
        /// Changes of the response's header, as the client gets it; after those of the service.
        response_headers: Headers;
        /// Which requests are sent to another service as well; instead of what the service says about that.
        mirror: Mirror;
        /// How long each step may take. A key that is left out is as the service has it, here and in `retry`, `hedge`,
        /// `fallback` and `inject`; with `split`, as the service has it that was drawn.
        timeout: Own<Timeout>;
        /// When an attempt that ended badly is tried again. The budget is the service's.
        retry: OwnRetry;
        /// Whether a second attempt is made while the first one is late.
        hedge: OrOff<Own<Hedge>>;
        /// What clients get when no server answers.
        fallback: OrOff<Own<Fallback>>;
        /// Faults on purpose.
        inject: OrOff<Own<Inject>>;
    }
    later {}
}

table! {
    /// Where a client is sent. The body of its request is not read: a request with one closes its connection.
    pub struct Redirect {
        /// The `Location`: a text with `{host}`, `{path}`, `{rest}` and `{query}`, as in `rewrite`.
        to: Text [required];
        /// 301, 302, 303, 307 or 308.
        status: Whole<301, 308> = defaults::REDIRECT_STATUS;
    }
    later {}
}

table! {
    /// Limits on what a client may send and how slowly.
    pub struct Limits {
        /// The whole head of a request.
        head_bytes: Size<1_024, 1_048_576> = defaults::HEAD_BYTES;
        /// Header fields of a request.
        headers: Whole<1, 1_000> = defaults::HEADERS;
        /// From the first byte of a request's head to its last.
        head_time: Time = defaults::HEAD_TIME;
        /// Without a request on a kept-alive connection.
        idle_time: Time = defaults::IDLE_TIME;
        /// Connections at the same time, over all workers. Half of the process's descriptors bound those of all listeners together.
        connections: Whole<1, 1_000_000> = defaults::CONNECTIONS;
    }
    later {}
}
