//! Whether evenkeel itself does what it is there for, as `/health/live` and `/health/ready` say it.

use std::time::Duration;

use evenkeel_proxy::ServiceEntry;

use super::now::Now;

/// A control loop that has not turned for so long has stopped.
const SILENCE: Duration = Duration::from_secs(10);

impl Now {
    /// # Errors
    /// Which part does not do what it is there for, although it was to be started again.
    pub(super) fn check_alive(&self) -> Result<(), String> {
        self.state.all_workers_run()?;
        if let Some(task) = self.tasks.down() {
            return Err(format!("{task} cannot be started again: see the log"));
        }
        if self.books.health().lost {
            return Err(
                "the thread of the incident store is lost by a mistake of evenkeel's own"
                    .to_owned(),
            );
        }
        let silent = self.heartbeat.silent_for(self.clock.now());
        if silent < SILENCE {
            return Ok(());
        }
        let seconds = silent.as_secs();
        Err(format!(
            "the control loop has not turned for {seconds} s: faults are not repaired"
        ))
    }

    /// # Errors
    /// Why no client should be sent here.
    pub(super) fn check_ready(&self) -> Result<(), String> {
        if *self.draining.borrow() {
            return Err("stopping".to_owned());
        }
        let now = self.clock.now();
        let serves = |entry: &ServiceEntry| entry.servers().pool().in_service(now) > 0;
        let services = self.state.services();
        if services.is_empty() || services.iter().any(serves) {
            Ok(())
        } else {
            Err("no server of any service is in service".to_owned())
        }
    }
}
