//! Recovery: which actions a fault gets, what forbids them, and the second check of what was decided.

mod playbooks;
mod guard;
mod repairs;
mod plan;
mod success;

pub use guard::{Capacity, serves_nothing};
pub(crate) use guard::{KEEP_SERVING, UNMANAGED};
pub use plan::{Author, Checked, Lately, Plan, ServerFacts, ServiceFacts, Veto, check};
pub use playbooks::{Situation, playbook};
pub use repairs::{Allowance, Change, Repairs};
pub use success::{SuccessRate, SuccessRates, Tries, put_off};
