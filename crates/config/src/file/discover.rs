//! Discovery, as typed: which name is asked for, where, how often, and into how many slots the answer goes.

use std::net::{IpAddr, SocketAddr};

use super::address::is_host;
use super::choice::FamilyWord;
use super::quantity::Time;
use super::shape::Shape;
use super::value::{Filled, Whole};
use super::{Kind, Value, table, want_text};
use crate::defaults;
use crate::mistake::{Code, Mistake, Mistakes};

table! {
    /// Servers from DNS. They are named `dns-1`, `dns-2`, … and come and go with the answers.
    pub struct Discover {
        /// `HOST:PORT`: all addresses of the host (A and AAAA), each with this port. Or `_NAME._tcp.HOST`, without a port:
        /// the SRV records, with their ports, weights and priorities. Names are asked for as they stand, without search domains.
        dns: DnsName [required];
        /// So many servers at most. Others that the answer has take no traffic, which is reported.
        slots: Whole<1, 1_024> = defaults::DISCOVER_SLOTS;
        /// The name servers to ask, one after the other: `IP` or `IP:PORT`. Default: those of `/etc/resolv.conf`.
        resolver: Filled<ResolverAddress>;
        /// Which addresses are asked for.
        family: FamilyWord = defaults::DISCOVER_FAMILY;
        /// How often it is asked again: when the answer's time to live is over, within these bounds.
        every: Every;
        /// So long must an answer without more than half of the working servers hold until they are removed.
        hold: Time<0> = defaults::DISCOVER_HOLD;
    }
    later { "consul", "kubernetes" }
}

table! {
    /// The bounds within which an answer's time to live is believed.
    pub struct Every {
        /// Not more often than this.
        least: Time<100> = defaults::DISCOVER_LEAST;
        /// Not less often than this.
        most: Time<100> = defaults::DISCOVER_MOST;
    }
    later {}
}

/// A name that is asked for, and the port if it is not a name of a service.
#[derive(Debug, Clone, Copy)]
pub struct DnsName;

/// Where a name server listens; port 53 if none is given.
#[derive(Debug, Clone, Copy)]
pub struct ResolverAddress;

impl Kind for DnsName {
    type Out = (String, Option<u16>);

    fn shape() -> Shape {
        Shape::Text {
            what: "name in DNS",
            pattern: None,
        }
    }

    fn read(value: &Value<'_>, out: &mut Mistakes) -> Option<Self::Out> {
        let text = want_text(value, "a name like \"shop.internal:8080\"", out)?;
        let parsed = parse_name(text);
        if parsed.is_none() {
            let shown = text.escape_debug();
            let message = format!("`{shown}` cannot be asked for");
            let help = if text.starts_with('_') {
                "SRV records have their own ports: \"_http._tcp.shop.internal\"".to_owned()
            } else if text.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok() {
                format!("an address needs no DNS: servers = [\"{shown}\"]")
            } else if is_host(text) {
                format!("the port is missing: \"{text}:8080\"")
            } else {
                "for example \"shop.internal:8080\", or \"_http._tcp.shop.internal\"".to_owned()
            };
            let label = "expected HOST:PORT or _NAME._tcp.HOST";
            out.push(Mistake::new(Code::BadAddress, value.span(), message, label).help(help));
        }
        parsed
    }
}

impl Kind for ResolverAddress {
    type Out = SocketAddr;

    fn shape() -> Shape {
        Shape::Text {
            what: "address",
            pattern: None,
        }
    }

    fn read(value: &Value<'_>, out: &mut Mistakes) -> Option<SocketAddr> {
        let text = want_text(value, "an address like \"127.0.0.1:53\"", out)?;
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
                Mistake::new(Code::BadAddress, value.span(), message, label)
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
