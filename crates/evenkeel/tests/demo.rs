//! The demo as a new user starts it, in a file of its own so that nothing else loads the machine meanwhile.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::call;

#[test]
fn the_demo_breaks_and_heals() {
    let folder = tempfile::TempDir::new().unwrap();
    let demo = call(folder.path(), &["demo"]);
    assert_eq!(demo.status, Some(0), "{}{}", demo.out, demo.err);
    for chapter in [
        "is killed (SIGKILL)",
        "diagnosis    process-crashed",
        "diagnosis    process-hung",
        "diagnosis    error-burst",
        "diagnosis    slow-server",
        ", failed 0, saved by retry ",
        "Every fault was detected, diagnosed, repaired and verified, and no request failed.",
    ] {
        assert!(demo.out.contains(chapter), "{chapter}:\n{}", demo.out);
    }
    // Not a terminal: plain lines.
    assert!(!demo.out.contains('\u{1b}'), "{}", demo.out);
}
