//! Answering DNS: the names of services, with the servers that take traffic now.
//!
//! An authoritative server for a few configured names, and nothing else: no recursion, no cache, no zone files. Which
//! servers there are, in which order, is asked of the program ([`Servers`]); here is what a DNS server owes its clients.

mod limit;
mod zone;
mod answer;
mod count;
mod serve;
#[cfg(test)]
mod tests;

pub use count::DnsCounters;
pub use serve::{Bound, Listener, bind, serve};
pub use zone::{DnsName, DnsOptions, Found, Servers};
