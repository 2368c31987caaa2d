//! Clients: some requests on a connection, cut anywhere, and what comes back.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use evenkeel_core::Random;
use evenkeel_http1::{Body, Framing, Limits, Parsed, ResponseHead};

use crate::bytes::{ANSWER, ids, is_content, one_in, pick};
use crate::common::read_some;
use crate::message::{Fate, Message};
use crate::world::{Seen, World, pause, pieces, reset_on_drop};

/// Nothing takes as long as this but a hang.
pub(crate) const HANG_GUARD: Duration = Duration::from_secs(30);

/// How a client ends its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaves {
    /// When it has all answers.
    Answered,
    /// It says that nothing more comes, and reads on.
    HalfClosed,
    /// It closes when it has sent a part of what it had to say.
    Early { reset: bool },
}

/// A connection from its beginning to its end. `first`: the number of its first request.
pub(crate) fn connection(world: &World, random: &mut Random, address: SocketAddr, first: u32) {
    let count = 1 + pick(random, 5) as u32;
    let mut messages: Vec<_> = (first..first + count)
        .map(|id| Message::draw(random, world, id))
        .collect();
    // What is behind a cut would be its rest.
    let is_last = |message: &Message| message.is_last || message.fate == Fate::Cut;
    if let Some(last) = messages.iter().position(is_last) {
        messages.truncate(last + 1);
    }
    let is_cut = messages.last().is_some_and(|last| last.fate == Fate::Cut);
    let leaves = match pick(random, 10) {
        0 => Leaves::Early { reset: true },
        1 => Leaves::Early { reset: false },
        2 | 3 => Leaves::HalfClosed,
        _ if is_cut => Leaves::HalfClosed,
        _ => Leaves::Answered,
    };
    let stream = TcpStream::connect(address).expect("the proxy listens");
    stream
        .set_read_timeout(Some(HANG_GUARD))
        .expect("a timeout");
    stream
        .set_write_timeout(Some(HANG_GUARD))
        .expect("a timeout");
    let mut writing = world.random(u64::from(first) << 8 | 0x80);
    let pipelined = one_in(random, 2);
    if let Leaves::Early { reset } = leaves {
        leave_early(world, &mut writing, stream, &messages, reset);
        return;
    }
    let mut reader = Reader::new(world, &messages, leaves);
    let mut sent_all = true;
    if pipelined {
        std::thread::scope(|scope| {
            let other = stream.try_clone().expect("a descriptor");
            let messages = &messages;
            let writer = scope.spawn(move || {
                let sent = messages.iter().all(|m| send(&mut writing, &other, m));
                if sent && leaves == Leaves::HalfClosed {
                    other.shutdown(Shutdown::Write).ok();
                }
                sent
            });
            reader.read(random, &stream, messages.len());
            sent_all = writer.join().expect("no panic");
        });
    } else {
        for (at, message) in messages.iter().enumerate() {
            // An answer may come before the request is out: it is read later.
            let sent = send(&mut writing, &stream, message);
            if at + 1 == messages.len() && leaves == Leaves::HalfClosed {
                stream.shutdown(Shutdown::Write).ok();
            }
            sent_all &= sent;
            if !sent || !reader.read(random, &stream, at + 1) {
                break;
            }
        }
    }
    reader.read(random, &stream, messages.len());
    if !sent_all && reader.ended == Some(Ended::Closed) && reader.current.is_some() {
        // A reset is told once: to whoever writes or reads first.
        reader.ended = Some(Ended::Reset);
    }
    reader.conclude();
}

/// Sends a message in random pieces; `false` if the proxy takes no more.
fn send(random: &mut Random, mut stream: &TcpStream, message: &Message) -> bool {
    let waits_at = message.waits_at.unwrap_or(0).min(message.bytes.len());
    let (first, second) = message.bytes.split_at(waits_at);
    for part in [first, second] {
        for piece in pieces(random, part) {
            pause(random, 2);
            if stream.write_all(piece).is_err() {
                return false;
            }
        }
    }
    true
}

