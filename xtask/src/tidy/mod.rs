//! Rules for the repository's text, one file per kind of rule. Style is enforced by tests: `cargo test` runs these too.

pub mod circles;
pub mod crates;
pub mod dependencies;
pub mod docs;
pub mod examples;
pub mod links;
pub mod metrics;
mod modules;
mod names;
pub mod references;
pub mod source;
mod tokens;
pub mod type_names;
mod violation;
pub mod vocabulary;
pub mod words;

pub use violation::TidyViolation;

use crate::repository::Repository;

/// Every violation of every rule, by file and line.
#[must_use]
pub fn check(repository: &Repository) -> Vec<TidyViolation> {
    let mut found = Vec::new();
    found.extend(circles::check(repository));
    found.extend(crates::check(repository));
    found.extend(dependencies::check(repository));
    found.extend(examples::check(repository));
    found.extend(links::check(repository));
    found.extend(metrics::check(repository));
    found.extend(references::check(repository));
    found.extend(type_names::check(repository));
    for file in &repository.files {
        found.extend(docs::check(&file.path, &file.text));
        found.extend(source::check(&file.path, &file.text));
        found.extend(vocabulary::check(&file.path, &file.text));
        found.extend(words::check(&file.path, &file.text));
    }
    found.sort();
    found
}
