//! Commands of the user's: run in a process group of their own, bounded in time and output.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

/// Bytes of output that are kept; the rest is read and thrown away.
const OUTPUT: usize = 4096;

/// Runs a command, in whose arguments each `{name}` is replaced; what it printed, or why it failed.
pub(crate) async fn run(
    command: &[String],
    replace: &[(&str, &str)],
    timeout: Duration,
) -> Result<String, String> {
    let command: Vec<String> = command
        .iter()
        .map(|argument| filled(argument, replace))
        .collect();
    let (program, arguments) = command.split_first().ok_or("the command is empty")?;
    let mut child = Command::new(program)
        .args(arguments)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{program}: {error}"))?;
    let group = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let work = async {
        let (mut printed, errors) = tokio::join!(read(out), read(err));
        printed.extend_from_slice(&errors);
        printed.truncate(OUTPUT);
        (
            child.wait().await,
            String::from_utf8_lossy(&printed).trim().to_owned(),
        )
    };
    let ended = tokio::time::timeout(timeout, work).await;
    if ended.is_err() {
        if let Some(group) = group {
            kill_process_group(group, Signal::KILL).ok();
        }
        return Err(format!(
            "{program} did not end within {timeout:?} and was killed"
        ));
    }
    outcome(program, ended)
}

fn outcome<E>(
    program: &str,
    ended: Result<(io::Result<std::process::ExitStatus>, String), E>,
) -> Result<String, String> {
    match ended {
        Ok((Ok(status), printed)) if status.success() => Ok(printed),
        Ok((Ok(status), printed)) if printed.is_empty() => Err(format!("{program}: {status}")),
        Ok((Ok(status), printed)) => Err(format!("{program}: {status}: {printed}")),
        Ok((Err(error), _)) => Err(format!("{program}: {error}")),
        Err(_) => Err(format!("{program} did not end")),
    }
}

fn filled(argument: &str, replace: &[(&str, &str)]) -> String {
    replace
        .iter()
        .fold(argument.to_owned(), |text, (name, value)| {
            text.replace(&format!("{{{name}}}"), value)
        })
}

async fn read(pipe: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut pipe) = pipe else { return kept };
    let mut chunk = [0; 1024];
    while let Ok(n @ 1..) = pipe.read(&mut chunk).await {
        let room = OUTPUT.saturating_sub(kept.len());
        kept.extend_from_slice(&chunk[..n.min(room)]);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(str::to_owned).to_vec()
    }

    #[tokio::test]
    async fn a_command_says_what_it_printed_or_why_it_failed() {
        let second = Duration::from_secs(10);
        let said = run(
            &shell("echo {server} is {fault}"),
            &[("server", "two"), ("fault", "hung")],
            second,
        )
        .await;
        assert_eq!(said.as_deref(), Ok("two is hung"));
        let failed = run(&shell("echo no >&2; exit 3"), &[], second)
            .await
            .unwrap_err();
        assert!(
            failed.contains("exit status: 3") && failed.contains("no"),
            "{failed}"
        );
        assert!(
            run(&["/no/such/program".to_owned()], &[], second)
                .await
                .is_err()
        );
        assert!(run(&[], &[], second).await.is_err());
    }

    #[tokio::test]
    async fn a_command_that_takes_too_long_is_killed() {
        let late = run(&shell("sleep 60"), &[], Duration::from_millis(100))
            .await
            .unwrap_err();
        assert!(late.contains("killed"), "{late}");
    }
}
