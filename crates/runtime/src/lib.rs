//! What every part with I/O needs from the machine: the one real clock, threads that run a future, listening sockets.
//!
//! Apart from everything else so that no other file reads a clock or starts a thread by itself.

pub mod clock;
pub mod spawn;
pub mod listen;

pub use clock::Clock;
pub use listen::listen;
