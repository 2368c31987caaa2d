//! Addresses as typed: `IP:PORT`, `NAME:PORT`, both with `http://` before them, and `unix:/PATH`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use evenkeel_core::Endpoint;
use evenkeel_core::endpoint::EndpointError;

use super::shape::ValueShape;
use super::{FileLiteral, FileValue, Value, not_yet, want_text};
use crate::diagnostic::{Code, Diagnostic, Diagnostics, TextRange};
use crate::nearest::nearest;

/// An address that may have to be resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// An IP address and a port, or a Unix domain socket.
    At(Endpoint),
    /// A host name and a port.
    Name(String, u16),
}

impl Address {
    /// The server's default name: host and port, or the name of the socket's file without `.sock`, with dashes in place of other
    /// characters.
    #[must_use]
    pub fn server_name(&self) -> String {
        let (host, port) = match self {
            Self::At(Endpoint::Tcp(address)) => (address.ip().to_string(), address.port()),
            Self::At(Endpoint::Unix(path)) => return socket_name(path),
            Self::Name(host, port) => (host.clone(), *port),
        };
        let kept = dashed(&host, 57);
        format!("{kept}-{port}").trim_matches('-').to_owned()
    }
}

fn dashed(text: &str, longest: usize) -> String {
    let text = text
        .to_lowercase()
        .replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    text.trim_matches('-').chars().take(longest).collect()
}

fn socket_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = dashed(name.strip_suffix(".sock").unwrap_or(&name), 63);
    match name.trim_matches('-') {
        "" => "socket".to_owned(),
        name => name.to_owned(),
    }
}

/// The address of a server.
#[derive(Debug, Clone, Copy)]
pub struct ServerAddress;

/// An address that evenkeel listens on: an IP address, where port 0 selects a free port, or a Unix domain socket.
#[derive(Debug, Clone, Copy)]
pub struct ListenAddress;

impl FileValue for ServerAddress {
    type Out = Address;

    fn shape() -> ValueShape {
        ValueShape::Text {
            what: "address",
            pattern: None,
        }
    }

    fn read(value: &Value<'_>, out: &mut Diagnostics) -> Option<Address> {
        let text = want_text(value, "an address such as \"127.0.0.1:9001\"", out)?;
        match parse_server(text, value.span()) {
            Ok(address) => Some(address),
            Err(diagnostic) => {
                out.push(diagnostic);
                None
            }
        }
    }
}

impl FileValue for ListenAddress {
    type Out = Endpoint;

    fn shape() -> ValueShape {
        ValueShape::Text {
            what: "address",
            pattern: None,
        }
    }

    fn read(value: &Value<'_>, out: &mut Diagnostics) -> Option<Endpoint> {
        let text = want_text(value, "an address such as \"0.0.0.0:8080\"", out)?;
        if let Some(parsed) = parse_socket(text, value.span()) {
            return parsed.map_err(|diagnostic| out.push(diagnostic)).ok();
        }
        match parse_host_port(text) {
            Some(Address::At(address)) => Some(address),
            Some(Address::Name(name, port)) => {
                let message =
                    format!("expected an IP address to listen on, found the name `{name}`");
                let help = format!(
                    "\"0.0.0.0:{port}\" for all addresses of this machine, \"127.0.0.1:{port}\" for itself only"
                );
                out.push(
                    Diagnostic::new(Code::BadAddress, value.span(), message, "not an IP address")
                        .help(help),
                );
                None
            }
            None => {
                out.push(bad_address(text, value.span(), "0.0.0.0"));
                None
            }
        }
    }
}

/// A Unix domain socket that a process of evenkeel's own listens on.
#[derive(Debug, Clone, Copy)]
pub struct SocketAddress;

impl FileValue for SocketAddress {
    type Out = Endpoint;

    fn shape() -> ValueShape {
        ValueShape::Text {
            what: "address",
            pattern: Some("^unix:/"),
        }
    }

    fn read(value: &Value<'_>, out: &mut Diagnostics) -> Option<Endpoint> {
        let text = want_text(value, "a socket such as \"unix:/run/shop-1.sock\"", out)?;
        let parsed = parse_socket(text, value.span()).unwrap_or_else(|| {
            let message = format!("`{}` is not a Unix domain socket", text.escape_debug());
            let diagnostic = Diagnostic::new(
                Code::BadAddress,
                value.span(),
                message,
                "expected unix:/PATH",
            );
            let path = if text.starts_with('/') {
                text
            } else {
                "/run/shop-1.sock"
            };
            Err(diagnostic.help(format!("\"unix:{path}\"; ports of 127.0.0.1 are `ports`")))
        });
        parsed.map_err(|diagnostic| out.push(diagnostic)).ok()
    }
}

/// The Unix domain socket that `text` names, if it names one.
fn parse_socket(text: &str, span: TextRange) -> Option<Result<Endpoint, Diagnostic>> {
    let wrong = |error: EndpointError| {
        let diagnostic = Diagnostic::new(
            Code::BadAddress,
            span,
            error.to_string(),
            "not a Unix domain socket",
        );
        let help = match error {
            EndpointError::TooLong(_) => {
                "the operating system takes no longer one: choose a shorter folder, such as /run"
            }
            EndpointError::Malformed | EndpointError::NotAbsolute | EndpointError::Nul => {
                "for example \"unix:/run/shop.sock\""
            }
        };
        diagnostic.help(help)
    };
    Endpoint::parse_socket(text).map(|parsed| parsed.map_err(wrong))
}

impl FileLiteral for Endpoint {
    fn typed(&self) -> serde_json::Value {
        self.to_string().into()
    }
}

