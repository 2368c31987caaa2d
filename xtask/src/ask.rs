//! The parsed command line. Separate, so that it can be tested without starting anything.

/// Printed by `--help` and after a usage error.
pub const USAGE: &str = "\
cargo xtask tidy                 what must hold for the repository's text and dependencies
cargo xtask soak [--minutes N]   awkward clients and servers for N minutes (30): nothing may leak, no server may be blamed wrongly
cargo xtask healthy [--minutes N] a life with nothing wrong for N minutes (15): at most one false alarm, no restart
cargo xtask life [--days N]      the same in virtual time for N days (30), reported to bench/results
cargo xtask restore [--rounds N] kills, stops and hangs servers N times (5): times to restore, reported to bench/results
cargo xtask reloads [--number N]  N reloads (200) under load, and N with 10,000 servers, reported to bench/results; a quiet machine
cargo xtask scorecards           what depends on the machine's speed and quiet: tail latency, recovery from overload
cargo xtask fuzz [--minutes N]   the fuzz targets in turn, N minutes in all (3)
cargo xtask keepalive            POSTs to uvicorn and gunicorn just when they close idle connections; some minutes
cargo xtask bench [OPTION...]    bench/run; its options are in bench/README.md
cargo xtask memory [OPTION...]   bench/memory; the same";

const SOAK_MINUTES: u32 = 30;
const FUZZ_MINUTES: u32 = 3;
const HEALTHY_MINUTES: u32 = 15;
const LIFE_DAYS: u32 = 30;
const RESTORE_ROUNDS: u32 = 5;
const RELOADS: u32 = 200;

/// One thing to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Task {
    /// Print the usage.
    Help,
    /// Check the repository.
    Tidy,
    /// Awkward clients and servers for this many minutes.
    Soak {
        /// How long the load lasts.
        minutes: u32,
    },
    /// A healthy life, for this many minutes.
    Healthy {
        /// How long it lasts.
        minutes: u32,
    },
    /// A healthy life in virtual time, for this many days.
    Life {
        /// How long it lasts there.
        days: u32,
    },
    /// Faults of real processes, and the time until each is repaired.
    Restore {
        /// How often each fault is made.
        rounds: u32,
    },
    /// So many reloads under load.
    Reloads {
        /// How many.
        number: u32,
    },
    /// Run what is measured by the clock.
    Scorecards,
    /// Run the fuzz targets.
    Fuzz {
        /// For all targets together.
        minutes: u32,
    },
    /// Race POSTs with servers that close idle connections.
    Keepalive,
    /// Run a script of the repository.
    Script {
        /// Its path from the repository's root.
        script: &'static str,
        /// Passed on as they are.
        arguments: Vec<String>,
    },
}

impl Task {
    /// Reads the arguments after the program's name.
    ///
    /// # Errors
    /// Says what was not understood.
    pub fn read(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut arguments = arguments.into_iter();
        let Some(command) = arguments.next() else {
            return Ok(Self::Help);
        };
        let rest: Vec<String> = arguments.collect();
        match command.as_str() {
            "help" | "--help" | "-h" => Ok(Self::Help),
            "tidy" if rest.is_empty() => Ok(Self::Tidy),
            "tidy" => Err("tidy takes no arguments".to_owned()),
            "keepalive" if rest.is_empty() => Ok(Self::Keepalive),
            "keepalive" => Err("keepalive takes no arguments".to_owned()),
            "scorecards" if rest.is_empty() => Ok(Self::Scorecards),
            "scorecards" => Err("scorecards takes no arguments".to_owned()),
            "soak" => minutes(&rest, SOAK_MINUTES).map(|minutes| Self::Soak { minutes }),
            "healthy" => minutes(&rest, HEALTHY_MINUTES).map(|minutes| Self::Healthy { minutes }),
            "life" => number("--days", &rest, LIFE_DAYS).map(|days| Self::Life { days }),
            "restore" => {
                number("--rounds", &rest, RESTORE_ROUNDS).map(|rounds| Self::Restore { rounds })
            }
            "reloads" => number("--number", &rest, RELOADS).map(|number| Self::Reloads { number }),
            "fuzz" => minutes(&rest, FUZZ_MINUTES).map(|minutes| Self::Fuzz { minutes }),
            "bench" => Ok(Self::Script {
                script: "bench/run",
                arguments: rest,
            }),
            "memory" => Ok(Self::Script {
                script: "bench/memory",
                arguments: rest,
            }),
            other => Err(format!("there is no command {other:?}")),
        }
    }
}

fn minutes(arguments: &[String], default: u32) -> Result<u32, String> {
    number("--minutes", arguments, default)
}

/// The value of the only option that there may be.
fn number(name: &str, arguments: &[String], default: u32) -> Result<u32, String> {
    match arguments {
        [] => Ok(default),
        [option, number] if option == name => match number.parse() {
            Ok(number @ 1..) => Ok(number),
            _ => Err(format!(
                "{name} takes a whole number from 1, not {number:?}"
            )),
        },
        _ => Err(format!("the only option is {name} N")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Task, String> {
        Task::read(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn each_command_is_read() {
        assert_eq!(read(""), Ok(Task::Help));
        assert_eq!(read("tidy"), Ok(Task::Tidy));
        assert_eq!(read("keepalive"), Ok(Task::Keepalive));
        assert_eq!(read("scorecards"), Ok(Task::Scorecards));
        assert_eq!(read("soak"), Ok(Task::Soak { minutes: 30 }));
        assert_eq!(read("healthy"), Ok(Task::Healthy { minutes: 15 }));
        assert_eq!(read("life"), Ok(Task::Life { days: 30 }));
        assert_eq!(read("life --days 2"), Ok(Task::Life { days: 2 }));
        assert_eq!(read("restore"), Ok(Task::Restore { rounds: 5 }));
        assert_eq!(read("fuzz --minutes 9"), Ok(Task::Fuzz { minutes: 9 }));
        let arguments = vec!["--rounds".to_owned(), "2".to_owned()];
        assert_eq!(
            read("bench --rounds 2"),
            Ok(Task::Script {
                script: "bench/run",
                arguments
            })
        );
        assert_eq!(
            read("memory"),
            Ok(Task::Script {
                script: "bench/memory",
                arguments: vec![]
            })
        );
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for line in [
            "dance",
            "tidy now",
            "keepalive now",
            "fuzz --minutes",
            "fuzz --minutes 0",
            "soak --hours 1",
            "life --minutes 1",
            "restore --rounds none",
            "scorecards tail",
        ] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
