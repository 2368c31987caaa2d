//! Chores that are other programs: soak, fuzz, the benchmark. Cargo is a path given from outside, so that a test can
//! put a program of its own in its place and see what would be run.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::repository::{cargo, metadata};

/// The directory and the cargo for chores.
#[derive(Debug)]
pub struct Chores {
    /// The repository.
    pub root: PathBuf,
    /// The program called `cargo`.
    pub cargo: OsString,
}

/// The root of the repository that this program was built from.
#[must_use]
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

impl Chores {
    /// In this repository, with the cargo that runs us.
    #[must_use]
    pub fn here() -> Self {
        Self {
            root: root(),
            cargo: cargo(),
        }
    }

    /// The soak of `evenkeel-lab` with the released program, reported to `bench/results`. It ends with status 0 only if nothing
    /// leaked, no bytes were mixed up and no server was blamed that did nothing wrong.
    ///
    /// # Errors
    /// If something cannot be built or the soak ended badly.
    pub fn soak(&self, minutes: u32) -> Result<(), String> {
        run(&mut self.cargo(&[
            "build",
            "--release",
            "--package",
            "evenkeel",
            "--package",
            "evenkeel-lab",
        ]))?;
        // The programs themselves and not `cargo run`: sources may change while this goes on.
        let workspace = metadata(&self.cargo, &self.root, "Cargo.toml")?;
        let target = workspace["target_directory"]
            .as_str()
            .ok_or("cargo names no target folder")?;
        let programs = Path::new(target).join("release");
        let commit = commit(&self.root);
        let mut soak = Command::new(programs.join("evenkeel-lab"));
        soak.arg("soak")
            .arg("--program")
            .arg(programs.join("evenkeel"))
            .args(["--minutes", &minutes.to_string(), "--commit", &commit])
            .args(["--report", &format!("bench/results/soak-{commit}.txt")]);
        run(soak.current_dir(&self.root))
    }

    /// A healthy life at length: no restart, and at most one false alarm. Says of which commit, since what it prints is kept.
    ///
    /// # Errors
    /// If a server was restarted, or there were more alarms.
    pub fn healthy(&self, minutes: u32) -> Result<(), String> {
        self.describe();
        let mut test = self.cargo(&["test", "--package", "evenkeel", "--test", "healthy"]);
        test.args(["--", "--nocapture"]);
        run(test.env("EVENKEEL_HEALTHY_MINUTES", minutes.to_string()))
    }

    /// A healthy life in virtual time, so many days of it; what came of it is reported to `bench/results`.
    ///
    /// # Errors
    /// If a server was restarted without an order, there were more alarms than one, or the report cannot be written.
    pub fn life(&self, days: u32) -> Result<(), String> {
        let mut test = self.cargo(&["test", "--package", "evenkeel-fault"]);
        test.args(["--test", "stories", "a_healthy_life", "--", "--nocapture"]);
        test.env("EVENKEEL_LONG", days.to_string());
        self.report("life", &mut test, "days in virtual")
    }

    /// The times from faults of real processes to their verified repair; reported to `bench/results`, also if one was too long.
    ///
    /// # Errors
    /// If one was too long or not what the incident says, or the report cannot be written.
    pub fn restore(&self, rounds: u32) -> Result<(), String> {
        let mut test = self.cargo(&["test", "--package", "evenkeel", "--test", "restore"]);
        test.args(["--", "--nocapture"]);
        test.env("EVENKEEL_RESTORE_ROUNDS", rounds.to_string());
        self.report("restore", &mut test, "restored: ")
    }

    /// So many reloads of the released program under load, and as many with 10,000 servers, one after the other; what came of them is
    /// reported to `bench/results`.
    ///
    /// # Errors
    /// If a request failed, a stream was closed, something piled up, a reload took too long, or the report cannot be written.
    pub fn reloads(&self, number: u32) -> Result<(), String> {
        let mut test = self.cargo(&["test", "--release", "--package", "evenkeel"]);
        test.args([
            "--test",
            "reloads",
            "--",
            "--nocapture",
            "--test-threads",
            "1",
        ]);
        test.env("EVENKEEL_RELOADS", number.to_string());
        self.report("reloads", &mut test, " reloads ")
    }

