//! The examination of a server for a diagnosis, made at one moment: TCP, HTTP, and the process as the kernel sees it.

use std::io;
use std::time::Duration;

use evenkeel_connect::is_local;
use evenkeel_core::{Endpoint, ProbeOutcome};
use evenkeel_fault::contract::{Examination, ProcessState};
use evenkeel_fault::policy::{ProbeKind, ProbeOptions};
use evenkeel_fault::self_check::Usage;
use evenkeel_runtime::Clock;

use crate::listener::{ListeningSockets, SocketOwner};
use crate::probe::send;

/// Clock ticks of `/proc/PID/stat` in a second; the kernel's interface fixes it at 100 on every architecture we run on.
const TICKS_PER_SECOND: f64 = 100.0;
/// Below this the processor time says nothing: a tick is 10 ms.
const SHORTEST_SAMPLE: Duration = Duration::from_millis(100);
const PAGE_BYTES: u64 = 4096;

/// Examines a server: all tests at the same time, within `timeout`.
pub(crate) async fn examine(
    address: &Endpoint,
    probe: &ProbeOptions,
    process: Option<(Option<u32>, Vec<String>)>,
    (listener, survey): (
        impl Future<Output = SocketOwner>,
        impl Future<Output = Option<ListeningSockets>>,
    ),
    timeout: Duration,
    clock: Clock,
) -> Examination {
    let any = ProbeKind::Http {
        path: "/".to_owned(),
        host: None,
        expect: (100, 599),
    };
    let http = match &probe.kind {
        ProbeKind::Tcp => &any,
        configured @ ProbeKind::Http { .. } => configured,
    };
    let longest = timeout.min(probe.timeout);
    let started = clock.now();
    let before = process
        .as_ref()
        .and_then(|(pid, _)| read_stat((*pid)?).ok());
    let (tcp, http) = tokio::join!(
        send(address, &ProbeKind::Tcp, longest, clock),
        send(address, http, longest, clock)
    );
    let elapsed = clock.now().since(started);
    let survey = survey.await;
    let stranger = match listener.await {
        SocketOwner::Accepted => None,
        SocketOwner::Stranger(who) => Some(who),
    };
    let told = |(outcome, latency): (ProbeOutcome, Duration)| match stranger {
        // Somebody answers, but not the server.
        Some(_) if is_answer(outcome) => (ProbeOutcome::PortTaken, latency),
        Some(_) | None => (outcome, latency),
    };
    let (tcp, http) = (told(tcp), told(http));
    let process = process.map(|(pid, last_lines)| {
        let after = pid.map(read_stat);
        let pid = pid.filter(|_| after.as_ref().is_some_and(lives));
        let after = after.and_then(Result::ok);
        ProcessState {
            pid,
            state: state(before.as_ref(), after.as_ref()),
            listening: survey.as_ref().map(|found| found.is_listened_on),
            accept_queue: survey.as_ref().and_then(|found| found.accept_queue),
            listens_at: survey
                .iter()
                .flat_map(|found| found.elsewhere.iter().map(ToString::to_string))
                .collect(),
            cpu_permille: cpu_permille(before.as_ref(), after.as_ref(), elapsed),
            cpu_wait_permille: cpu_wait_permille(before.as_ref(), after.as_ref(), elapsed),
            resident_bytes: after.as_ref().map(|stat| stat.resident_pages * PAGE_BYTES),
            last_lines,
            port_holder: stranger.clone(),
            descriptors: pid.and_then(descriptors),
        }
    });
    Examination {
        tcp: Some(tcp),
        http: Some(http),
        process,
    }
}

/// Whether the connection was accepted.
const fn is_answer(outcome: ProbeOutcome) -> bool {
    !matches!(
        outcome,
        ProbeOutcome::Refused
            | ProbeOutcome::ConnectTimeout
            | ProbeOutcome::Unreachable
            | ProbeOutcome::LocalError
    )
}

struct Stat {
    state: char,
    ticks: u64,
    resident_pages: u64,
    /// How long its threads could run and waited for a processor, if the kernel tells.
    waited: Option<Duration>,
}

fn read_stat(pid: u32) -> io::Result<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let stat = parse_stat(&text).ok_or(io::ErrorKind::InvalidData)?;
    let waited = waited(pid);
    Ok(Stat { waited, ..stat })
}

/// The sum of the second field of `/proc/PID/task/*/schedstat`, in nanoseconds (`Documentation/scheduler/sched-stats.rst`).
fn waited(pid: u32) -> Option<Duration> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let texts = tasks.flatten();
    let texts =
        texts.filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok());
    let nanos = texts.map(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    let nanos: Vec<u64> = nanos.collect::<Option<_>>()?;
    (!nanos.is_empty()).then(|| Duration::from_nanos(nanos.iter().sum()))
}

/// How many descriptors a process has open, and may have open. Nothing if it belongs to another user, or has no limit.
fn descriptors(pid: u32) -> Option<Usage> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let limit = open_files(&limits)?;
    let folder = format!("/proc/{pid}/fd");
    // Linux 6.2 and later tell it as the size of the folder.
    let used = match std::fs::metadata(&folder).ok()?.len() {
        0 => std::fs::read_dir(&folder).ok()?.count() as u64,
        count => count,
    };
    Some(Usage { used, limit })
}

