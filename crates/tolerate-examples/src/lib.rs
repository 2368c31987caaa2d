//! `evenkeel-tolerate` around other people's clients: reqwest, hyper, tonic, sqlx, each against a real server on loopback that
//! fails first. They are in `tests/`, so that every test run proves them; what it costs is measured in `benches/`.
//!
//! A crate of its own and without a line of code: these dependencies are heavy, and nothing else needs them.

/// The snippets of the project's README, as tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub mod readme {}
