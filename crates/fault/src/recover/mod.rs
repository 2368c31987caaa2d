//! Recovery: the actions for a fault, what forbids them, and the second check of each decision.

mod playbooks;
mod guard;
mod repairs;
mod plan;
mod measure;
mod success;

pub use guard::{Capacity, serves_nothing};
pub(crate) use guard::{KEEP_SERVING, UNMANAGED};
pub use measure::{MeasureFacts, check_measure};
pub use plan::{
    ActionPlan, Author, CheckedPlan, RecentActions, ServerFacts, ServiceFacts, Veto, check,
};
pub use playbooks::{Situation, playbook};
pub use repairs::{Allowance, Repairs, ServerChange};
pub use success::{ActionTries, SuccessRate, SuccessRates, demote_costly};
