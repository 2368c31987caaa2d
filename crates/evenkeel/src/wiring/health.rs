//! The health of evenkeel itself, as reported by `/health/live` and `/health/ready`.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_proxy::ServiceEntry;

use super::now::LiveBackend;

/// A control loop that has not turned for so long has stopped.
const SILENCE: Duration = Duration::from_secs(10);

impl LiveBackend {
    /// # Errors
    /// The part that failed and could not be restarted.
    pub(super) fn check_alive(&self) -> Result<(), String> {
        self.state.all_workers_run()?;
        if let Some(task) = self.tasks.down() {
            return Err(format!("{task} cannot be started again: see the log"));
        }
        if self.incident_store.health().lost {
            return Err(
                "the incident store thread has died because of a bug in evenkeel".to_owned(),
            );
        }
        let silent = self.heartbeat.silent_for(self.clock.now());
        if silent < SILENCE {
            return Ok(());
        }
        let seconds = silent.as_secs();
        Err(format!(
            "the control loop has been stalled for {seconds} s: faults are not repaired"
        ))
    }

    /// # Errors
    /// Why no client should be sent here.
    pub(super) fn check_ready(&self) -> Result<(), String> {
        if *self.draining.borrow() {
            return Err("stopping".to_owned());
        }
        let now = self.clock.now();
        let serves = |entry: &Arc<ServiceEntry>| entry.servers().pool().in_service(now) > 0;
        let services = self.state.services();
        if services.is_empty() || services.iter().any(serves) {
            Ok(())
        } else {
            Err("no server of any service is in service".to_owned())
        }
    }
}
