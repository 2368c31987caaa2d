//! The laboratory's own small HTTP/1.1: enough to serve and to send requests, over one tokio stream.
//!
//! Lenient where a test may want to inspect the input, strict about framing and sizes. It deliberately shares no code
//! with the proxy's codec.

use std::io::{self, ErrorKind};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HEAD_LIMIT: usize = 64 * 1024;
const LINE_LIMIT: usize = 8 * 1024;
const READ_SIZE: usize = 64 * 1024;

/// A message's header fields, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(String, String)>);

/// The head of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireRequest {
    /// The method as sent.
    pub method: String,
    /// The request target as sent.
    pub target: String,
    /// Whether the version is older than 1.1.
    pub old: bool,
    /// The header fields.
    pub fields: Fields,
}

/// The head of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireResponse {
    /// The status code.
    pub status: u16,
    /// Whether the version is older than 1.1.
    pub old: bool,
    /// The header fields.
    pub fields: Fields,
}

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireFraming {
    /// There is none.
    Empty,
    /// So many bytes.
    Length(u64),
    /// Chunked transfer coding.
    Chunked,
    /// The end of the connection.
    UntilClose,
}

/// One connection with what was read from it and not yet used.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Fields {
    /// The first value of the field `name`, in any case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Whether the comma-separated field `name` holds `token`, in any case.
    #[must_use]
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        let mut values = self.0.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        values.any(|(_, value)| {
            value
                .split(',')
                .any(|part| part.trim().eq_ignore_ascii_case(token))
        })
    }

    fn declared(&self) -> io::Result<Option<WireFraming>> {
        if self.has_token("transfer-encoding", "chunked") {
            return Ok(Some(WireFraming::Chunked));
        }
        match self.get("content-length") {
            None => Ok(None),
            Some(text) => text
                .parse()
                .map(|n| Some(WireFraming::Length(n)))
                .map_err(|_| bad("Content-Length")),
        }
    }
}

impl WireRequest {
    /// How the body's end is found.
    ///
    /// # Errors
    /// If Content-Length is not a number.
    pub fn framing(&self) -> io::Result<WireFraming> {
        Ok(self.fields.declared()?.unwrap_or(WireFraming::Empty))
    }

    /// Whether the client wants to send another request afterwards.
    #[must_use]
    pub fn keeps_alive(&self) -> bool {
        keeps_alive(self.old, &self.fields)
    }
}

impl WireResponse {
    /// How the body's end is found in the answer to a request with `method`.
    ///
    /// # Errors
    /// If Content-Length is not a number.
    pub fn framing(&self, method: &str) -> io::Result<WireFraming> {
        if method == "HEAD" || self.status < 200 || matches!(self.status, 204 | 304) {
            return Ok(WireFraming::Empty);
        }
        Ok(self.fields.declared()?.unwrap_or(WireFraming::UntilClose))
    }

    /// Whether the connection can carry another request afterwards.
    #[must_use]
    pub fn keeps_alive(&self) -> bool {
        keeps_alive(self.old, &self.fields)
    }
}

fn keeps_alive(old: bool, fields: &Fields) -> bool {
    !fields.has_token("connection", "close")
        && (!old || fields.has_token("connection", "keep-alive"))
}

impl Wire {
    /// Speaks over `stream`.
    #[must_use]
    pub const fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// The stream below.
    #[must_use]
    pub const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether the peer has closed the idle connection or sent unsolicited bytes.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        let mut byte = [0];
        !self.buffer.is_empty()
            || !matches!(self.stream.try_read(&mut byte), Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    /// The next request's head; `None` if the peer closed between requests. Can be cancelled without loss.
    ///
    /// # Errors
    /// If the connection breaks, or what comes is not a request.
    pub async fn read_request(&mut self) -> io::Result<Option<WireRequest>> {
        let Some((line, fields)) = self.read_head().await? else {
            return Ok(None);
        };
        let mut parts = line.split(' ');
        let (Some(method), Some(target), Some(version)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(bad("request line"));
        };
        let old = is_old(version)?;
        Ok(Some(WireRequest {
            method: method.to_owned(),
            target: target.to_owned(),
            old,
            fields,
        }))
    }

    /// The next response's head that is not 1xx (but 101 is given).
    ///
    /// # Errors
    /// If the connection breaks or closes, or what comes is not a response.
    pub async fn read_response(&mut self) -> io::Result<WireResponse> {
        loop {
            let Some((line, fields)) = self.read_head().await? else {
                return Err(ErrorKind::UnexpectedEof.into());
            };
            let mut parts = line.split(' ');
            let old = is_old(parts.next().unwrap_or(""))?;
            let status = parts
                .next()
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| bad("status line"))?;
            if status == 101 || status >= 200 {
                return Ok(WireResponse {
                    status,
                    old,
                    fields,
                });
            }
        }
    }

