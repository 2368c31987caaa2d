//! Where connections are accepted: an IP address with a port, or a Unix domain socket.
//!
//! Here because every part that connects, listens, or reports an address must know both; parts that know IP addresses only,
//! such as DNS, keep `SocketAddr`.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest path of a Unix domain socket, in bytes: `sun_path` has 108, the last of which is NUL (unix(7)).
pub const SOCKET_PATH_MAX: usize = 107;

/// The prefix of a Unix domain socket's address as text.
const UNIX: &str = "unix:";

/// An address that accepts connections. Cheap to clone: a path is shared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// A Unix domain socket, by its path.
    Unix(Arc<Path>),
}

/// Why a text is not an [`Endpoint`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndpointError {
    /// Neither `IP:PORT` nor `unix:/PATH`.
    Malformed,
    /// The path of the socket does not begin with a slash, or is a directory's.
    NotAbsolute,
    /// The path of the socket has more than [`SOCKET_PATH_MAX`] bytes; so many.
    TooLong(usize),
    /// The path of the socket contains a NUL byte.
    Nul,
}

impl Endpoint {
    /// The IP address and port, unless it is a Unix domain socket.
    #[must_use]
    pub const fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// The path, if it is a Unix domain socket.
    #[must_use]
    pub fn socket(&self) -> Option<&Path> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(path) => Some(path),
        }
    }

    /// Whether only programs of this machine can connect.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    /// The socket of a text `unix:/PATH`; `None` if the text does not begin with `unix:`.
    ///
    /// # Errors
    /// What is wrong with the path.
    #[must_use]
    pub fn parse_socket(text: &str) -> Option<Result<Self, EndpointError>> {
        let path = text.strip_prefix(UNIX)?;
        // As a URL it has an empty host: `unix:///run/shop.sock`.
        let path = path.strip_prefix("//").unwrap_or(path);
        Some(if !path.starts_with('/') || path.ends_with('/') {
            Err(EndpointError::NotAbsolute)
        } else if path.len() > SOCKET_PATH_MAX {
            Err(EndpointError::TooLong(path.len()))
        } else if path.contains('\0') {
            Err(EndpointError::Nul)
        } else {
            Ok(Self::Unix(Path::new(path).into()))
        })
    }
}

/// As its text.
impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        Self::parse_socket(text).unwrap_or_else(|| {
            let address = text.parse().map_err(|_| EndpointError::Malformed)?;
            Ok(Self::Tcp(address))
        })
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl From<([u8; 4], u16)> for Endpoint {
    fn from(address: ([u8; 4], u16)) -> Self {
        Self::Tcp(address.into())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("expected IP:PORT or unix:/PATH"),
            Self::NotAbsolute => {
                f.write_str("the path of a socket begins with a slash and ends with a name")
            }
            Self::TooLong(length) => write!(
                f,
                "the path of the socket has {length} bytes; the most is {SOCKET_PATH_MAX}"
            ),
            Self::Nul => f.write_str("the path of a socket cannot contain a NUL byte"),
        }
    }
}

impl std::error::Error for EndpointError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_are_read_as_they_are_written() {
        for text in ["127.0.0.1:80", "[::1]:8080", "unix:/run/shop.sock"] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), text);
        }
        let longest = format!("unix:/{}", "x".repeat(SOCKET_PATH_MAX - 1));
        assert!(longest.parse::<Endpoint>().is_ok());
    }

    #[test]
    fn what_cannot_be_a_socket_is_refused() {
        let error = |text: &str| text.parse::<Endpoint>().unwrap_err();
        for text in ["unix:shop.sock", "unix:", "unix:/", "unix:/run/"] {
            assert_eq!(error(text), EndpointError::NotAbsolute, "{text}");
        }
        let url: Endpoint = "unix:///run/shop.sock".parse().unwrap();
        assert_eq!(url.to_string(), "unix:/run/shop.sock");
        assert_eq!(error("unix://run/shop.sock"), EndpointError::NotAbsolute);
        assert_eq!(error("/run/shop.sock"), EndpointError::Malformed);
        assert_eq!(error("unix:/a\0"), EndpointError::Nul);
        let long = format!("unix:/{}", "x".repeat(SOCKET_PATH_MAX));
        assert_eq!(error(&long), EndpointError::TooLong(108));
    }
}
