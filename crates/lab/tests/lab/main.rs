//! The laboratory with real sockets and processes.

#[cfg(test)]
mod common;
#[cfg(test)]
mod server;
#[cfg(test)]
mod load;
#[cfg(test)]
mod relay;
#[cfg(test)]
mod poller;
#[cfg(test)]
mod bench;
