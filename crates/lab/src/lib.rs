//! The laboratory: a sample server with faults on command, loads, a fault relay, and the benchmark's instruments.
//!
//! Used by the demo, the tests and `bench/`. It shares no HTTP code with the proxy, so that a bug there cannot be
//! masked by the same bug here.

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

pub use load::{LoadPlan, LoadStats, OpenLoad, RequestMix};
pub use relay::{FaultRelay, RelayFault};
pub use server::{SampleServerOptions, ServerMode};

/// Waits, in a thread that has nothing else to do meanwhile.
///
/// # Errors
/// If there is no runtime to be had.
pub fn pause(duration: Duration) -> io::Result<()> {
    evenkeel_runtime::spawn::runtime()?.block_on(async { tokio::time::sleep(duration).await });
    Ok(())
}
