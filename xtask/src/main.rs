//! `cargo xtask`: reads what is asked, does it, prints what came out.

use std::{env, io, io::Write, path::Path, process::ExitCode};

use xtask::{
    ask::{Task, USAGE},
    chore::{Chores, root},
    repository::Repository,
    tidy,
};

fn main() -> ExitCode {
    let ask = match Task::read(env::args().skip(1)) {
        Ok(ask) => ask,
        Err(mistake) => return fail(2, &format!("{mistake}\n\n{USAGE}")),
    };
    let chores = Chores::here();
    let done = match ask {
        Task::Help => say(USAGE),
        Task::Tidy => tell_tidy(&root()),
        Task::Keepalive => chores.keepalive(),
        Task::Soak { minutes } => chores.soak(minutes),
        Task::Healthy { minutes } => chores.healthy(minutes),
        Task::Life { days } => chores.life(days),
        Task::Restore { rounds } => chores.restore(rounds),
        Task::Reloads { number } => chores.reloads(number),
        Task::Scorecards => chores.scorecards(),
        Task::Fuzz { minutes } => chores.fuzz(minutes),
        Task::Script { script, arguments } => chores.script(script, &arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => fail(1, &why),
    }
}

fn tell_tidy(root: &Path) -> Result<(), String> {
    let repository = Repository::read(root)?;
    let violations = tidy::check(&repository);
    if violations.is_empty() {
        return say(&format!("tidy: {} files", repository.files.len()));
    }
    let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
    say(&lines.join("\n"))?;
    Err(format!("{} violations", violations.len()))
}

fn say(text: &str) -> Result<(), String> {
    writeln!(io::stdout(), "{text}").map_err(|error| error.to_string())
}

fn fail(status: u8, why: &str) -> ExitCode {
    // Nobody is left to be told if even this cannot be written.
    writeln!(io::stderr(), "error: {why}").ok();
    ExitCode::from(status)
}
