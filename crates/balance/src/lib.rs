#![doc = include_str!("../README.md")]

pub mod policy;
pub mod server;
mod reported;
mod member;
mod key;
mod tables;
mod group;
pub mod pool;
mod marks;
mod survey;
mod intended;
mod typical;
mod turn;
mod policies;
pub mod picker;
mod answer;
mod load;

pub use key::key;
pub use load::{Counted, Weigher};
pub use member::Member;
pub use picker::{NoPick, Pick, PickReason, Picker};
pub use policy::{BalanceOptions, Policy, Subset};
pub use pool::{FAILED_OVER_SHARE, Pool};
pub use reported::Answer;
pub use server::{ServerState, Standing};
pub use tables::next_prime;
