//! The chores of the repository, behind `cargo xtask`. A library, so that `cargo test` runs `tidy` as well.
//!
//! `tidy` decides over text alone; `repository` fetches that text; `chore` starts other programs; `ask` reads the
//! command line. Nothing of evenkeel is used here: a repository that does not compile can still be checked.

pub mod ask;
pub mod chore;
pub mod repository;
pub mod tidy;
