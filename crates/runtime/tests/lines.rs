//! The line queue with outputs that block, fail, or accept a little at a time.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::io::{self, ErrorKind, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use evenkeel_runtime::{LineLimits, LineQueue};

/// A guard against hanging only.
const SOON: Duration = Duration::from_secs(60);

/// An output that behaves as scripted for each write, and forwards what it accepted.
struct Script {
    orders: Receiver<io::Result<usize>>,
    taken: Sender<Vec<u8>>,
}

impl Write for Script {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Without an order it blocks, as a full pipe does.
        let most = self.orders.recv().map_err(io::Error::other)??;
        let taken = bytes[..bytes.len().min(most)].to_vec();
        let length = taken.len();
        self.taken.send(taken).ok();
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Test {
    queue: LineQueue,
    orders: Sender<io::Result<usize>>,
    taken: Receiver<Vec<u8>>,
    reports: Receiver<u64>,
}

fn start(lines: usize, bytes: usize) -> Test {
    let (orders, told) = channel();
    let (taken, got) = channel();
    let (report, reports) = channel();
    let out = Script {
        orders: told,
        taken,
    };
    let limits = LineLimits { lines, bytes };
    let queue = LineQueue::start("lines", out, limits, move |dropped| {
        report.send(dropped).ok();
    });
    Test {
        queue: queue.unwrap(),
        orders,
        taken: got,
        reports,
    }
}

#[test]
fn an_output_that_takes_nothing_holds_up_nobody_and_drops_are_counted() {
    let test = start(100, 1_000_000);
    // Each push returns although nothing is ever written: with one that waits, this would not end.
    let accepted = (0..10_000).filter(|number| test.queue.push(format!("{number}\n").as_bytes()));
    assert_eq!(accepted.count(), 100, "what is being written counts");
    assert_eq!(test.queue.dropped(), 9_900);
    assert!(!test.queue.flush(Duration::from_millis(10)));
    for _ in 0..100 {
        test.orders.send(Ok(usize::MAX)).unwrap();
    }
    assert!(test.queue.flush(SOON));
    assert_eq!(test.reports.recv_timeout(SOON), Ok(9_900));
    let written: Vec<u8> = test.taken.try_iter().flatten().collect();
    let expected: String = (0..100).map(|number| format!("{number}\n")).collect();
    assert_eq!(
        String::from_utf8(written).unwrap(),
        expected,
        "in order, the first"
    );
    assert!(test.queue.push(b"again\n"), "there is room again");
}

#[test]
fn bytes_have_a_bound_as_well() {
    let test = start(1_000, 100);
    assert!(!test.queue.push(&[b'x'; 101]), "it never fits");
    assert!(test.queue.push(&[b'x'; 60]));
    assert!(!test.queue.push(&[b'x'; 60]));
    assert!(test.queue.push(&[b'x'; 40]));
    assert_eq!(test.queue.dropped(), 2);
}

#[test]
fn a_line_is_whole_however_often_writing_fails_in_between() {
    let test = start(10, 1_000);
    for order in [
        Ok(3),
        Err(ErrorKind::StorageFull.into()),
        Err(ErrorKind::Interrupted.into()),
        Ok(0),
        Err(ErrorKind::WouldBlock.into()),
        Err(ErrorKind::BrokenPipe.into()),
        Ok(2),
        Ok(100),
    ] {
        test.orders.send(order).unwrap();
    }
    assert!(test.queue.push(b"a whole line\n"));
    let mut written = Vec::new();
    while written.len() < 13 {
        written.extend(test.taken.recv_timeout(SOON).unwrap());
    }
    assert_eq!(written, b"a whole line\n");
}

#[test]
fn a_flush_does_not_wait_for_an_output_that_fails() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let limits = LineLimits {
        lines: 10,
        bytes: 100,
    };
    let queue = LineQueue::start("lines", Gone, limits, |_| ()).unwrap();
    assert!(queue.push(b"lost\n"));
    // Would only come back after a day.
    assert!(!queue.flush(Duration::from_secs(86_400)));
}
