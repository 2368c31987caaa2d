//! What acts on servers and looks at them: child processes under a guardian, probes, examinations, commands.
//!
//! Orders are carried out and facts reported; whether something is a fault, and what is to be done, is decided elsewhere.

pub mod guardian;
mod count;
mod process;
mod program;
mod previous;
mod stand_in;
mod roll_back;
mod child;
mod children;
mod lifecycle;
mod listener;
mod probe;
mod examine;
mod command;
mod supervisor;

pub use supervisor::Supervisor;