/// Sends a part of it all, reads perhaps a little, and is gone.
fn leave_early(
    world: &World,
    random: &mut Random,
    mut stream: TcpStream,
    messages: &[Message],
    reset: bool,
) {
    let bytes: Vec<u8> = messages
        .iter()
        .flat_map(|m| m.bytes.iter().copied())
        .collect();
    let cut = pick(random, bytes.len() + 1);
    stream
        .set_write_timeout(Some(Duration::from_millis(300)))
        .expect("a timeout");
    for piece in pieces(random, &bytes[..cut]) {
        pause(random, 2);
        if stream.write_all(piece).is_err() {
            break;
        }
    }
    pause(random, 5);
    stream
        .set_read_timeout(Some(Duration::from_millis(1)))
        .expect("a timeout");
    if one_in(random, 2) {
        let mut piece = [0; 3_000];
        let n = stream.read(&mut piece).unwrap_or(0);
        let own = |id| messages.iter().any(|message| message.id == id);
        if !ids(ANSWER, &piece[..n]).all(own) {
            world.fault(format!("client: of another: {:?}", &piece[..n]));
        }
    }
    if reset {
        reset_on_drop(&stream);
    }
}

/// How the proxy's side ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Closed,
    Reset,
}

struct Reader<'a> {
    world: &'a World,
    waiting: VecDeque<&'a Message>,
    leaves: Leaves,
    buffer: Vec<u8>,
    current: Option<Current<'a>>,
    answered: usize,
    ended: Option<Ended>,
    /// The proxy has said that this was the last answer.
    last: bool,
}

/// An answer whose body is under way.
struct Current<'a> {
    message: &'a Message,
    head: ResponseHead,
    body: Body,
    content: Vec<u8>,
    raw: Vec<u8>,
    /// A server's, of this length.
    length: Option<usize>,
}

impl<'a> Reader<'a> {
    fn new(world: &'a World, messages: &'a [Message], leaves: Leaves) -> Self {
        Self {
            world,
            waiting: messages.iter().collect(),
            leaves,
            buffer: Vec::new(),
            current: None,
            answered: 0,
            ended: None,
            last: false,
        }
    }

    /// Reads until so many answers are there; `false` if there will not be more.
    fn read(&mut self, random: &mut Random, stream: &TcpStream, count: usize) -> bool {
        let mut piece = vec![0; 64 * 1024];
        // Whoever will send nothing more, or is told so, sees the end.
        let all = count == self.answered + self.waiting.len() + usize::from(self.current.is_some());
        while self.ended.is_none()
            && (self.answered < count || self.last || (all && self.leaves == Leaves::HalfClosed))
        {
            pause(random, 1);
            let most = [100, 5_000, piece.len()][pick(random, 3)];
            match read_some(stream, &mut piece[..most]) {
                Ok(0) => self.ended = Some(Ended::Closed),
                Ok(n) => {
                    self.buffer.extend_from_slice(&piece[..n]);
                    self.take_in();
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock) => {
                    let waits_for = self.waiting.front().map(|message| message.id);
                    let (answered, last) = (self.answered, self.last);
                    self.fault(&format!("hangs: {waits_for:x?} after {answered} {last}"));
                    self.ended = Some(Ended::Reset);
                }
                Err(_) => self.ended = Some(Ended::Reset),
            }
        }
        self.ended.is_none() && !self.last
    }

    fn fault(&self, what: &str) {
        self.world.fault(format!("client: {what}"));
    }

    fn take_in(&mut self) {
        while !self.buffer.is_empty() {
            if self.current.is_none() && !self.head() {
                return;
            }
            let Some(mut current) = self.current.take() else {
                continue;
            };
            let Ok(progress) = current
                .body
                .advance_decoded(&self.buffer, &mut current.content)
            else {
                self.fault(&format!("{:x}: its body is none", current.message.id));
                self.buffer.clear();
                return;
            };
            current.raw.extend(self.buffer.drain(..progress.taken));
            if progress.done {
                self.answer(current, true);
            } else {
                self.current = Some(current);
            }
        }
    }

