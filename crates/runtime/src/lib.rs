//! What every part with I/O needs from the machine: the real clock, threads and tasks that survive panics, listening
//! sockets, and log output that never blocks.
//!
//! No other file reads a clock or starts a thread by itself.

pub mod clock;
pub mod contain;
pub mod spawn;
pub mod listen;
pub mod socket_file;
pub mod lines;
pub mod descriptors;
pub mod machine;

pub use clock::Clock;
pub use contain::{Panicked, catch_panic};
pub use lines::{LineLimits, LineQueue};
pub use listen::listen;
pub use spawn::{TaskEntry, Tasks};
