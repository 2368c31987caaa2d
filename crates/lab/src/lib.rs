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

pub use load::{Load, LoadPlan, LoadStats, Shape};
pub use relay::{Relay, RelayFault};
pub use server::{Mode, ServerOptions};
