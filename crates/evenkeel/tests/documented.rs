//! The commands in the documentation exist: each is called with `--help` appended, which executes nothing but fails on
//! an unknown command or option.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::call;
use tempfile::TempDir;

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut documents = vec![root.join("README.md")];
    let mut folders = vec![root.join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                documents.push(path);
            }
        }
    }
    documents
}

/// The lines of `sh` blocks that call evenkeel.
fn commands(text: &str) -> Vec<String> {
    let mut is_shell = false;
    let mut commands = Vec::new();
    for line in text.lines() {
        match line.trim_start().strip_prefix("```") {
            Some(language) => is_shell = language == "sh",
            None if is_shell && line.starts_with("evenkeel ") => {
                let ends = [" #", " &", " |"].map(|end| line.find(end).unwrap_or(line.len()));
                let end = ends.into_iter().min().unwrap();
                commands.push(line.get(..end).unwrap().to_owned());
            }
            None => {}
        }
    }
    commands
}

/// The words of a command; what stands in double quotes is one.
fn words(command: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for (index, piece) in command.split('"').enumerate() {
        if index % 2 == 1 {
            words.push(piece);
        } else {
            words.extend(piece.split_whitespace());
        }
    }
    words
}

#[test]
fn every_command_in_the_documentation_is_understood() {
    let folder = TempDir::new().unwrap();
    let mut tried = 0;
    for path in documents() {
        for command in commands(&fs::read_to_string(&path).unwrap()) {
            let mut arguments = words(&command);
            arguments.remove(0);
            arguments.push("--help");
            let called = call(folder.path(), &arguments);
            let place = path.display();
            assert_eq!(called.status, Some(0), "{place}: {command}\n{}", called.err);
            tried += 1;
        }
    }
    assert!(tried > 20, "only {tried} commands were found");
}

#[test]
fn a_command_that_does_not_exist_is_found() {
    let folder = TempDir::new().unwrap();
    for wrong in [
        &["heal", "--help"][..],
        &["status", "--everything", "--help"],
    ] {
        assert_eq!(call(folder.path(), wrong).status, Some(2), "{wrong:?}");
    }
    assert_eq!(
        commands("```sh\nevenkeel check    # all\n```\nevenkeel no\n"),
        ["evenkeel check   "]
    );
    assert_eq!(
        words("drain a/b --reason \"a disk\""),
        ["drain", "a/b", "--reason", "a disk"]
    );
}
