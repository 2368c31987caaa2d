//! What clients send: requests, right ones and wrong ones.

use evenkeel_core::Random;
use evenkeel_http1::Method;

use crate::bytes::{REQUEST, chunked, content, length, one_in, pick, token};
use crate::world::World;

/// What is to be expected of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is a whole request.
    Answered,
    /// Its head is one, its body is not: it may be answered, and nothing after it.
    BadBody,
    /// It is no request: it is refused, and nothing after it is answered.
    Refused,
    /// A part of it is missing.
    Cut,
}

/// A request or what stands in its place.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) id: u32,
    pub(crate) method: Method,
    pub(crate) bytes: Vec<u8>,
    pub(crate) fate: Fate,
    /// The client has said that it sends nothing more.
    pub(crate) is_last: bool,
    /// Where the client may wait for the server to ask for the body.
    pub(crate) waits_at: Option<usize>,
}

impl Message {
    /// Draws one; servers may see it if it can be a request.
    pub(crate) fn draw(random: &mut Random, world: &World, id: u32) -> Self {
        let mut draft = Draft {
            head: String::new(),
            message: Self {
                id,
                method: Method::Get,
                bytes: Vec::new(),
                fate: Fate::Answered,
                is_last: false,
                waits_at: None,
            },
            random,
            world,
        };
        match draft.pick(100) {
            0..30 => draft.without_body(Method::Get, "GET", "HTTP/1.1", ""),
            30..37 => draft.without_body(Method::Head, "HEAD", "HTTP/1.1", ""),
            37..56 => draft.with_length("POST"),
            56..68 => draft.with_length("PUT"),
            68..83 => draft.with_chunks("POST"),
            83..85 => draft.without_body(Method::Get, "GET", "HTTP/1.0", ""),
            85..88 => {
                draft.without_body(Method::Get, "GET", "HTTP/1.0", "Connection: keep-alive\r\n");
            }
            88..91 => draft.without_body(Method::Get, "GET", "HTTP/1.1", "Connection: close\r\n"),
            91..95 => draft.refused(),
            95..97 => draft.bad_body(),
            _ => draft.cut(),
        }
        let message = draft.message;
        if message.fate != Fate::Refused {
            let may_repeat = message.method != Method::Post;
            let mut sendable = world.sendable.lock().expect("no panic");
            sendable.insert(id, may_repeat);
        }
        message
    }
}

struct Draft<'a> {
    random: &'a mut Random,
    world: &'a World,
    head: String,
    message: Message,
}

impl Draft<'_> {
    fn pick(&mut self, bound: usize) -> usize {
        pick(self.random, bound)
    }

    /// The head but its last line.
    fn begin(&mut self, method: &str, version: &str) {
        let (id, path) = (self.message.id, self.world.path(self.message.id));
        let absolute = if one_in(self.random, 10) {
            "http://test"
        } else {
            ""
        };
        let empty_line = if one_in(self.random, 15) { "\r\n" } else { "" };
        let token = token(REQUEST, id);
        self.head = format!(
            "{empty_line}{method} {absolute}{path} {version}\r\nHost: test\r\nX-Id: {token}\r\n"
        );
    }

    fn end_head(&mut self, lines: &str) {
        let head = format!("{}{lines}\r\n", self.head);
        self.message.bytes.extend_from_slice(head.as_bytes());
    }

    fn without_body(&mut self, method: Method, word: &str, version: &str, lines: &str) {
        self.message.method = method;
        self.begin(word, version);
        self.end_head(lines);
        self.message.is_last =
            lines.contains("close") || (version == "HTTP/1.0" && lines.is_empty());
    }

    fn with_body(&mut self, word: &str) -> Vec<u8> {
        self.message.method = match word {
            "PUT" => Method::Put,
            _ => Method::Post,
        };
        let length = length(self.random);
        self.begin(word, "HTTP/1.1");
        self.head.push_str(&format!("X-Len: {length}\r\n"));
        content(REQUEST, self.message.id, length)
    }

    /// Whether the body is announced.
    fn expect(&mut self) {
        if one_in(self.random, 6) {
            self.end_head("Expect: 100-continue\r\n");
            self.message.waits_at = Some(self.message.bytes.len());
        } else {
            self.end_head("");
        }
    }

    fn with_length(&mut self, word: &str) {
        let content = self.with_body(word);
        self.head
            .push_str(&format!("Content-Length: {}\r\n", content.len()));
        self.expect();
        self.message.bytes.extend_from_slice(&content);
    }

    fn with_chunks(&mut self, word: &str) {
        let content = self.with_body(word);
        self.head.push_str("Transfer-Encoding: chunked\r\n");
        self.expect();
        let own = (REQUEST, self.message.id);
        let chunks = chunked(self.random, own, &content, false);
        self.message.bytes.extend_from_slice(&chunks);
    }

    fn refused(&mut self) {
        let path = self.world.path(self.message.id);
        let first = format!("POST {path} HTTP/1.1\r\n");
        let wrong = [
            "THIS IS NOT A REQUEST\r\n\r\n".to_owned(),
            format!("GET {path} HTTP/1.1\r\n\r\n"),
            format!("GET {path} HTTP/1.1\nHost: test\n\n"),
            format!("GET {path} HTTP/1.1\r\nHost: test\r\nX: a\r\n folded\r\n\r\n"),
            format!(
                "{first}Host: test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            format!("{first}Host: test\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
            format!("{first}Host: test\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
            format!("{first}Host: test\r\nX: {}\r\n\r\n", "x".repeat(40_000)),
            "\0\0\0\0\r\n\r\n".to_owned(),
        ];
        let wrong = &wrong[self.pick(9)];
        self.message.bytes.extend_from_slice(wrong.as_bytes());
        self.message.fate = Fate::Refused;
    }

    /// Chunks that end in what a careless reader takes for a request.
    fn bad_body(&mut self) {
        let content = self.with_body("POST");
        self.head.push_str("Transfer-Encoding: chunked\r\n");
        self.end_head("");
        let own = (REQUEST, self.message.id);
        let mut chunks = chunked(self.random, own, &content, false);
        chunks.truncate(
            chunks
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(0, |at| at - 1),
        );
        let hidden = self.world.path(u32::MAX);
        let hidden = format!("\nGET {hidden} HTTP/1.1\r\nHost: test\r\n\r\n");
        self.message.bytes.extend_from_slice(&chunks);
        self.message.bytes.extend_from_slice(hidden.as_bytes());
        self.message.fate = Fate::BadBody;
    }

    fn cut(&mut self) {
        match self.pick(3) {
            0 => self.with_length("PUT"),
            1 => self.with_chunks("POST"),
            _ => self.without_body(Method::Get, "GET", "HTTP/1.1", ""),
        }
        let length = self.message.bytes.len();
        // At least a byte of a request, and without its end.
        let cut = 3 + self.pick(length - 3);
        self.message.bytes.truncate(cut);
        self.message.fate = Fate::Cut;
    }
}
