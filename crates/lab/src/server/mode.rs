//! The modes of the sample server: healthy, or faulty in one of the ways that a load balancer must notice.
//!
//! Separate because the words are also a small language: the body of `POST /mode` and of a mode file.

use std::fmt;
use std::str::FromStr;

/// The behaviour of the sample server.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ServerMode {
    /// Answers as asked: `ok`.
    Ok,
    /// Answers this share of requests with this status, `/health` not among them: `status 500`, `status 500 0.3`.
    Status {
        /// The status.
        status: u16,
        /// The share of requests, in (0, 1].
        share: f64,
    },
    /// Answers this share of requests with 503 and `Retry-After`, `/health` not among them: `shed 0.3 1`.
    Shed {
        /// The share of requests, in (0, 1].
        share: f64,
        /// The value of `Retry-After`, in seconds.
        seconds: u32,
    },
    /// Answers everything with 500, `/health` too: `sick`.
    Sick,
    /// Answers as asked, but `/health` with 500: `unhealthy`.
    Unhealthy,
    /// Takes a multiple of its normal time: `slow 10`.
    Slow(f64),
    /// Takes a multiple of its normal time for a number of requests, except `/health`, and is `ok` then: `cold 400 20`.
    Cold {
        /// How many requests.
        requests: u32,
        /// How many times as long.
        times: f64,
    },
    /// Handles this many requests at a time; others wait in order of arrival, even after their client has disconnected:
    /// `slots 4`.
    Slots(u32),
    /// Reads requests and never answers: `hang`.
    Hang,
    /// Drops all packets of new connections and answers nothing for this many seconds, and is `ok` then: `drop 6`.
    Drop {
        /// For how long.
        seconds: u32,
    },
    /// Never answers a POST, all else as asked: `hang POST`.
    HangPost,
    /// Closes connections instead of answering, at once when they are new: `close`.
    Close,
    /// Closes its listening socket and all connections and stays alive: `stop-listening`.
    StopListening,
    /// Closes its listening socket, and goes on with the connections that there are: `stop-accepting`.
    StopAccepting,
    /// Exits with this status, at once or after this many milliseconds: `exit 3`, `exit 3 after 200`.
    Exit {
        /// The exit status.
        code: i32,
        /// How long it works before, in milliseconds.
        after_ms: u64,
    },
}

impl FromStr for ServerMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let unknown = || {
            format!(
                "unknown mode \"{}\"; there are: ok, status CODE [SHARE], shed SHARE SECONDS, sick, unhealthy, slow TIMES, cold REQUESTS TIMES, slots NUMBER, hang, hang POST, drop SECONDS, close, \
                 stop-listening, stop-accepting, exit CODE [after MS]",
                text.trim()
            )
        };
        match *words.as_slice() {
            ["ok"] => Ok(Self::Ok),
            ["sick"] => Ok(Self::Sick),
            ["unhealthy"] => Ok(Self::Unhealthy),
            ["hang"] => Ok(Self::Hang),
            ["hang", "POST"] => Ok(Self::HangPost),
            ["close"] => Ok(Self::Close),
            ["stop-listening"] => Ok(Self::StopListening),
            ["stop-accepting"] => Ok(Self::StopAccepting),
            ["slots", slots] => {
                let slots = slots.parse().ok().filter(|slots| *slots > 0);
                slots.map(Self::Slots).ok_or_else(unknown)
            }
            ["slow", times] => number(times, 0.0, 1e6).map(Self::Slow).ok_or_else(unknown),
            ["cold", requests, times] => Ok(Self::Cold {
                requests: requests.parse().map_err(|_| unknown())?,
                times: number(times, 0.0, 1e6).ok_or_else(unknown)?,
            }),
            ["status", status, ref share @ ..] if share.len() <= 1 => {
                let status = status
                    .parse()
                    .ok()
                    .filter(|status| (200..1000).contains(status))
                    .ok_or_else(unknown)?;
                let share = share
                    .first()
                    .map_or(Some(1.0), |share| number(share, 0.0, 1.0))
                    .ok_or_else(unknown)?;
                Ok(Self::Status { status, share })
            }
            ["drop", seconds] => Ok(Self::Drop {
                seconds: seconds.parse().map_err(|_| unknown())?,
            }),
            ["shed", share, seconds] => Ok(Self::Shed {
                share: number(share, 0.0, 1.0).ok_or_else(unknown)?,
                seconds: seconds.parse().map_err(|_| unknown())?,
            }),
            ["exit", code] => Ok(Self::Exit {
                code: code.parse().map_err(|_| unknown())?,
                after_ms: 0,
            }),
            ["exit", code, "after", ms] => Ok(Self::Exit {
                code: code.parse().map_err(|_| unknown())?,
                after_ms: ms.parse().map_err(|_| unknown())?,
            }),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for ServerMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Ok => f.write_str("ok"),
            Self::Status { status, share } if share < 1.0 => write!(f, "status {status} {share}"),
            Self::Status { status, .. } => write!(f, "status {status}"),
            Self::Shed { share, seconds } => write!(f, "shed {share} {seconds}"),
            Self::Drop { seconds } => write!(f, "drop {seconds}"),
            Self::Sick => f.write_str("sick"),
            Self::Unhealthy => f.write_str("unhealthy"),
            Self::Slow(times) => write!(f, "slow {times}"),
            Self::Cold { requests, times } => write!(f, "cold {requests} {times}"),
            Self::Slots(slots) => write!(f, "slots {slots}"),
            Self::Hang => f.write_str("hang"),
            Self::HangPost => f.write_str("hang POST"),
            Self::Close => f.write_str("close"),
            Self::StopListening => f.write_str("stop-listening"),
            Self::StopAccepting => f.write_str("stop-accepting"),
            Self::Exit { code, after_ms: 0 } => write!(f, "exit {code}"),
            Self::Exit { code, after_ms } => write!(f, "exit {code} after {after_ms}"),
        }
    }
}

fn number(text: &str, least: f64, most: f64) -> Option<f64> {
    text.parse()
        .ok()
        .filter(|number| (least..=most).contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_reads_back_what_it_writes() {
        let texts = [
            "ok",
            "status 500",
            "status 503 0.25",
            "slots 4",
            "shed 0.3 1",
            "sick",
            "unhealthy",
            "slow 10",
            "cold 400 20",
            "hang",
            "hang POST",
            "drop 6",
            "close",
            "stop-listening",
            "stop-accepting",
            "exit 3",
            "exit 3 after 200",
        ];
        for text in texts {
            assert_eq!(text.parse::<ServerMode>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "slow",
            "slow x",
            "slow -1",
            "cold 400",
            "status 20",
            "status 500 2",
            "shed 0.3",
            "drop",
            "exit",
            "exit 3 after",
            "OK",
        ] {
            assert!(
                text.parse::<ServerMode>()
                    .unwrap_err()
                    .contains("there are: ok"),
                "{text}"
            );
        }
    }
}
