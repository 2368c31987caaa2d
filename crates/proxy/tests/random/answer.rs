//! What a server says to a request.

use std::time::Duration;

use evenkeel_core::Random;
use evenkeel_http1::Method;

use crate::bytes::{ANSWER, chunked, content, length, one_in, pick, token};
use crate::server::{HANG, Request};

/// How the connection continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Keep,
    Close,
    Reset,
}

/// What is said, and how.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) bytes: Vec<u8>,
    /// Before the request's body is read.
    pub(crate) early: bool,
    pub(crate) pause: Duration,
    pub(crate) end: End,
    /// Sent at once: what is not asked for must have come when the answer has, or nobody could tell it from the next answer.
    pub(crate) one_piece: bool,
    /// Something follows that is no answer.
    pub(crate) garbage_later: bool,
}

impl Answer {
    pub(crate) fn draw(random: &mut Random, request: Request) -> Self {
        let mut draft = Draft::new(random, request);
        match draft.pick(100) {
            0..30 => draft.length(200),
            30..45 => draft.chunked(),
            45..50 => draft.until_close(),
            50..58 => draft.early(),
            58..63 => draft.untidy(),
            63..66 => draft.garbage(),
            66..69 => draft.contradiction(),
            69..75 => draft.broken_length(),
            75..78 => draft.broken_chunks(),
            78..81 => draft.and_unasked(),
            81..83 => {
                draft.length(200);
                draft.answer.garbage_later = true;
            }
            83..90 => draft.nothing(),
            90..93 => {
                draft.length(200);
                draft.answer.pause = draft.random.duration_up_to(Duration::from_millis(20));
            }
            93..95 => {
                draft.interim();
                draft.length(201);
            }
            95..97 => draft.bodiless(),
            97..99 => draft.length(503),
            _ if draft.one_in(3) => {
                draft.answer.pause = HANG;
                draft.answer.end = End::Close;
            }
            _ => draft.chunked(),
        }
        draft.answer
    }
}

struct Draft<'a> {
    random: &'a mut Random,
    request: Request,
    content: Vec<u8>,
    answer: Answer,
}

impl<'a> Draft<'a> {
    fn new(random: &'a mut Random, request: Request) -> Self {
        let length = length(random);
        Self {
            random,
            request,
            content: content(ANSWER, request.id, length),
            answer: Answer {
                bytes: Vec::new(),
                early: false,
                pause: Duration::ZERO,
                end: End::Keep,
                one_piece: false,
                garbage_later: false,
            },
        }
    }

    fn pick(&mut self, bound: usize) -> usize {
        pick(self.random, bound)
    }

    fn one_in(&mut self, n: usize) -> bool {
        one_in(self.random, n)
    }

    /// A head with these lines beside its own.
    fn head(&mut self, status: u16, lines: &str) {
        let (token, length) = (token(ANSWER, self.request.id), self.content.len());
        let head = format!(
            "HTTP/1.1 {status} Said\r\nX-Answer-To: {token}\r\nX-Len: {length}\r\n{lines}\r\n"
        );
        self.answer.bytes.extend_from_slice(head.as_bytes());
    }

    fn has_body(&self) -> bool {
        self.request.method != Method::Head
    }

    fn add_content(&mut self, most: usize) {
        if self.has_body() {
            let most = most.min(self.content.len());
            self.answer.bytes.extend_from_slice(&self.content[..most]);
        }
    }

    fn length(&mut self, status: u16) {
        let close = self.one_in(8);
        let length = self.content.len();
        let mut lines = format!("Content-Length: {length}\r\n");
        if close {
            lines.push_str("Connection: close\r\n");
            self.answer.end = End::Close;
        }
        self.head(status, &lines);
        self.add_content(length);
    }

    fn add_chunks(&mut self) -> usize {
        let from = self.answer.bytes.len();
        if self.has_body() {
            let untidy = self.one_in(3);
            let own = (ANSWER, self.request.id);
            let chunks = chunked(self.random, own, &self.content, untidy);
            self.answer.bytes.extend_from_slice(&chunks);
        }
        from
    }

    fn chunked(&mut self) {
        self.head(200, "Transfer-Encoding: chunked\r\n");
        self.add_chunks();
    }

