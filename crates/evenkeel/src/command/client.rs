//! Sends requests to an admin API, and explains failures to the user.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use evenkeel_connect::{
    ClientDeadlines, ClientError, ClientFailure, ClientRequest, ClientStep, send_with_method,
};
use evenkeel_core::Endpoint;
use evenkeel_runtime::{Clock, spawn};

/// Timeout for connecting, and then for sending the request.
const CONNECT: Duration = Duration::from_secs(2);
const WRITE: Duration = Duration::from_secs(4);
/// Timeout for the complete response.
const ANSWER: Duration = Duration::from_secs(15);
/// The longest response that an evenkeel sends.
const LONGEST: usize = 64 * 1024 * 1024;

/// Sends GET for `path` (including the query), and returns status and body. Blocks.
///
/// # Errors
/// Why there is no response, in words.
pub(super) fn get(
    address: &Endpoint,
    path: &str,
    token: Option<&str>,
) -> Result<(u16, String), String> {
    ask(address, ("GET", path, None), token, Duration::ZERO)
}

/// Sends a request with this method and body to `path`, and returns status and body. The response may take `wait` longer than others.
/// Blocks.
///
/// # Errors
/// Why there is no response, in words.
pub(super) fn send(
    address: &Endpoint,
    (method, path, body): (&'static str, &str, &str),
    token: Option<&str>,
    wait: Duration,
) -> Result<(u16, String), String> {
    ask(address, (method, path, Some(body.as_bytes())), token, wait)
}

fn ask(
    address: &Endpoint,
    (method, path, body): (&'static str, &str, Option<&[u8]>),
    token: Option<&str>,
    wait: Duration,
) -> Result<(u16, String), String> {
    let credentials = token.map(|token| format!("Bearer {token}"));
    let fields = credentials.as_deref().map(|text| ("Authorization", text));
    let request = ClientRequest {
        target: path,
        host: &match address {
            Endpoint::Tcp(address) => address.to_string(),
            Endpoint::Unix(_) => "localhost".to_owned(),
        },
        fields: fields.as_slice(),
        body,
    };
    let deadlines = ClientDeadlines {
        connect: CONNECT,
        write: WRITE,
        head: ANSWER + wait,
        body: ANSWER + wait,
    };
    let exchange = async {
        let endpoint = match address {
            Endpoint::Tcp(address) => reachable(*address).into(),
            Endpoint::Unix(_) => address.clone(),
        };
        let response =
            send_with_method(method, &endpoint, &request, deadlines, Clock::start()).await?;
        Ok((response.status(), response.read_body(LONGEST).await?))
    };
    let runtime = spawn::runtime().map_err(|error| error.to_string())?;
    let (status, body) = runtime
        .block_on(exchange)
        .map_err(|error| why(address, &error))?;
    let body = String::from_utf8(body).map_err(|_| no_evenkeel(address))?;
    Ok((status, body))
}

/// Why there is no response, in words that do not require knowledge of HTTP.
fn why(address: &Endpoint, error: &ClientError) -> String {
    match (&error.failure, error.step) {
        (ClientFailure::Io(refused), ClientStep::Connect)
            if refused.kind() == ErrorKind::ConnectionRefused =>
        {
            format!("nothing listens at {address}")
        }
        (ClientFailure::Io(denied), ClientStep::Connect)
            if denied.kind() == ErrorKind::PermissionDenied =>
        {
            format!("this user may not connect to {address}: see `socket` of [admin]")
        }
        (ClientFailure::TimedOut(_), ClientStep::Body) | (ClientFailure::TooLarge(_), _) => {
            format!("{address} did not finish its response")
        }
        (ClientFailure::TimedOut(_), _) => format!("{address} does not respond"),
        (ClientFailure::Closed | ClientFailure::Malformed(_), _) => no_evenkeel(address),
        (ClientFailure::Io(error), _) => format!("{address}: {error}"),
        (ClientFailure::InvalidRequest, _) => format!("{address}: {error}"),
    }
}

fn no_evenkeel(address: &Endpoint) -> String {
    format!("{address} does not respond like an evenkeel")
}

/// The address at which an unspecified address (`0.0.0.0`, `[::]`) is reached.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address {
        SocketAddr::V4(_) if address.ip().is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) if address.ip().is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        SocketAddr::V4(_) | SocketAddr::V6(_) => return address,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// The error message for a peer that answers with these bytes.
    fn said_of(answer: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
            stream.write_all(answer).unwrap();
        });
        let why = get(&address.into(), "/api/services", None).unwrap_err();
        thread.join().unwrap();
        why.replace(&address.to_string(), "HERE")
    }

    #[test]
    fn a_response_that_is_not_evenkeels_is_reported() {
        for answer in [
            &b"SSH-2.0-OpenSSH\r\n"[..],
            b"",
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\xff",
        ] {
            assert_eq!(said_of(answer), "HERE does not respond like an evenkeel");
        }
    }

    #[test]
    fn a_closed_admin_port_is_reported() {
        let address = evenkeel_lab::ports::refusing().unwrap();
        assert_eq!(
            get(&address.into(), "/health/live", None).unwrap_err(),
            format!("nothing listens at {address}")
        );
        let folder = tempfile::tempdir().unwrap();
        let socket = Endpoint::Unix(folder.path().join("admin.sock").into());
        assert_eq!(
            get(&socket, "/health/live", None).unwrap_err(),
            format!("nothing listens at {socket}")
        );
    }

    #[test]
    fn what_means_all_addresses_is_reached_at_this_machine() {
        let reached = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(reached("0.0.0.0:7070"), "127.0.0.1:7070");
        assert_eq!(reached("[::]:7070"), "[::1]:7070");
        assert_eq!(reached("10.0.0.1:7070"), "10.0.0.1:7070");
    }
}
