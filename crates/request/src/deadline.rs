//! How long a client still waits, in a header of its request, and how long evenkeel does, in the same header for servers.
//!
//! A client's deadline shortens `timeout.total`, and never lengthens it. An invalid value is ignored: a
//! request is not refused over a hint. The value for servers has a fixed width, so that it can be put anew into a head that
//! is otherwise ready, for each attempt.

use std::time::Duration;

use evenkeel_core::Instant;
use evenkeel_tolerate::deadline::{parse_grpc, parse_milliseconds};
use evenkeel_tolerate::{Deadline, EncodedTimeout};

use crate::RequestView;

/// The room for a value in a head: what a value does not need is blanks before it, which are not part of it (RFC 9110, section
/// 5.5).
pub const ROOM: usize = 20;

/// The field, in which form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadlineHeader {
    name: String,
    grpc: bool,
}

/// What a client has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportedDeadline {
    /// Nothing.
    Nothing,
    /// Something that is no time, or several times.
    Malformed,
    /// That it waits for so long.
    Left(Duration),
}

impl DeadlineHeader {
    /// The field of this name: `grpc-timeout` has gRPC's form, every other one milliseconds.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let name = name.to_ascii_lowercase();
        let grpc = name == "grpc-timeout";
        Self { name, grpc }
    }

    /// Its name, in lower case.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the client says in `head`.
    pub fn told(&self, head: &impl RequestView) -> ReportedDeadline {
        let mut told = ReportedDeadline::Nothing;
        head.any_value(&self.name, &mut |value| {
            told = match (told, self.parse(value.trim_ascii())) {
                (ReportedDeadline::Nothing, Some(left)) => ReportedDeadline::Left(left),
                _ => ReportedDeadline::Malformed,
            };
            told == ReportedDeadline::Malformed
        });
        told
    }

    /// Writes what is left at `now` into its room. The room stays as it is if it has another size.
    pub fn write(&self, room: &mut [u8], deadline: Deadline, now: Instant) {
        let value = if self.grpc {
            EncodedTimeout::grpc(deadline, now)
        } else {
            EncodedTimeout::milliseconds(deadline, now)
        };
        let nothing: &[u8] = if self.grpc { b"0m" } else { b"0" };
        let text = value.as_ref().map_or(nothing, EncodedTimeout::as_bytes);
        if let Some(blanks) = ROOM.checked_sub(text.len())
            && room.len() == ROOM
        {
            let (before, rest) = room.split_at_mut(blanks);
            before.fill(b' ');
            rest.copy_from_slice(text);
        }
    }

    fn parse(&self, value: &[u8]) -> Option<Duration> {
        if self.grpc {
            parse_grpc(value)
        } else {
            parse_milliseconds(value)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::FakeHead;

    fn told(name: &'static str, values: &[&str]) -> ReportedDeadline {
        let fields = values.iter().map(|value| (name, (*value).to_owned()));
        DeadlineHeader::new(name).told(&FakeHead {
            fields: fields.collect(),
            ..FakeHead::default()
        })
    }

    #[test]
    fn deadlines_of_clients_are_parsed() {
        let left = |millis| ReportedDeadline::Left(Duration::from_millis(millis));
        assert_eq!(told("X-Deadline", &[]), ReportedDeadline::Nothing);
        assert_eq!(told("X-Deadline", &["1500"]), left(1_500));
        assert_eq!(told("gRPC-Timeout", &["2S"]), left(2_000));
        assert_eq!(told("grpc-timeout", &["0m"]), left(0));
        for wrong in ["", "-1", "1.5", "soon", "2S", "99999999999999999999"] {
            assert_eq!(
                told("x-deadline", &[wrong]),
                ReportedDeadline::Malformed,
                "{wrong}"
            );
        }
        for wrong in ["", "5", "m", "123456789m", "5s"] {
            assert_eq!(
                told("grpc-timeout", &[wrong]),
                ReportedDeadline::Malformed,
                "{wrong}"
            );
        }
        assert_eq!(told("x-deadline", &["5", "6"]), ReportedDeadline::Malformed);
        assert_eq!(told("x-deadline", &["x", "6"]), ReportedDeadline::Malformed);
    }

    #[test]
    fn what_servers_get_fills_the_room() {
        let written = |name: &str, left: u64| {
            let mut room = [b'x'; ROOM];
            let deadline = Deadline::new(Instant::ZERO, Duration::from_micros(left));
            DeadlineHeader::new(name).write(&mut room, deadline, Instant::ZERO);
            String::from_utf8(room.to_vec()).expect("text")
        };
        assert_eq!(written("x-deadline", 1_500_999), format!("{:>20}", "1500"));
        assert_eq!(written("x-deadline", 999), format!("{:>20}", "0"));
        assert_eq!(written("grpc-timeout", 0), format!("{:>20}", "0m"));
        assert_eq!(
            written("grpc-timeout", 15_000_000),
            format!("{:>20}", "15000000u")
        );
    }
}
