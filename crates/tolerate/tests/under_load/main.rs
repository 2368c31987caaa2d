//! Policies with many callers at once, in virtual time: what is lost when some of them give up, when a server fails for minutes, when
//! more comes than can be done, and when options are replaced meanwhile.
#![cfg(all(feature = "async", feature = "blocking"))]
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[path = "../common/mod.rs"]
mod common;
mod queue;
mod rate;
mod replace;
mod throttle;
