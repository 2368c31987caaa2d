//! Real processes: started, stopped, killed, and gone when they must be. This test program is also its own guardian.

mod stage;
mod roles;
mod life;
mod ports;
mod reload;
mod sockets;

use std::ffi::OsString;
use std::process::ExitCode;

use evenkeel_supervise::guardian;
use libtest_mimic::{Arguments, Failed, Trial};

use stage::{LONG, runtime};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match arguments.first().and_then(|word| word.to_str()) {
        Some("guardian") => {
            let status = guardian::main(&arguments[1..])
                .map_or(1, |status| u8::try_from(status).unwrap_or(1));
            ExitCode::from(status)
        }
        Some("short-lived") => roles::short_lived(),
        Some("replaced") => roles::replaced(),
        Some("first") => roles::first(),
        Some("listen") => roles::listen(&arguments),
        _ => {
            let all = tests().into_iter().chain(reloads()).chain(socket_tests());
            libtest_mimic::run(&Arguments::from_args(), all.collect()).exit_code()
        }
    }
}

fn socket_tests() -> [Trial; 2] {
    [
        trial(
            "a stranger on the Unix domain socket is told apart from the server, and left alone",
            sockets::stranger,
        ),
        trial(
            "the stale file of a Unix domain socket is removed before a start",
            sockets::stale,
        ),
    ]
}

fn tests() -> Vec<Trial> {
    vec![
        trial(
            "a stranger on the port is told apart from the server",
            ports::stranger,
        ),
        trial(
            "the socket of a child of the server counts as its own",
            ports::inherited,
        ),
        trial(
            "what leaves its group ends with the guardian",
            life::escaped,
        ),
        trial(
            "output beyond the limit is counted, its end is kept",
            life::flood,
        ),
        trial("two orders at once leave one process", life::two_orders),
        trial(
            "a program whose file was removed starts processes",
            life::removed,
        ),
        trial(
            "a directory that is not there is what is blamed",
            life::directory,
        ),
        trial("PID 1 reaps the orphans of commands", life::reaps).with_ignored_flag(!may_unshare()),
        trial(
            "an exit is reported with its status and last lines",
            life::exits,
        ),
        trial("a signal is reported by its number", life::signals),
        trial(
            "a program that is not there cannot be started",
            life::not_there,
        ),
        trial(
            "stop asks first and kills when that does not help",
            life::stops,
        ),
        trial("a stopped process is killed at once", life::stopped_process),
        trial(
            "children of children go with their group",
            life::grandchildren,
        ),
        trial("children die when evenkeel is killed", life::evenkeel_dies),
        trial(
            "children die with the guardian, and the next one works",
            life::guardian_dies,
        ),
        trial(
            "a restart gives a new process and an asked exit",
            life::restarts,
        ),
        trial(
            "probes run while the process does, at the pace that was asked for",
            ports::probes,
        ),
        trial("an examination sees a hung process", ports::examination),
        trial("shutdown leaves nothing", life::shutdown),
        trial(
            "after a panic processes are restarted, reaped and probed as before",
            ports::panics,
        ),
    ]
}

fn reloads() -> Vec<Trial> {
    vec![
        trial(
            "a reload starts what is new, ends what is gone and keeps the rest",
            reload::come_and_go,
        ),
        trial(
            "a removed server's process ends when its requests have",
            reload::drains,
        ),
        trial(
            "a changed command runs with the restart that says so",
            reload::changed_command,
        ),
        trial(
            "a roll-back goes back to the configuration before the reload",
            reload::rolls_back,
        ),
        trial(
            "the first child may come with a reload",
            reload::first_child,
        ),
    ]
}

fn trial<F: Future<Output = ()> + 'static>(name: &str, test: fn() -> F) -> Trial {
    Trial::test(name, move || {
        runtime().block_on(async {
            tokio::time::timeout(LONG * 2, test())
                .await
                .map_err(|_| Failed::from("it did not end in time"))
        })
    })
}

/// Namespaces need rights that not every machine gives; `.ci/run` fails where this leaves the test out.
fn may_unshare() -> bool {
    let mut unshare = std::process::Command::new("unshare");
    let unshare = unshare.args(["--pid", "--fork", "--mount-proc", "true"]);
    unshare.stderr(std::process::Stdio::null());
    unshare.status().is_ok_and(|status| status.success())
}
