//! Execution of the keeper's actions by the supervisor, and the time limit of each.

use std::future::Future;
use std::time::Duration;

use evenkeel_config::Plan;
use evenkeel_config::plan::ManagedPlan;
use evenkeel_core::ServerId;
use evenkeel_fault::contract::{ActionOrder, Examination, ProbePace};
use evenkeel_fault::incident::ActionOutcome;
use evenkeel_fault::policy::Action;
use evenkeel_supervise::Supervisor;

use crate::world::ActionExecutor;

/// How long a command of the user's may take.
const COMMAND: Duration = Duration::from_secs(60);
/// How long a process may take to be killed and started again, beyond the time that it has to stop.
const REPLACE: Duration = Duration::from_secs(10);
/// The loop waits a little longer than the supervisor, which knows better why something took too long.
const GRACE: Duration = Duration::from_secs(1);

/// The supervisor as the loop uses it.
#[derive(Debug)]
pub struct SupervisorExecutor {
    supervisor: Supervisor,
}

impl SupervisorExecutor {
    /// Actions by this supervisor.
    #[must_use]
    pub const fn new(supervisor: Supervisor) -> Self {
        Self { supervisor }
    }

    /// How long the work itself may take. A child's own limit is that of its stop: giving up earlier would let it exit
    /// and start while another order begins.
    fn time(&self, order: &ActionOrder) -> Duration {
        match (&order.action, self.supervisor.stop_wait(order.server)) {
            (Action::Restart | Action::Stop, Some(_)) if order.at_once => REPLACE,
            (Action::Restart | Action::Stop, Some(wait)) => wait + REPLACE,
            _ => COMMAND,
        }
    }
}

/// The longest that any order for such a server may take until it is answered.
pub(crate) fn order_limit(managed: &ManagedPlan) -> Duration {
    let work = match managed {
        ManagedPlan::Child(child) => COMMAND.max(child.stop_wait + REPLACE),
        ManagedPlan::Commands { .. } | ManagedPlan::Nothing => COMMAND,
    };
    work + GRACE
}

impl ActionExecutor for SupervisorExecutor {
    fn act(
        &self,
        order: ActionOrder,
    ) -> impl Future<Output = (ActionOutcome, Option<String>)> + Send + 'static {
        let (supervisor, limit) = (self.supervisor.clone(), self.time(&order));
        async move {
            let ended = match &order.action {
                Action::Restart => {
                    let (at_once, reconfigures) = (order.at_once, order.reconfigures);
                    supervisor
                        .restart(order.server, at_once, reconfigures, limit)
                        .await
                }
                Action::Stop => supervisor.stop(order.server, order.at_once, limit).await,
                Action::RollBack => supervisor.roll_back(order.server, limit).await,
                Action::Exec(command) => {
                    let more = [("fault", order.fault.word()), ("incident", &order.incident)];
                    supervisor
                        .run_command(order.server, command, &more, limit)
                        .await
                }
                // These move traffic, wait, or notify an operator: the keeper executes them itself.
                Action::Eject
                | Action::Drain
                | Action::Restore
                | Action::FailOver
                | Action::Shed
                | Action::FallBack
                | Action::Wait(_)
                | Action::Escalate => Ok(String::new()),
            };
            match ended {
                Ok(words) => (
                    ActionOutcome::Done,
                    Some(words).filter(|words| !words.is_empty()),
                ),
                Err(why) => (ActionOutcome::Failed, Some(why)),
            }
        }
    }

    fn examine(
        &self,
        server: ServerId,
        timeout: Duration,
    ) -> impl Future<Output = Examination> + Send + 'static {
        let supervisor = self.supervisor.clone();
        async move { supervisor.examine(server, timeout).await }
    }

    fn verified(&self, server: ServerId) {
        self.supervisor.keep_program(server);
    }

    fn pace(&self, server: ServerId, pace: ProbePace) {
        self.supervisor.set_pace(server, pace);
    }

    fn reload<F>(&self, plan: &Plan, drained: impl Fn(ServerId) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.supervisor.apply(plan, drained);
    }

    fn outdated(&self) -> Vec<ServerId> {
        self.supervisor.outdated()
    }

    fn limit(&self, order: &ActionOrder) -> Duration {
        self.time(order) + GRACE
    }
}
