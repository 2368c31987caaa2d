//! A writing process is killed repeatedly: its file always opens, and holds everything that was flushed.
#![expect(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "a test may end where something is wrong"
)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use common::incident;
use evenkeel_history::{IncidentFilter, Store, Writer};
use libtest_mimic::{Arguments, Trial};

const FILE: &str = "EVENKEEL_TEST_STORE";
const FROM: &str = "EVENKEEL_TEST_FROM";

fn main() -> ExitCode {
    if std::env::var_os(FILE).is_some() {
        the_child_that_writes();
        return ExitCode::FAILURE;
    }
    let test = Trial::test(
        "nothing that was flushed is lost when the writer is killed",
        || {
            nothing_that_was_flushed_is_lost_when_the_writer_is_killed();
            Ok(())
        },
    );
    libtest_mimic::run(&Arguments::from_args(), vec![test]).exit_code()
}

fn nothing_that_was_flushed_is_lost_when_the_writer_is_killed() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("evenkeel.db");
    let mut acknowledged = 0;
    for round in 0..8 {
        // Another place in the work each time.
        acknowledged = write_and_kill(&path, acknowledged, 3 + round * 7);
        let opened = Store::open(Some(&path)).unwrap();
        assert_eq!(opened.notes, Vec::<String>::new(), "round {round}");
        let kept = opened.store.list(&IncidentFilter::default()).unwrap();
        let found = kept
            .iter()
            .filter(|incident| number(&incident.id) <= acknowledged)
            .count();
        assert_eq!(found, acknowledged as usize, "round {round}");
        acknowledged = opened.store.last_numbers().unwrap()[0].1;
    }
    assert!(acknowledged > 100, "{acknowledged} incidents");
}

/// Lets a child write until this many are flushed, kills it, and returns the last number that it reported as flushed.
fn write_and_kill(path: &Path, from: u32, until: u32) -> u32 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(FILE, path)
        .env(FROM, from.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut last = from;
    let mut killed = false;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let Some(number) = line.strip_prefix("flushed ") else {
            continue;
        };
        last = number.parse().unwrap();
        if last >= from + until && !killed {
            child.kill().unwrap();
            killed = true;
        }
    }
    let status = child.wait().unwrap();
    assert!(killed, "the child ended by itself: {status}");
    last
}

fn number(id: &str) -> u32 {
    id[11..].parse().unwrap()
}

/// The child process of the test: writes until it is killed.
fn the_child_that_writes() {
    let path = std::env::var(FILE).unwrap();
    let from: u32 = std::env::var(FROM).unwrap().parse().unwrap();
    let handle = Writer::start(Store::open(Some(path.as_ref())).unwrap().store).unwrap();
    let mut out = std::io::stdout();
    for number in from + 1..from + 10_000 {
        handle.save(incident(number, 0));
        handle.add_traffic("shop", i64::from(number), 1, 0);
        assert!(handle.flush(Duration::from_secs(10)));
        writeln!(out, "flushed {number}").unwrap();
    }
}
