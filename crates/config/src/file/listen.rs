//! Listeners and their routes, as typed.

use super::address::ListenAddress;
use super::choice::{ClassWord, ProtocolWord};
use super::dns::ServedNameConfig;
use super::fallback::FallbackConfig;
use super::headers::HeadersConfig;
use super::hedge::HedgeConfig;
use super::inject::InjectConfig;
use super::limit::RateConfig;
use super::mirror::MirrorConfig;
use super::quantity::{DurationValue, FileModeText, Size};
use super::route_override::{RouteOverride, RouteRetry};
use super::service::TimeoutConfig;
use super::table;
use super::value::{Integer, List, Map, NonEmptyList, NonEmptyText, OrOff};
use crate::defaults;

table! {
    /// An address on which traffic is accepted.
    pub struct ListenConfig {
        /// The IP address and port, or a Unix domain socket as `unix:/PATH`. `0.0.0.0` means all addresses of the
        /// machine.
        address: ListenAddress [required];
        /// For a Unix domain socket: who may connect to it.
        socket: SocketConfig [off];
        /// The protocol that clients speak.
        protocol: ProtocolWord = defaults::LISTEN_PROTOCOL;
        /// The service for requests that no route matches. Without it, they are answered 404.
        service: NonEmptyText;
        /// Rules that select a service; the first match wins.
        routes: List<RouteConfig>;
        /// Limits on the size and the pace of clients' requests.
        limits: LimitsConfig;
        /// For `protocol = "dns"`: the names that are served.
        names: NonEmptyList<ServedNameConfig>;
        /// For `protocol = "dns"`: UDP answers per second to clients of the same network (/24 of IPv4, /56 of IPv6).
        /// Above it, half of the queries get a truncated answer, so that the client retries over TCP, and half get
        /// none. 0 turns the limit off.
        rate: Integer<0, 1_000_000> = defaults::DNS_RATE;
    }
    later { "tls" }
}

table! {
    /// The file of a Unix domain socket that evenkeel listens on. Connecting requires permission to write to it.
    pub struct SocketConfig {
        /// The permissions, as four octal digits.
        mode: FileModeText = defaults::SOCKET_MODE;
        /// The group, by its name in `/etc/group` or its number. Default: that of evenkeel's process.
        group: NonEmptyText;
    }
    later {}
}

table! {
    /// A rule that selects a service. All of its conditions must match.
    pub struct RouteConfig {
        /// The host, without port: `shop.example.com`, or `*.example.com` for all of its subdomains.
        host: NonEmptyText;
        /// The path, without query: `/cart`, `/v1/*` for `/v1` and all below it, or `~REGEX`.
        path: NonEmptyText;
        /// Methods, in upper case; any of them matches.
        method: NonEmptyList<NonEmptyText>;
        /// Header fields: a value, `*` for any value, or `~REGEX`. All must match.
        header: Map<NonEmptyText>;
        /// Query parameters, in the same way. They are compared as sent, without decoding.
        query: Map<NonEmptyText>;
        /// Cookies, in the same way.
        cookie: Map<NonEmptyText>;
        /// The service that takes the request. A route has one of `service`, `split` and `redirect`.
        service: NonEmptyText;
        /// Services that share the requests in proportion to their numbers: `{ shop = 95, shop-canary = 5 }`.
        split: Map<Integer<0, 1_000_000>>;
        /// Redirects the client.
        redirect: RedirectConfig;
        /// The class of these requests; overrides the service's `limit.class`.
        class: ClassWord;
        /// A rate limit for these requests, in addition to the service's `limit.rate`. Requests above it are answered
        /// 429.
        rate: RateConfig;
        /// The path and query that the server gets: a template with `{path}`, `{rest}` (the part matched by the `/*` of
        /// `path`), `{query}` (including the question mark) and `{host}`. `"/{rest}{query}"` removes a prefix.
        rewrite: NonEmptyText;
        /// Changes of the request header sent to servers; applied after those of the service.
        request_headers: HeadersConfig;
        /// Changes of the response header sent to the client; applied after those of the service.
        response_headers: HeadersConfig;
        /// Mirroring of these requests; overrides the service's `mirror`.
        mirror: MirrorConfig;
        /// Timeouts of each step. Keys that are left out take the service's values, here and in `retry`, `hedge`,
        /// `fallback` and `inject`; with `split`, those of the service that was selected.
        timeout: RouteOverride<TimeoutConfig>;
        /// When a failed attempt is retried. The budget is the service's.
        retry: RouteRetry;
        /// Hedging: a second attempt while the first one is late.
        hedge: OrOff<RouteOverride<HedgeConfig>>;
        /// The response that clients get when no server answers.
        fallback: OrOff<RouteOverride<FallbackConfig>>;
        /// Fault injection.
        inject: OrOff<RouteOverride<InjectConfig>>;
    }
    later {}
}

table! {
    /// A redirect. The body of the request is not read: if there is one, the connection is closed.
    pub struct RedirectConfig {
        /// The `Location`: a template with `{host}`, `{path}`, `{rest}` and `{query}`, as in `rewrite`.
        to: NonEmptyText [required];
        /// 301, 302, 303, 307 or 308.
        status: Integer<301, 308> = defaults::REDIRECT_STATUS;
    }
    later {}
}

table! {
    /// Limits on the size and the pace of clients' requests.
    pub struct LimitsConfig {
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
