//! The chores run the right commands, with a fake cargo that only records its arguments.

#![expect(clippy::unwrap_used, reason = "a test that cannot prepare has failed")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use xtask::chore::Chores;

/// Called in the root or in fuzz/. Fails for what the file `fails` holds; answers `metadata` from a file.
const CARGO: &str = r#"#!/bin/sh
root=${PWD%/fuzz}
echo "$PWD|$*" | sed "s|^$root|.|" >>"$root/calls"
if [ -s "$root/fails" ] && echo "$*" | grep -qf "$root/fails"; then exit 1; fi
if [ "$1" = metadata ]; then cat "$root/metadata.json"; fi
if [ "$EVENKEEL_RELOADS" = 7 ]; then echo "7 reloads under load"; echo "ok"; echo "10000 servers, 7 reloads that change one"; fi
if [ "$EVENKEEL_LONG" = 9 ]; then echo "9 days in virtual time: all well"; fi
if [ "$EVENKEEL_RESTORE_ROUNDS" = 9 ]; then printf 'running\nrestored: killed\nrestored: hangs\n'; fi
if [ "$EVENKEEL_RESTORE_ROUNDS" = 8 ]; then echo "restored: too late"; exit 1; fi
"#;

/// Stands for the laboratory: fails if the file `fails` names it.
const LAB: &str = r#"#!/bin/sh
echo "lab|$*" >>calls
! grep -q lab fails
"#;

const METADATA: &str = r#"{"target_directory": "TARGET", "packages": [{"targets": [
  {"name": "one", "kind": ["bin"]}, {"name": "seeds", "kind": ["example"]}, {"name": "two", "kind": ["bin"]}
]}]}"#;

/// Written once, before any test starts a program: a file that is open for writing cannot be run.
static PROGRAMS: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chores");
    fs::create_dir_all(folder.join("release")).unwrap();
    for (name, text) in [("cargo", CARGO), ("release/evenkeel-lab", LAB)] {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
});

fn chores(test: &str) -> Chores {
    let root = PROGRAMS.join(test);
    fs::create_dir_all(root.join("fuzz")).unwrap();
    for name in ["calls", "fails"] {
        fs::write(root.join(name), "").unwrap();
    }
    let target = PROGRAMS.to_str().unwrap();
    fs::write(
        root.join("metadata.json"),
        METADATA.replace("TARGET", target),
    )
    .unwrap();
    Chores {
        root,
        cargo: PROGRAMS.join("cargo").into(),
    }
}

