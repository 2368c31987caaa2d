//! The roles that this program takes when a test starts it again: an evenkeel, or a server.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use super::stage::{LONG, SERVER, Stage, lives, runtime, until, until_for_ever};

#[expect(clippy::print_stdout, reason = "the test reads the child's id from it")]
/// Plays an evenkeel that starts a child, says its id, and is then killed by the test.
pub(super) fn short_lived() -> ExitCode {
    runtime().block_on(async {
        let mut stage = Stage::new("exec sleep 1000").await;
        stage.supervisor.start_children().await;
        println!("{}", stage.started().await);
        std::future::pending::<()>().await;
    });
    ExitCode::SUCCESS
}

/// Plays an evenkeel whose own file was removed.
pub(super) fn replaced() -> ExitCode {
    runtime().block_on(async {
        let exe = std::env::current_exe().expect("this program");
        std::fs::remove_file(exe).expect("it is a copy");
        let mut stage = Stage::new("echo ready; exec sleep 1000").await;
        stage.start_until("ready").await;
        let pid = stage.supervisor.pid(SERVER).expect("it runs");
        stage.supervisor.shutdown().await;
        assert!(!lives(pid));
    });
    ExitCode::SUCCESS
}

/// Plays an evenkeel that is PID 1 and gets the orphans of a command.
pub(super) fn first() -> ExitCode {
    assert!(rustix::process::getpid().is_init());
    runtime().block_on(async {
        let stage = Stage::new("exec sleep 1000").await;
        let command = ["sh", "-c", "sleep 0.2 & echo $!"].map(str::to_owned);
        let orphan = stage
            .supervisor
            .run_command(SERVER, &command, &[], LONG)
            .await
            .expect("it runs");
        // Also as a zombie it would still have an entry.
        let entry = format!("/proc/{orphan}/stat");
        until("the orphan is reaped", || !Path::new(&entry).exists()).await;
    });
    ExitCode::SUCCESS
}

#[expect(clippy::print_stdout, reason = "it says when it listens")]
/// Plays a server: listens on a port, until a file is there.
pub(super) fn listen(arguments: &[OsString]) -> ExitCode {
    let word = |place: usize| arguments[place].to_string_lossy().into_owned();
    let port: u16 = word(1).parse().expect("a port");
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    println!("ready");
    runtime().block_on(async {
        until_for_ever(|| Path::new(&word(2)).exists()).await;
        drop(listener);
        println!("closed");
        std::future::pending::<()>().await;
    });
    ExitCode::SUCCESS
}
