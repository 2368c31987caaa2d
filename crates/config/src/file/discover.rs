//! Discovery, as typed: the name to query, the name servers, the refresh interval, and the number of slots.

use std::net::{IpAddr, SocketAddr};

use super::address::is_host;
use super::choice::FamilyWord;
use super::quantity::DurationValue;
use super::shape::ValueShape;
use super::value::{Integer, NonEmptyList};
use super::{FileValue, Value, table, want_text};
use crate::defaults;
use crate::diagnostic::{Code, Diagnostic, Diagnostics};

table! {
    /// Servers from DNS. They are named `dns-1`, `dns-2`, … and are added and removed as the answers change.
    pub struct DiscoverConfig {
        /// `HOST:PORT`: all addresses of the host (A and AAAA), each with this port. Or `_NAME._tcp.HOST`, without a
        /// port: the SRV records, with their ports, weights and priorities. Names are queried as written, without
        /// search domains.
        dns: LookupName [required];
        /// The maximum number of servers. Further servers of the answer get no traffic, which is reported.
        slots: Integer<1, 1_024> = defaults::DISCOVER_SLOTS;
        /// The name servers to query, one after another: `IP` or `IP:PORT`. Default: those of `/etc/resolv.conf`.
        resolver: NonEmptyList<ResolverAddress>;
        /// Which address records are queried.
        family: FamilyWord = defaults::DISCOVER_FAMILY;
        /// The refresh interval: the TTL of the answer, within these bounds.
        every: TtlBoundsConfig;
        /// How long an answer that removes more than half of the working servers must persist before they are removed.
        hold: DurationValue<0> = defaults::DISCOVER_HOLD;
    }
    later { "consul", "kubernetes" }
}

table! {
    /// Bounds on the TTL of an answer.
    pub struct TtlBoundsConfig {
        /// The shortest interval.
        least: DurationValue<100> = defaults::DISCOVER_LEAST;
        /// The longest interval.
        most: DurationValue<100> = defaults::DISCOVER_MOST;
    }
    later {}
}

/// A name to query, with a port unless it is a service name.
#[derive(Debug, Clone, Copy)]
pub struct LookupName;

/// The address of a name server; port 53 if none is given.
#[derive(Debug, Clone, Copy)]
pub struct ResolverAddress;

impl FileValue for LookupName {
    type Out = (String, Option<u16>);

    fn shape() -> ValueShape {
        ValueShape::Text {
            what: "name in DNS",
            pattern: None,
        }
    }

    fn read(value: &Value<'_>, out: &mut Diagnostics) -> Option<Self::Out> {
        let text = want_text(value, "a name like \"shop.internal:8080\"", out)?;
        let parsed = parse_name(text);
        if parsed.is_none() {
            let shown = text.escape_debug();
            let message = format!("`{shown}` cannot be queried");
            let help = if text.starts_with('_') {
                "SRV records have ports of their own: \"_http._tcp.shop.internal\"".to_owned()
            } else if text.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok() {
                format!("an address needs no DNS: servers = [\"{shown}\"]")
            } else if is_host(text) {
                format!("the port is missing: \"{text}:8080\"")
            } else {
                "for example \"shop.internal:8080\", or \"_http._tcp.shop.internal\"".to_owned()
            };
            let label = "expected HOST:PORT or _NAME._tcp.HOST";
            out.push(Diagnostic::new(Code::BadAddress, value.span(), message, label).help(help));
        }
        parsed
    }
}

impl FileValue for ResolverAddress {
    type Out = SocketAddr;

    fn shape() -> ValueShape {
        ValueShape::Text {
            what: "address",
            pattern: None,
        }
    }

    fn read(value: &Value<'_>, out: &mut Diagnostics) -> Option<SocketAddr> {
        let text = want_text(value, "an address such as \"127.0.0.1:53\"", out)?;
        let plain = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
        let parsed = plain.or_else(|_| text.parse::<SocketAddr>()).ok();
        let parsed = parsed.filter(|address| address.port() != 0);
        if parsed.is_none() {
            let message = format!(
                "`{}` is not the address of a name server",
                text.escape_debug()
            );
            let label = "expected IP or IP:PORT";
            out.push(
                Diagnostic::new(Code::BadAddress, value.span(), message, label)
                    .help("for example \"127.0.0.1\" or \"127.0.0.1:5353\""),
            );
        }
        parsed
    }
}

fn parse_name(text: &str) -> Option<(String, Option<u16>)> {
    if text.starts_with('_') {
        return is_host(text).then(|| (text.to_lowercase(), None));
    }
    let (host, port) = text.rsplit_once(':')?;
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let port: u16 = port.parse().ok().filter(|port| digits && *port != 0)?;
    is_host(host).then(|| (host.to_lowercase(), Some(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_can_be_asked_for() {
        let host = |name: &str, port| Some((name.to_owned(), port));
        assert_eq!(
            parse_name("Shop.internal:80"),
            host("shop.internal", Some(80))
        );
        assert_eq!(
            parse_name("_http._tcp.shop."),
            host("_http._tcp.shop.", None)
        );
        for bad in [
            "",
            "shop",
            "shop:0",
            "shop:x",
            "shop:+1",
            "_http._tcp.shop:80",
            "127.0.0.1:80",
            "a b:1",
            ":1",
            "[::1]:80",
        ] {
            assert_eq!(parse_name(bad), None, "{bad}");
        }
    }
}
