#![doc = include_str!("../README.md")]

pub mod policy;
pub mod server;
pub mod pool;
mod survey;
mod intended;
mod typical;
mod turn;
mod policies;
mod key;
pub mod picker;

pub use key::key;
pub use picker::{Pick, PickReason, Picker};
pub use policy::{BalanceOptions, Policy};
pub use pool::{Member, Pool};
pub use server::{ServerState, Standing};