    /// Reads a whole body, hands its parts to `each`, and gives its length.
    ///
    /// # Errors
    /// If the connection breaks or closes early, or the chunks are malformed.
    pub async fn read_body(
        &mut self,
        framing: WireFraming,
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<u64> {
        match framing {
            WireFraming::Empty => Ok(0),
            WireFraming::Length(length) => self.read_exactly(length, &mut each).await,
            WireFraming::Chunked => {
                let mut total = 0;
                loop {
                    let line = self.read_line().await?;
                    let size = line.split(';').next().unwrap_or("").trim();
                    let size = u64::from_str_radix(size, 16).map_err(|_| bad("chunk size"))?;
                    if size == 0 {
                        while !self.read_line().await?.is_empty() {}
                        return Ok(total);
                    }
                    total += self.read_exactly(size, &mut each).await?;
                    if !self.read_line().await?.is_empty() {
                        return Err(bad("end of chunk"));
                    }
                }
            }
            WireFraming::UntilClose => {
                let mut total = 0;
                loop {
                    total += self.buffer.len() as u64;
                    each(&self.buffer);
                    self.buffer.clear();
                    if self.fill().await? == 0 {
                        return Ok(total);
                    }
                }
            }
        }
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// If the connection breaks.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Reads whatever comes next into `bytes`; 0 at the end.
    ///
    /// # Errors
    /// If the connection breaks.
    pub async fn read_some(&mut self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        if self.buffer.is_empty() && self.fill().await? == 0 {
            return Ok(0);
        }
        bytes.append(&mut self.buffer);
        Ok(bytes.len())
    }

    /// Ends the connection with a reset instead of a proper close.
    pub fn reset(self) {
        reset(&self.stream);
    }

    async fn read_head(&mut self) -> io::Result<Option<(String, Fields)>> {
        let mut searched = 0;
        loop {
            if let Some(at) = find(self.buffer.get(searched..).unwrap_or(&[]), b"\r\n\r\n") {
                let end = searched + at;
                let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.drain(..end + 4);
                return parse_head(&head).map(Some);
            }
            if self.buffer.len() > HEAD_LIMIT {
                return Err(bad("size of the head"));
            }
            searched = self.buffer.len().saturating_sub(3);
            if self.fill().await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    async fn read_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.drain(..end + 2);
                return Ok(line);
            }
            if self.buffer.len() > LINE_LIMIT {
                return Err(bad("length of a line"));
            }
            self.fill_or_fail().await?;
        }
    }

    async fn read_exactly(&mut self, length: u64, each: &mut impl FnMut(&[u8])) -> io::Result<u64> {
        let mut left = length;
        while left > 0 {
            if self.buffer.is_empty() {
                self.fill_or_fail().await?;
            }
            let n = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(self.buffer.len());
            each(&self.buffer[..n]);
            self.buffer.drain(..n);
            left -= n as u64;
        }
        Ok(length)
    }

    async fn fill_or_fail(&mut self) -> io::Result<()> {
        if self.fill().await? == 0 {
            Err(ErrorKind::UnexpectedEof.into())
        } else {
            Ok(())
        }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.buffer
            .reserve(READ_SIZE.saturating_sub(self.buffer.len()).max(4096));
        self.stream.read_buf(&mut self.buffer).await
    }
}

/// Makes the coming close of `stream` a reset, and stops both directions.
pub fn reset(stream: &TcpStream) {
    // A peer that is gone already needs no reset.
    socket2::SockRef::from(stream)
        .set_linger(Some(std::time::Duration::ZERO))
        .ok();
}

/// The FNV-1a checksum of a body, fed in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checksum(pub u64);

impl Default for Checksum {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Checksum {
    /// Takes in the next part.
    pub fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// The checksum of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut sum = Self::default();
        sum.add(bytes);
        sum
    }
}

/// The position of `needle` in `bytes`.
#[must_use]
pub fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
}

fn parse_head(head: &str) -> io::Result<(String, Fields)> {
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or("").to_owned();
    let mut fields = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(|| bad("header field"))?;
        fields.push((name.to_owned(), value.trim().to_owned()));
    }
    Ok((first, Fields(fields)))
}

fn is_old(version: &str) -> io::Result<bool> {
    match version {
        "HTTP/1.1" => Ok(false),
        "HTTP/1.0" => Ok(true),
        _ => Err(bad("version")),
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("not HTTP: bad {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn wire_with(bytes: &'static [u8]) -> Wire {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut peer = TcpStream::connect(address).await.unwrap();
            peer.write_all(bytes).await.unwrap();
        });
        Wire::new(listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn pipelined_requests_with_bodies_are_told_apart() {
        let mut wire = wire_with(
            b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcPOST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
              2\r\nxy\r\n1;e=1\r\nz\r\n0\r\nT: 1\r\n\r\nGET /c HTTP/1.0\r\n\r\n",
        )
        .await;
        let mut bodies = Vec::new();
        for _ in 0..3 {
            let head = wire.read_request().await.unwrap().unwrap();
            let mut body = Vec::new();
            wire.read_body(head.framing().unwrap(), |part| body.extend_from_slice(part))
                .await
                .unwrap();
            bodies.push((head.target, body, head.old));
        }
        let expected = [
            ("/a", b"abc".to_vec(), false),
            ("/b", b"xyz".to_vec(), false),
            ("/c", Vec::new(), true),
        ];
        assert_eq!(
            bodies,
            expected.map(|(target, body, old)| (target.to_owned(), body, old))
        );
        assert_eq!(wire.read_request().await.unwrap(), None);
    }

    #[tokio::test]
    async fn an_early_end_is_an_error() {
        let mut wire = wire_with(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc").await;
        let head = wire.read_response().await.unwrap();
        let error = wire
            .read_body(head.framing("GET").unwrap(), |_| ())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn the_checksum_is_fnv() {
        assert_eq!(Checksum::of(b"a").0, 0xaf63_dc4c_8601_ec8c);
    }
}
