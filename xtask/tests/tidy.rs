//! `cargo test` fails where `cargo xtask tidy` would.

use xtask::{chore::root, repository::Repository, tidy};

#[test]
fn the_repository_is_tidy() {
    let repository = Repository::read(&root()).unwrap();
    assert!(repository.files.len() > 100, "git lists the files");
    assert!(repository.packages.len() > 10, "cargo lists the crates");
    let violations = tidy::check(&repository);
    let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}
