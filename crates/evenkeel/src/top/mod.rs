//! `evenkeel top`: the current state, refreshed continuously; a screen on a terminal, plain lines elsewhere.
//!
//! One thread polls the admin API, so that keys are handled even while evenkeel responds slowly; [`state`] decides what
//! is shown, [`draw`] and [`plain`] turn that into cells and lines, and only [`terminal`] touches the terminal.

mod draw;
mod fetch;
mod plain;
mod state;
mod terminal;

pub(crate) use fetch::{Fetch, Fetcher, Snapshot};
pub(crate) use plain::print_all;
pub(crate) use terminal::show;
