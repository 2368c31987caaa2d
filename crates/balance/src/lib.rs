#![doc = include_str!("../README.md")]

pub mod policy;
pub mod server;
mod load;
mod answer;
pub mod pool;
mod group;
mod marks;
mod survey;
mod intended;
mod typical;
mod turn;
mod policies;
mod key;
pub mod picker;

pub use answer::Answer;
pub use key::key;
pub use load::{Counted, Weigher};
pub use picker::{NoPick, Pick, PickReason, Picker};
pub use policies::next_prime;
pub use policy::{BalanceOptions, Policy, Subset};
pub use pool::{FAILED_OVER_SHARE, Member, Pool};
pub use server::{ServerState, Standing};
