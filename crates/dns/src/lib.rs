//! A DNS server for the names of services, which answers with the servers that take traffic now.
//!
//! An authoritative server for a few configured names: no recursion, no cache, no zone files. The program provides the
//! servers and their order ([`Servers`]); this crate implements the protocol.

mod limit;
mod zone;
mod answer;
mod count;
mod serve;
#[cfg(test)]
mod tests;

pub use count::DnsCounters;
pub use serve::{BoundAddress, DnsListener, DnsListeners, bind, serve};
pub use zone::{DnsName, DnsOptions, ServerRecord, Servers};