    /// Takes the next head, if it is there.
    fn head(&mut self) -> bool {
        let Some(message) = self.waiting.front().copied() else {
            let text = String::from_utf8_lossy(&self.buffer).into_owned();
            self.fault(&format!("more than was asked for: {text:?}"));
            self.buffer.clear();
            return false;
        };
        let mut head = ResponseHead::default();
        match head.parse(&self.buffer, message.method, &Limits::default()) {
            Ok(Parsed::Complete) => {}
            Ok(Parsed::Partial) => return false,
            Err(error) => {
                let text = String::from_utf8_lossy(&self.buffer).into_owned();
                let text: String = text.chars().take(300).collect();
                self.fault(&format!("{:x}: no answer ({error}): {text:?}", message.id));
                self.buffer.clear();
                return false;
            }
        }
        if self.last {
            self.fault(&format!("{:x}: answered after the last", message.id));
        }
        let bytes: Vec<u8> = self.buffer.drain(..head.length).collect();
        if !ids(ANSWER, &bytes).all(|id| id == message.id) {
            let text = String::from_utf8_lossy(&bytes);
            self.fault(&format!(
                "{:x} got the answer of another: {text}",
                message.id
            ));
        }
        if head.status < 200 {
            return true;
        }
        self.waiting.pop_front();
        let by_server = head.header(&bytes, "x-answer-to").is_some();
        if !by_server && head.header(&bytes, "proxy-status").is_none() {
            self.fault(&format!("{:x}: nobody's answer", message.id));
        }
        if message.fate == Fate::Refused && (by_server || head.status < 400) {
            self.fault(&format!("{:x} is no request: {}", message.id, head.status));
        }
        let length = head.header(&bytes, "x-len").filter(|_| by_server);
        let length = length.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        let current = Current {
            message,
            body: Body::new(head.framing),
            length,
            head,
            content: Vec::new(),
            raw: Vec::new(),
        };
        if current.body.is_done() {
            self.answer(current, true);
        } else {
            self.current = Some(current);
        }
        true
    }

    /// An answer has come to its end, or will not.
    fn answer(&mut self, current: Current<'_>, whole: bool) {
        let Current {
            message,
            head,
            content,
            raw,
            length,
            ..
        } = current;
        self.answered += 1;
        let id = message.id;
        let has_body = head.framing != Framing::None;
        if let Some(length) = length {
            let own =
                is_content(ANSWER, id, 0, &content) && ids(ANSWER, &raw).all(|other| other == id);
            if !own || (whole && has_body && content.len() != length) {
                let (n, framing) = (content.len(), head.framing);
                self.fault(&format!(
                    "{id:x}: not its content: {n} of {length} by {framing:?}"
                ));
            }
        }
        self.last = !whole || !head.keep_alive;
        if !self.last && matches!(message.fate, Fate::BadBody | Fate::Refused) {
            self.fault(&format!("{id:x}: the connection stays after what is none"));
        }
        if message.fate == Fate::Refused {
            return;
        }
        World::count(&self.world.whole, usize::from(whole));
        let seen = Seen {
            status: head.status,
            whole,
            how: format!(
                "{} of {length:?} by {:?}, {:?}, behind it {}",
                content.len(),
                head.framing,
                self.ended,
                self.waiting.len()
            ),
        };
        self.world.seen.lock().expect("no panic").insert(id, seen);
    }

    /// The end of the connection, which may be the end of an answer as well.
    fn conclude(&mut self) {
        if let Some(mut current) = self.current.take() {
            let whole = self.ended == Some(Ended::Closed) && current.body.end_of_stream().is_ok();
            self.answer(current, whole);
        }
        let next = self.waiting.front();
        let owed = next.filter(|message| message.fate == Fate::Answered);
        if let Some(message) = owed.filter(|_| !self.last) {
            let (id, ended) = (message.id, self.ended);
            let text = String::from_utf8_lossy(&message.bytes[..message.bytes.len().min(120)]);
            self.fault(&format!("{id:x} is not answered ({ended:?}): {text:?}"));
        }
    }
}
