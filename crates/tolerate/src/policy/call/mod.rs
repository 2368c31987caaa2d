//! One call through a policy: its attempts, one after the other or hedged, until one of them succeeds or there is a reason to stop.
//!
//! An attempt is admitted in the one order that works: deadline, throttle, picker, breaker of the picked server, rate, limit with
//! its queue.
//!
//! - The throttle comes first, because it is about the service as a whole; the breaker after the picker, because it is per server:
//!   a picker is asked again where the breaker rejects.
//! - The rate comes before the limit, since an attempt that waits for a token must hold no slot; the limit comes last, since a
//!   rejected attempt must take no slot.
//! - A slot is held for an attempt and not for a call: waiting between attempts loads nobody.
//! - An attempt that waits releases its breaker's permit and asks again after the wait: the server may have failed meanwhile, and
//!   a trial that waits would keep others from trying.
//!
//! [`execution`] and [`admission`] decide and never wait. The rest waits, for tasks or for threads.

mod prepared;
mod execution;
mod admission;
#[cfg(feature = "async")]
mod wait_async;
#[cfg(feature = "async")]
mod round;
#[cfg(feature = "async")]
mod run_async;
#[cfg(feature = "blocking")]
mod run_blocking;

pub use prepared::PreparedCall;