    /// Runs a test and writes those of its lines that hold `mark` to a file of `bench/results` which names the commit.
    fn report(&self, name: &str, test: &mut Command, mark: &str) -> Result<(), String> {
        let commit = commit(&self.root);
        test.stderr(Stdio::inherit());
        let output = test
            .output()
            .map_err(|error| format!("{test:?}: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let lines = text.lines().filter(|line| line.contains(mark));
        let lines: Vec<String> = lines
            .map(|line| format!("commit {commit}: {line}\n"))
            .collect();
        if output.status.success() && lines.is_empty() {
            return Err(format!("{test:?} said nothing of {mark:?}"));
        }
        let report = format!("bench/results/{name}-{commit}.txt");
        if !lines.is_empty() {
            std::fs::write(self.root.join(&report), lines.concat())
                .map_err(|error| format!("{report}: {error}"))?;
        }
        if !output.status.success() {
            return Err(format!("{test:?}: {}\n{text}", output.status));
        }
        Ok(())
    }

    /// The race of POSTs with real uvicorn and gunicorn that close idle connections after a second, at length: three runs of 1,500 with
    /// each. Says of which commit, since what it prints is kept.
    ///
    /// # Errors
    /// If a request failed, or the servers do not exist.
    pub fn keepalive(&self) -> Result<(), String> {
        if !self.root.join(".ci/python/uvicorn").is_dir() {
            return Err("uvicorn and gunicorn are not there; `.ci/setup` brings them".to_owned());
        }
        self.describe();
        let mut test = self.cargo(&["test", "--package", "evenkeel-proxy"]);
        test.args(["--test", "python_servers", "--", "--test-threads", "1"]);
        run(test.env("EVENKEEL_KEEPALIVE_AT_LENGTH", "1"))
    }

    /// Tail latency beside a bad server, and recovery from an overload, with real sockets and real time. They need a quiet machine,
    /// which is why they are no tests.
    ///
    /// # Errors
    /// If a card is not good enough.
    pub fn scorecards(&self) -> Result<(), String> {
        run(&mut self.cargo(&["bench", "--package", "evenkeel-proxy", "--bench", "tail"]))?;
        run(&mut self.cargo(&[
            "bench",
            "--package",
            "evenkeel-proxy",
            "--bench",
            "metastable",
        ]))
    }

    /// Each fuzz target for its share of the minutes, from the seeds of the codec's tests.
    ///
    /// # Errors
    /// If a target failed, or cargo-fuzz is not installed.
    pub fn fuzz(&self, minutes: u32) -> Result<(), String> {
        let folder = self.root.join("fuzz");
        let mut ask = self.cargo(&["fuzz", "--version"]);
        let there = ask.stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !there.is_ok_and(|status| status.success()) {
            return Err("cargo-fuzz is not there; `cargo install cargo-fuzz` brings it".to_owned());
        }
        let targets = self.fuzz_targets()?;
        let share = 60 * u64::from(minutes) / (targets.len() as u64).max(1);
        let seconds = format!("-max_total_time={}", share.max(1)); // 0 would be for ever
        run(self
            .cargo(&["run", "--quiet", "--example", "seeds"])
            .current_dir(&folder))?;
        for target in targets {
            let mut fuzz = self.cargo(&["fuzz", "run", "-s", "none", &target, "--", &seconds]);
            run(fuzz
                .args(["-dict=http.dict", "-max_len=1024"])
                .current_dir(&folder))?;
        }
        Ok(())
    }

    /// A script of the repository with the arguments given.
    ///
    /// # Errors
    /// If it cannot be started or ends badly.
    pub fn script(&self, script: &str, arguments: &[String]) -> Result<(), String> {
        let mut command = Command::new(self.root.join(script));
        run(command.args(arguments).current_dir(&self.root))
    }

    /// Prints which commit this is.
    fn describe(&self) {
        let mut describe = Command::new("git");
        describe.args(["describe", "--always", "--dirty", "--exclude", "*"]);
        // Without git there is no commit to be named.
        run(describe.current_dir(&self.root)).ok();
    }

    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.cargo);
        command.args(arguments).current_dir(&self.root);
        command
    }

    /// The programs of the fuzz package, in the order of its manifest.
    fn fuzz_targets(&self) -> Result<Vec<String>, String> {
        let value = metadata(&self.cargo, &self.root, "fuzz/Cargo.toml")?;
        let targets = value["packages"][0]["targets"]
            .as_array()
            .ok_or("fuzz has no targets")?;
        let programs = targets.iter().filter(|target| target["kind"][0] == "bin");
        Ok(programs
            .filter_map(|target| Some(target["name"].as_str()?.to_owned()))
            .collect())
    }
}

/// The short name of the commit that is checked out, "unknown" where there is none.
fn commit(root: &Path) -> String {
    let output = Command::new("git")
        .args(["rev-parse", "--short", "HEAD"])
        .current_dir(root)
        .stderr(Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        Ok(_) | Err(_) => "unknown".to_owned(),
    }
}

/// Its output is ours; anything but status 0 is an error.
fn run(command: &mut Command) -> Result<(), String> {
    let status = command
        .status()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{command:?}: {status}"))
    }
}