    fn until_close(&mut self) {
        self.head(200, "");
        let whole = self.content.len();
        if self.one_in(3) {
            self.answer.end = End::Reset;
            let most = self.pick(whole + 1);
            self.add_content(most);
        } else {
            self.answer.end = End::Close;
            self.add_content(whole);
        }
    }

    fn early(&mut self) {
        self.answer.early = true;
        match self.pick(3) {
            0 => self.chunked(),
            1 => self.length(200),
            _ => {
                self.length(413);
                self.answer.end = End::Close;
            }
        }
    }

    fn untidy(&mut self) {
        let length = self.content.len();
        let lines = [
            format!("Content-Length : {length}\r\n"),
            format!("X-Fold: a\r\n b\r\nContent-Length: {length}\r\n"),
            format!("Content-Length: {length}\r\nX: y\r\ncontent-length: {length}\r\n"),
            format!("Content-Length: {length}, {length}\r\n"),
        ];
        let lines = &lines[self.pick(4)];
        self.head(200, lines);
        self.add_content(length);
    }

    fn garbage(&mut self) {
        let garbage: [&[u8]; 4] = [
            b"\0\0\0\0\0\0\0\0\r\n\r\n",
            b"<html>no head</html>\r\n\r\n",
            b"HTTP/1.1 2000 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\nX: y\n\n",
        ];
        self.answer.bytes = garbage[self.pick(4)].to_vec();
        self.answer.end = End::Close;
    }

    fn contradiction(&mut self) {
        let lines = [
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 5\r\nX: a\x01b\r\n",
            "Content-Length\r\n : 5\r\n",
        ];
        let lines = lines[self.pick(4)];
        self.head(200, lines);
        self.answer.bytes.extend_from_slice(b"hello");
        self.answer.end = End::Close;
    }

    fn broken_length(&mut self) {
        let missing = 1 + self.pick(3_000);
        let length = self.content.len() + missing;
        self.head(200, &format!("Content-Length: {length}\r\n"));
        self.add_content(usize::MAX);
        self.answer.end = if self.one_in(2) {
            End::Close
        } else {
            End::Reset
        };
    }

    fn broken_chunks(&mut self) {
        self.head(200, "Transfer-Encoding: chunked\r\n");
        self.answer.end = End::Close;
        if self.has_body() && !self.content.is_empty() && self.one_in(2) {
            let size = format!("{:x}\r\n", self.content.len());
            self.answer.bytes.extend_from_slice(size.as_bytes());
            self.add_content(usize::MAX);
            self.answer.bytes.extend_from_slice(b"\r\nzz\r\n");
            return;
        }
        let from = self.add_chunks();
        let length = self.answer.bytes.len() - from;
        // At least its last line end is missing.
        let cut = from + self.pick(length.max(2) - 1);
        self.answer.bytes.truncate(cut);
    }

    /// A whole answer behind the answer, in the same piece.
    fn and_unasked(&mut self) {
        self.answer.one_piece = true;
        self.content.truncate(10_000);
        if self.one_in(2) {
            self.length(200);
        } else {
            self.chunked();
        }
        let unasked = b"HTTP/1.1 200 OK\r\nX-Answer-To: affffffff;\r\nX-Len: 5\r\nContent-Length: 5\r\n\r\naffff";
        self.answer.bytes.extend_from_slice(unasked);
    }

    fn nothing(&mut self) {
        if self.one_in(3) {
            self.head(200, "Content-Length: 5\r\n");
            let length = self.answer.bytes.len();
            let cut = self.pick(length);
            self.answer.bytes.truncate(cut);
        }
        self.answer.early = self.one_in(3);
        self.answer.end = if self.one_in(2) {
            End::Close
        } else {
            End::Reset
        };
    }

    fn interim(&mut self) {
        let token = token(ANSWER, self.request.id);
        for _ in 0..=self.pick(3) {
            let hints = format!("HTTP/1.1 103 Early Hints\r\nX-Hint: {token}\r\n\r\n");
            self.answer.bytes.extend_from_slice(hints.as_bytes());
        }
    }

    fn bodiless(&mut self) {
        self.content.clear();
        let status = if self.one_in(2) { 204 } else { 304 };
        self.head(status, "");
    }
}
