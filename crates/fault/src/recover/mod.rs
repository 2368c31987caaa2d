//! Recovery: which actions a fault gets, and what forbids them.

mod playbooks;
mod guard;
mod repairs;

pub use guard::{Capacity, serves_nothing};
pub(crate) use guard::{KEEP_SERVING, UNMANAGED};
pub use playbooks::{Situation, playbook};
pub use repairs::{Allowance, Change, Repairs};
