//! The laboratory: a sample server with faults on command, loads, a fault relay, and the benchmark's instruments.
//!
//! Used by the demo, the tests and `bench/`. It shares no HTTP code with the proxy, so that a mistake there cannot hide
//! behind the same mistake here.

pub mod http;
pub mod ports;
pub mod server;
pub mod load;
pub mod relay;
pub mod poller;
pub mod origin;
pub mod floor;
pub mod closed;
pub mod bench;
pub mod soak;

use std::io;
use std::time::Duration;

pub use load::{Load, LoadPlan, LoadStats, Shape};
pub use relay::{Relay, RelayFault};
pub use server::{Mode, ServerOptions};

/// Waits, in a thread that has nothing else to do meanwhile.
///
/// # Errors
/// If there is no runtime to be had.
pub fn pause(duration: Duration) -> io::Result<()> {
    evenkeel_runtime::spawn::runtime()?.block_on(async { tokio::time::sleep(duration).await });
    Ok(())
}
