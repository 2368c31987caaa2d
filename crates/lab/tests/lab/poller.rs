//! The benchmark's instruments together: closed load, floor, origin.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use evenkeel_lab::closed::{self, ClosedCounts, ClosedPlan};
use evenkeel_lab::origin::PAGES;

use crate::common::{Process, ask, body_of, eventually};

/// An origin on one port and a floor before it.
fn origin_and_floor() -> (Process, Process) {
    let origin = Process::start(&["origin", "--listen", "127.0.0.1:0"]);
    let to = origin.address.to_string();
    let floor = Process::start(&["floor", "--listen", "127.0.0.1:0", "--to", &to]);
    (origin, floor)
}

#[test]
fn every_workload_passes_through_the_floor_without_a_failure() {
    let (_origin, floor) = origin_and_floor();
    let plan = |path: &str, expect| ClosedPlan {
        target: floor.address,
        connections: 8,
        path: path.to_owned(),
        post: None,
        reconnect: false,
        expect,
    };
    let mut plans: Vec<ClosedPlan> = PAGES
        .iter()
        .map(|&(path, length)| plan(path, length))
        .collect();
    plans.push(ClosedPlan {
        reconnect: true,
        ..plan("/small", 13)
    });
    plans.push(ClosedPlan {
        post: Some(16 << 10),
        ..plan("/post", 13)
    });
    plans.push(ClosedPlan {
        post: Some(1 << 20),
        ..plan("/post", 13)
    });
    for plan in plans {
        let counts = run_until(plan.clone(), 200);
        assert_eq!(counts.failed.load(Relaxed), 0, "{plan:?}");
        assert!(counts.take_times().count() >= 200);
    }
}

#[test]
fn an_answer_of_the_wrong_length_is_a_failure() {
    let (origin, _floor) = origin_and_floor();
    let plan = ClosedPlan {
        target: origin.address,
        connections: 1,
        path: "/missing".to_owned(),
        post: None,
        reconnect: false,
        expect: 13,
    };
    let counts = Arc::new(ClosedCounts::default());
    let for_thread = Arc::clone(&counts);
    let thread = std::thread::spawn(move || closed::run(plan, for_thread));
    eventually("it fails", || counts.failed.load(Relaxed) >= 10);
    counts.stop.store(true, Relaxed);
    thread.join().unwrap().unwrap();
    assert_eq!(counts.done.load(Relaxed), 0);
}

#[test]
fn a_request_in_pieces_is_answered_and_what_is_no_request_is_not() {
    use std::io::{Read as _, Write as _};
    let (_origin, floor) = origin_and_floor();
    let mut stream = std::net::TcpStream::connect(floor.address).unwrap();
    stream
        .set_read_timeout(Some(std::time::Duration::from_secs(5)))
        .unwrap();
    stream.set_nodelay(true).unwrap();
    for piece in [
        "POST /x HT",
        "TP/1.1\r\ncontent-LENGTH: 4\r\n",
        "Connection: close\r\n\r\na",
        "bcd",
    ] {
        stream.write_all(piece.as_bytes()).unwrap();
    }
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(body_of(&text), "o".repeat(13));
    assert_eq!(
        ask(floor.address, "nonsense\r\n\r\n").unwrap_or_default(),
        ""
    );
}

fn run_until(plan: ClosedPlan, done: u64) -> Arc<ClosedCounts> {
    let counts = Arc::new(ClosedCounts::default());
    let for_thread = Arc::clone(&counts);
    let thread = std::thread::spawn(move || closed::run(plan, for_thread));
    eventually("enough answers", || {
        counts.done.load(Relaxed) >= done || counts.failed.load(Relaxed) > 0 || thread.is_finished()
    });
    counts.stop.store(true, Relaxed);
    thread.join().unwrap().unwrap();
    counts
}
