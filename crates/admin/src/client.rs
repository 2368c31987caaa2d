//! A tiny blocking client of the admin API, for the command line.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use evenkeel_http1::{Framing, Limits, Method, Parsed, ResponseHead, write};
use evenkeel_runtime::Clock;

/// For connecting, and for the whole answer.
const TIME: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(15));
/// An answer longer than this is none of ours.
const LONGEST: usize = 64 * 1024 * 1024;

/// Gets `path` (with its query): status and body.
///
/// # Errors
/// Why there is no answer, in words.
pub fn get(address: SocketAddr, path: &str, token: Option<&str>) -> Result<(u16, String), String> {
    exchange(address, "GET", path, token, Duration::ZERO)
}

/// Posts to `path`: status and body. The answer may take `wait` longer than others.
///
/// # Errors
/// Why there is no answer, in words.
pub fn post(
    address: SocketAddr,
    path: &str,
    token: Option<&str>,
    wait: Duration,
) -> Result<(u16, String), String> {
    exchange(address, "POST", path, token, wait)
}

/// What an answer that is no success says: the `error` of its body, or its status.
#[must_use]
pub fn error_of(status: u16, body: &str) -> String {
    let value: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let error = value
        .as_ref()
        .and_then(|value| value.get("error")?.as_str());
    error.map_or_else(
        || format!("answered {status} {}", write::reason(status)),
        str::to_owned,
    )
}

/// `text` as one segment of a path or one value of a query.
#[must_use]
pub fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let escape = |byte: u8| {
        if plain(byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(escape).collect()
}

fn exchange(
    address: SocketAddr,
    method: &str,
    path: &str,
    token: Option<&str>,
    wait: Duration,
) -> Result<(u16, String), String> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::ConnectionRefused => format!("nothing listens at {address}"),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => format!("{address} does not answer"),
        _ => format!("{address}: {error}"),
    };
    let clock = Clock::start();
    let deadline = clock.now() + TIME.1 + wait;
    let mut stream = TcpStream::connect_timeout(&reachable(address), TIME.0).map_err(failed)?;
    stream.set_write_timeout(Some(TIME.0)).map_err(failed)?;
    stream
        .write_all(&request(address, method, path, token)?)
        .map_err(failed)?;
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let left = deadline - clock.now();
        if left == Duration::ZERO || bytes.len() > LONGEST {
            return Err(format!("{address} does not come to an end with its answer"));
        }
        stream.set_read_timeout(Some(left)).map_err(failed)?;
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => bytes.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    understood(&bytes).ok_or_else(|| format!("{address} does not speak as an evenkeel does"))
}

fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    token: Option<&str>,
) -> Result<Vec<u8>, String> {
    let visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if !path.starts_with('/') || !visible(path) || !token.is_none_or(visible) {
        return Err(
            "neither the path nor the token may have spaces or control characters".to_owned(),
        );
    }
    let mut out = format!("{method} {path} HTTP/1.1\r\n").into_bytes();
    write::header_line(&mut out, "Host", address.to_string().as_bytes());
    if let Some(token) = token {
        write::header_line(
            &mut out,
            "Authorization",
            format!("Bearer {token}").as_bytes(),
        );
    }
    if method == "POST" {
        write::number_line(&mut out, "Content-Length", 0);
    }
    write::header_line(&mut out, "Connection", b"close");
    write::end_line(&mut out);
    Ok(out)
}

/// Where an address that means "all of this machine's" is reached.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address {
        SocketAddr::V4(_) if address.ip().is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) if address.ip().is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        _ => return address,
    };
    SocketAddr::new(ip, address.port())
}

fn understood(bytes: &[u8]) -> Option<(u16, String)> {
    let mut head = ResponseHead::default();
    let parsed = head.parse(bytes, Method::Get, &Limits::default()).ok()?;
    let body = bytes.get(head.length..)?;
    let whole = match head.framing {
        Framing::Length(length) => body.len() as u64 == length,
        Framing::None | Framing::UntilClose => true,
        Framing::Chunked => false,
    };
    let is_answer = parsed == Parsed::Complete && whole;
    is_answer
        .then(|| Some((head.status, String::from_utf8(body.to_vec()).ok()?)))
        .flatten()
}