/// The soft limit in the line `Max open files  1024  4096  files` of proc_pid_limits(5).
fn open_files(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Whether a process of which this was read is there. If evenkeel had no descriptor left to read it, nothing is known against it.
fn lives(stat: &io::Result<Stat>) -> bool {
    match stat {
        Ok(stat) => stat.state != 'Z',
        Err(error) => is_local(error),
    }
}

/// The fields after the name, which is in brackets and may hold anything (proc_pid_stat(5): state is the third field,
/// utime and stime the 14th and 15th, rss the 24th).
fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |slot: usize| fields.get(slot - 3)?.parse::<u64>().ok();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        ticks: number(14)? + number(15)?,
        resident_pages: number(24)?,
        waited: None,
    })
}

/// The state of a process that was read twice. It counts as stopped only if it was both times: a process that is
/// stopped for a moment, as by a debugger, continues by itself, whereas a process diagnosed as stopped is restarted at
/// once.
fn state(before: Option<&Stat>, after: Option<&Stat>) -> Option<char> {
    const STOPPED: char = 'T';
    let after = after?;
    if after.state != STOPPED {
        return Some(after.state);
    }
    let before = before?;
    let has_run = before.ticks != after.ticks;
    (before.state != STOPPED || !has_run).then_some(before.state)
}

fn cpu_permille(before: Option<&Stat>, after: Option<&Stat>, elapsed: Duration) -> Option<u32> {
    if elapsed < SHORTEST_SAMPLE {
        return None;
    }
    let ticks = after?.ticks.checked_sub(before?.ticks)?;
    let cores = ticks as f64 / TICKS_PER_SECOND / elapsed.as_secs_f64();
    Some((cores * 1000.0).round().clamp(0.0, 1e6) as u32)
}

/// The part of the time in which its threads waited for a processor.
fn cpu_wait_permille(
    before: Option<&Stat>,
    after: Option<&Stat>,
    elapsed: Duration,
) -> Option<u32> {
    let waited = after?.waited?.checked_sub(before?.waited?)?;
    let part = waited.as_secs_f64() / elapsed.as_secs_f64().max(1e-6);
    Some((part * 1000.0).round().clamp(0.0, 1e6) as u32)
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    /// A process that was stopped for 100 ms at the end of an examination was restarted.
    #[test]
    fn a_process_is_stopped_only_if_it_was_all_the_time() {
        let stat = |(state, ticks)| Stat {
            state,
            ticks,
            resident_pages: 1,
            waited: None,
        };
        for (before, after, told) in [
            (Some(('T', 7)), Some(('T', 7)), Some('T')),
            (Some(('S', 7)), Some(('T', 7)), Some('S')),
            (Some(('R', 7)), Some(('T', 9)), Some('R')),
            // It went on between two stops.
            (Some(('T', 7)), Some(('T', 8)), None),
            (Some(('T', 7)), Some(('S', 7)), Some('S')),
            (None, Some(('T', 7)), None),
            (None, Some(('D', 7)), Some('D')),
            (Some(('T', 7)), None, None),
        ] {
            let (one, other) = (before.map(stat), after.map(stat));
            let found = state(one.as_ref(), other.as_ref());
            assert_eq!(found, told, "{before:?}, {after:?}");
        }
    }

    #[test]
    fn waiting_for_a_processor_is_told_as_a_part_of_the_time() {
        let stat = |waited| Stat {
            state: 'S',
            ticks: 0,
            resident_pages: 1,
            waited,
        };
        let millis = |millis| Some(Duration::from_millis(millis));
        let elapsed = Duration::from_millis(40);
        for (before, after, told) in [
            (millis(100), millis(120), Some(500)),
            (millis(100), millis(100), Some(0)),
            (millis(100), millis(180), Some(2_000)),
            (None, millis(100), None),
            // A thread has ended.
            (millis(100), millis(90), None),
        ] {
            let (before, after) = (stat(before), stat(after));
            assert_eq!(
                cpu_wait_permille(Some(&before), Some(&after), elapsed),
                told
            );
        }
        assert!(waited(std::process::id()).is_some());
    }

    /// Regression: it was "the process is not there" if evenkeel had no descriptor left to check.
    #[test]
    fn a_process_is_gone_if_it_is_not_there_and_not_if_it_cannot_be_read() {
        let pid = std::process::id();
        assert!(lives(&read_stat(pid)));
        assert!(!lives(&read_stat(u32::MAX)));
        assert!(lives(&Err(Errno::MFILE.into())));
        assert!(!lives(&Err(Errno::SRCH.into())));
        let zombie = "42 (a) Z 1 42 42 0 -1 4194304 100 0 0 0 7 3 0 0 20 0 1 0 100 0 0";
        let stat = format!("{zombie} 18446744073709551615");
        assert!(!lives(
            &parse_stat(&stat).ok_or_else(|| Errno::INVAL.into())
        ));
    }

    #[test]
    fn descriptors_of_a_process_and_their_limit_are_read() {
        let usage = descriptors(std::process::id()).unwrap();
        assert!(usage.used >= 3 && usage.used <= usage.limit, "{usage:?}");
        assert_eq!(descriptors(u32::MAX), None);
        let limits = "Limit Soft Limit Hard Limit Units\nMax open files            30                   4096                 files\n";
        assert_eq!(open_files(limits), Some(30));
        assert_eq!(open_files("Max open files unlimited unlimited files"), None);
    }

    #[test]
    fn a_process_name_may_hold_brackets_and_spaces() {
        let text = "42 (a) b (c) T 1 42 42 0 -1 4194304 100 0 0 0 7 3 0 0 20 0 1 0 100 1000000 250 18446744073709551615";
        let stat = parse_stat(text).unwrap();
        assert_eq!(
            (stat.state, stat.ticks, stat.resident_pages),
            ('T', 10, 250)
        );
        assert!(parse_stat("").is_none());
    }
}
