//! `evenkeel top`: what runs, again and again, as a picture on a terminal and as plain lines elsewhere.
//!
//! One thread asks (so that a key is answered while an evenkeel is slow to), [`state`] decides what is shown, [`draw`] and
//! [`plain`] turn that into cells and lines, and only [`terminal`] touches the terminal.

mod draw;
mod fetch;
mod plain;
mod state;
mod terminal;

pub(crate) use fetch::{Ask, Asker, Snapshot};
pub(crate) use plain::print_all;
pub(crate) use terminal::show;
