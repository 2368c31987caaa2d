//! What every part with I/O needs from the machine: the one real clock, threads and tasks that outlive their panics,
//! listening sockets, and lines that are written without waiting.
//!
//! Apart from everything else so that no other file reads a clock or starts a thread by itself.

pub mod clock;
pub mod contain;
pub mod spawn;
pub mod listen;
pub mod lines;
pub mod descriptors;
pub mod machine;

pub use clock::Clock;
pub use contain::{Panicked, catch_panic};
pub use lines::{LineLimits, LineQueue};
pub use listen::listen;
pub use spawn::{TaskEntry, Tasks};
