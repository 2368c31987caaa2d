//! Listeners and their routes, as typed.

use super::address::ListenAddress;
use super::choice::{ClassWord, ProtocolWord};
use super::dns::ServedName;
use super::fallback::Fallback;
use super::headers::Headers;
use super::hedge::Hedge;
use super::inject::Inject;
use super::limit::Rate;
use super::mirror::Mirror;
use super::quantity::{DurationValue, Size};
use super::route_override::{RouteOverride, RouteRetry};
use super::service::Timeout;
use super::table;
use super::value::{Integer, List, Map, NonEmptyList, OrOff, Text};
use crate::defaults;

table! {
    /// An address on which traffic is accepted.
    pub struct Listen {
        /// The IP address and port. `0.0.0.0` means all addresses of the machine.
        address: ListenAddress [required];
        /// The protocol that clients speak.
        protocol: ProtocolWord = defaults::LISTEN_PROTOCOL;
        /// The service for requests that no route matches. Without it, they are answered 404.
        service: Text;
        /// Rules that select a service; the first match wins.
        routes: List<Route>;
        /// Limits on the size and the pace of clients' requests.
        limits: Limits;
        /// For `protocol = "dns"`: the names that are served.
        names: NonEmptyList<ServedName>;
        /// For `protocol = "dns"`: UDP answers per second to clients of the same network (/24 of IPv4, /56 of IPv6).
        /// Above it, half of the queries get a truncated answer, so that the client retries over TCP, and half get
        /// none. 0 turns the limit off.
        rate: Integer<0, 1_000_000> = defaults::DNS_RATE;
    }
    later { "tls" }
}

table! {
    /// A rule that selects a service. All of its conditions must match.
    pub struct Route {
        /// The host, without port: `shop.example.com`, or `*.example.com` for all of its subdomains.
        host: Text;
        /// The path, without query: `/cart`, `/v1/*` for `/v1` and all below it, or `~REGEX`.
        path: Text;
        /// Methods, in upper case; any of them matches.
        method: NonEmptyList<Text>;
        /// Header fields: a value, `*` for any value, or `~REGEX`. All must match.
        header: Map<Text>;
        /// Query parameters, in the same way. They are compared as sent, without decoding.
        query: Map<Text>;
        /// Cookies, in the same way.
        cookie: Map<Text>;
        /// The service that takes the request. A route has one of `service`, `split` and `redirect`.
        service: Text;
        /// Services that share the requests in proportion to their numbers: `{ shop = 95, shop-canary = 5 }`.
        split: Map<Integer<0, 1_000_000>>;
        /// Redirects the client.
        redirect: Redirect;
        /// The class of these requests; overrides the service's `limit.class`.
        class: ClassWord;
        /// A rate limit for these requests, in addition to the service's `limit.rate`. Requests above it are answered
        /// 429.
        rate: Rate;
        /// The path and query that the server gets: a template with `{path}`, `{rest}` (the part matched by the `/*` of
        /// `path`), `{query}` (including the question mark) and `{host}`. `"/{rest}{query}"` removes a prefix.
        rewrite: Text;
        /// Changes of the request header sent to servers; applied after those of the service.
        request_headers: Headers;
        /// Changes of the response header sent to the client; applied after those of the service.
        response_headers: Headers;
        /// Mirroring of these requests; overrides the service's `mirror`.
        mirror: Mirror;
        /// Timeouts of each step. Keys that are left out take the service's values, here and in `retry`, `hedge`,
        /// `fallback` and `inject`; with `split`, those of the service that was selected.
        timeout: RouteOverride<Timeout>;
        /// When a failed attempt is retried. The budget is the service's.
        retry: RouteRetry;
        /// Hedging: a second attempt while the first one is late.
        hedge: OrOff<RouteOverride<Hedge>>;
        /// The response that clients get when no server answers.
        fallback: OrOff<RouteOverride<Fallback>>;
        /// Fault injection.
        inject: OrOff<RouteOverride<Inject>>;
    }
    later {}
}

table! {
    /// A redirect. The body of the request is not read: if there is one, the connection is closed.
    pub struct Redirect {
        /// The `Location`: a template with `{host}`, `{path}`, `{rest}` and `{query}`, as in `rewrite`.
        to: Text [required];
        /// 301, 302, 303, 307 or 308.
        status: Integer<301, 308> = defaults::REDIRECT_STATUS;
    }
    later {}
}

table! {
    /// Limits on the size and the pace of clients' requests.
    pub struct Limits {
        /// The maximum size of a request head.
        head_bytes: Size<1_024, 1_048_576> = defaults::HEAD_BYTES;
        /// The maximum number of header fields of a request.
        headers: Integer<1, 1_000> = defaults::HEADERS;
        /// The timeout from the first byte of a request head to its last.
        head_time: DurationValue = defaults::HEAD_TIME;
        /// The idle timeout of a kept-alive connection.
        idle_time: DurationValue = defaults::IDLE_TIME;
        /// The maximum number of concurrent connections, over all workers. All listeners together are limited to half
        /// of the process's file descriptors.
        connections: Integer<1, 1_000_000> = defaults::CONNECTIONS;
    }
    later {}
}