fn parse_server(text: &str, span: TextRange) -> Result<Address, Diagnostic> {
    if let Some(parsed) = parse_socket(text, span.clone()) {
        return parsed.map(Address::At);
    }
    let plain = match text.split_once("://") {
        None => text,
        Some(("http", rest)) => rest.strip_suffix('/').unwrap_or(rest),
        Some((scheme @ ("https" | "h2c"), _)) => {
            return Err(not_yet(
                &format!("`{scheme}://`"),
                span,
                "servers are reached over plain HTTP/1.1 for now: HOST:PORT",
            ));
        }
        Some((scheme, _)) => {
            let message = format!(
                "`{}://` is not supported for servers",
                scheme.escape_debug()
            );
            let near = nearest(scheme, ["http", "https", "h2c"]).unwrap_or("http");
            return Err(
                Diagnostic::new(Code::BadAddress, span, message, "unknown scheme")
                    .help(format!("{near}://HOST:PORT")),
            );
        }
    };
    let address =
        parse_host_port(plain).ok_or_else(|| bad_address(plain, span.clone(), "127.0.0.1"))?;
    let port = match &address {
        Address::At(endpoint) => endpoint.tcp().map(|address| address.port()),
        Address::Name(_, port) => Some(*port),
    };
    if port == Some(0) {
        return Err(
            Diagnostic::new(Code::BadAddress, span, "a server has no port 0", "port 0")
                .help("a port is 1 to 65535"),
        );
    }
    Ok(address)
}

/// An address without a scheme, or nothing. `localhost` is 127.0.0.1.
fn parse_host_port(text: &str) -> Option<Address> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(Address::At(address.into()));
    }
    let (host, port) = text.rsplit_once(':')?;
    let port = port
        .parse()
        .ok()
        .filter(|_| port.bytes().all(|byte| byte.is_ascii_digit()))?;
    if host.eq_ignore_ascii_case("localhost") {
        return Some(Address::At(
            SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into(),
        ));
    }
    is_host(host).then(|| Address::Name(host.to_lowercase(), port))
}

/// Whether it can be a host name: labels of letters, digits, `-` and `_`, and not all digits and dots, which would be a
/// wrong IP address.
#[must_use]
pub fn is_host(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    host.len() <= 253
        && host.split('.').all(label)
        && !host
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
}

fn bad_address(text: &str, span: TextRange, example: &str) -> Diagnostic {
    let shown = text.escape_debug();
    let diagnostic = Diagnostic::new(
        Code::BadAddress,
        span,
        format!("`{shown}` is not an address"),
        "expected HOST:PORT",
    );
    let port_only = text
        .strip_prefix(':')
        .or_else(|| text.strip_prefix("*:"))
        .unwrap_or(text);
    if port_only.parse::<u16>().is_ok() {
        return diagnostic.help(format!("\"{example}:{port_only}\""));
    }
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return diagnostic.help(format!(
            "an IPv6 address stands in brackets: \"[{text}]:8080\""
        ));
    }
    if text.starts_with('/') {
        return diagnostic.help(format!("a Unix domain socket is written \"unix:{text}\""));
    }
    if text.contains('/') {
        return diagnostic.help("an address has no path");
    }
    if text.parse::<IpAddr>().is_ok() || is_host(text) {
        return diagnostic.help(format!("the port is missing: \"{text}:8080\""));
    }
    diagnostic.help(format!("for example \"{example}:8080\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address, Diagnostic> {
        parse_server(text, 0..text.len())
    }

    #[test]
    fn addresses_and_their_names() {
        let cases = [
            ("127.0.0.1:9001", "127-0-0-1-9001"),
            ("http://127.0.0.1:9001", "127-0-0-1-9001"),
            ("http://127.0.0.1:9001/", "127-0-0-1-9001"),
            ("[::1]:80", "1-80"),
            ("localhost:80", "127-0-0-1-80"),
            ("Shop.internal:80", "shop-internal-80"),
            ("unix:/run/shop/App_1.sock", "app-1"),
            ("unix:/run/.sock", "socket"),
            ("unix:///run/shop", "shop"),
        ];
        for (text, name) in cases {
            assert_eq!(parse(text).unwrap().server_name(), name, "{text}");
        }
    }

    #[test]
    fn an_invalid_address_is_reported_with_the_valid_form() {
        let help = |text: &str| parse(text).unwrap_err().help.unwrap_or_default();
        assert_eq!(help("9001"), "\"127.0.0.1:9001\"");
        assert_eq!(help("127.0.0.1"), "the port is missing: \"127.0.0.1:8080\"");
        assert_eq!(help("shop"), "the port is missing: \"shop:8080\"");
        assert_eq!(
            help("::1"),
            "an IPv6 address stands in brackets: \"[::1]:8080\""
        );
        assert_eq!(help("127.0.0.1:80/x"), "an address has no path");
        let written = "a Unix domain socket is written \"unix:/run/shop.sock\"";
        assert_eq!(help("/run/shop.sock"), written);
        assert_eq!(
            help("unix:shop.sock"),
            "for example \"unix:/run/shop.sock\""
        );
        assert!(help(&format!("unix:/{}", "x".repeat(107))).contains("shorter"));
        assert_eq!(parse("https://a:1").unwrap_err().code, Code::NotYet);
        assert_eq!(parse("h2c://a:1").unwrap_err().code, Code::NotYet);
        for bad in [
            "htp://a:1",
            "127.0.0.1:0",
            "a:70000",
            "1.2.3.400:80",
            "a b:80",
            ":80",
            "",
            "a:+80",
        ] {
            assert_eq!(parse(bad).unwrap_err().code, Code::BadAddress, "{bad}");
        }
    }
}