fn calls(chores: &Chores) -> Vec<String> {
    let text = fs::read_to_string(chores.root.join("calls")).unwrap();
    text.lines()
        .filter(|line| !line.contains("|metadata"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn fuzz_shares_the_minutes_among_the_targets() {
    let chores = chores("fuzz-shares");
    assert_eq!(chores.fuzz(3), Ok(()));
    assert_eq!(
        calls(&chores),
        [
            ".|fuzz --version",
            "./fuzz|run --quiet --example seeds",
            "./fuzz|fuzz run -s none one -- -max_total_time=90 -dict=http.dict -max_len=1024",
            "./fuzz|fuzz run -s none two -- -max_total_time=90 -dict=http.dict -max_len=1024",
        ]
    );
}

#[test]
fn fuzz_says_how_to_get_cargo_fuzz() {
    let chores = chores("fuzz-absent");
    fs::write(chores.root.join("fails"), "--version\n").unwrap();
    assert!(
        chores
            .fuzz(1)
            .unwrap_err()
            .contains("cargo install cargo-fuzz")
    );
}

#[test]
fn fuzz_ends_with_the_target_that_failed() {
    let chores = chores("fuzz-fails");
    fs::write(chores.root.join("fails"), "none one\n").unwrap();
    assert!(chores.fuzz(1).unwrap_err().contains("one"));
    assert_eq!(calls(&chores).len(), 3, "the second target is not run");
}

#[test]
fn keepalive_runs_the_test_of_real_servers_if_they_are_there() {
    let chores = chores("keepalive");
    fs::remove_dir_all(chores.root.join(".ci")).ok();
    assert!(chores.keepalive().unwrap_err().contains(".ci/setup"));
    fs::create_dir_all(chores.root.join(".ci/python/uvicorn")).unwrap();
    assert_eq!(chores.keepalive(), Ok(()));
    assert_eq!(
        calls(&chores),
        [".|test --package evenkeel-proxy --test python_servers -- --test-threads 1"]
    );
}

#[test]
fn soak_builds_the_release_and_runs_the_laboratory() {
    let chores = chores("soak");
    assert_eq!(chores.soak(7), Ok(()));
    let calls = calls(&chores);
    assert_eq!(
        calls[0],
        ".|build --release --package evenkeel --package evenkeel-lab"
    );
    let program = PROGRAMS.join("release/evenkeel");
    let expected = format!(
        "lab|soak --program {} --minutes 7 --commit",
        program.display()
    );
    assert!(calls[1].starts_with(&expected), "{calls:?}");
    assert!(calls[1].contains("--report bench/results/soak-"));
}

#[test]
fn scorecards_are_benchmarks_and_end_with_the_first_that_is_not_good_enough() {
    let chores = chores("scorecards");
    assert_eq!(chores.scorecards(), Ok(()));
    let bench = |name: &str| format!(".|bench --package evenkeel-proxy --bench {name}");
    assert_eq!(calls(&chores), [bench("tail"), bench("metastable")]);
    fs::write(chores.root.join("fails"), "tail\n").unwrap();
    assert!(chores.scorecards().unwrap_err().contains("tail"));
    assert_eq!(calls(&chores).len(), 3);
}

#[test]
fn a_soak_that_found_something_is_an_error() {
    let chores = chores("soak-fails");
    fs::write(chores.root.join("fails"), "lab\n").unwrap();
    assert!(chores.soak(1).unwrap_err().contains("soak"));
}

#[test]
fn scripts_get_their_arguments_and_their_status_counts() {
    let chores = chores("script");
    let arguments = ["--rounds".to_owned(), "two words".to_owned()];
    assert_eq!(chores.script("../cargo", &arguments), Ok(()));
    assert_eq!(calls(&chores), [".|--rounds two words"]);
    fs::write(chores.root.join("fails"), "--rounds\n").unwrap();
    assert!(chores.script("../cargo", &arguments).is_err());
    assert!(chores.script("none", &[]).unwrap_err().contains("none"));
}

#[test]
fn reloads_are_reported_with_their_commit() {
    let chores = chores("reloads");
    fs::create_dir_all(chores.root.join("bench/results")).unwrap();
    assert_eq!(chores.reloads(7), Ok(()));
    assert_eq!(
        calls(&chores),
        [".|test --release --package evenkeel --test reloads -- --nocapture --test-threads 1"]
    );
    let mut reports = fs::read_dir(chores.root.join("bench/results")).unwrap();
    let report = fs::read_to_string(reports.next().unwrap().unwrap().path()).unwrap();
    let lines: Vec<&str> = report.lines().collect();
    assert_eq!(lines.len(), 2, "{report}");
    assert!(
        lines.iter().all(|line| line.starts_with("commit ")),
        "{report}"
    );
    assert!(chores.reloads(8).unwrap_err().contains("said nothing"));
}

#[test]
fn a_life_is_reported_with_its_commit() {
    let chores = chores("life");
    fs::create_dir_all(chores.root.join("bench/results")).unwrap();
    assert_eq!(chores.life(9), Ok(()));
    assert_eq!(
        calls(&chores),
        [".|test --package evenkeel-fault --test stories a_healthy_life -- --nocapture"]
    );
    let mut reports = fs::read_dir(chores.root.join("bench/results")).unwrap();
    let report = fs::read_to_string(reports.next().unwrap().unwrap().path()).unwrap();
    assert!(report.starts_with("commit "), "{report}");
    assert!(
        report.ends_with(": 9 days in virtual time: all well\n"),
        "{report}"
    );
    assert!(chores.life(8).unwrap_err().contains("said nothing"));
    fs::write(chores.root.join("fails"), "stories\n").unwrap();
    assert!(chores.life(9).unwrap_err().contains("stories"));
}

#[test]
fn times_to_restore_are_reported_with_their_commit_also_if_they_are_too_long() {
    let chores = chores("restore");
    let results = chores.root.join("bench/results");
    fs::create_dir_all(&results).unwrap();
    let report = || {
        let mut reports = fs::read_dir(&results).unwrap();
        fs::read_to_string(reports.next().unwrap().unwrap().path()).unwrap()
    };
    assert_eq!(chores.restore(9), Ok(()));
    assert_eq!(
        calls(&chores),
        [".|test --package evenkeel --test restore -- --nocapture"]
    );
    let text = report();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("commit ") && lines[0].ends_with(": restored: killed"));
    assert!(lines[1].ends_with(": restored: hangs") && lines.len() == 2);
    assert!(chores.restore(8).unwrap_err().contains("too late"));
    assert!(report().ends_with(": restored: too late\n"));
    assert!(chores.restore(7).unwrap_err().contains("said nothing"));
}
