//! A server for an attempt: whether any may get the request, which one takes it, and the attempt's begin.

use evenkeel_balance::Pick;
use evenkeel_core::{ExactShape, ExposureEvent, Instant};

use super::active::Current;
use super::host::Host;
use super::phase::Phase;
use super::state::Exchange;
use super::step::Step;
use crate::Cause;
use crate::closed::RouteAdmission;
use crate::quarantine::Treatment;
use crate::service::in_flight::InFlight;

/// Where the next attempt goes.
pub(super) struct Selected {
    server: u32,
    in_flight: InFlight,
}

impl<'a> Exchange<'a> {
    /// Whether any server may get the request. Asked before each attempt: what is under way when a quarantine begins, or its route is
    /// closed, is not tried again. Nor is what a late timer brings after its deadline.
    pub(super) fn may_reach_server(
        &mut self,
        now: Instant,
        host: &impl Host<'a>,
    ) -> Result<(), Cause> {
        self.watched = None;
        if self.attempts.deadline().passed(now) {
            return Err(Cause::TotalTimeout);
        }
        let quarantine = &self.service.quarantine;
        if quarantine.is_on() {
            let shape: ExactShape = host.exact_shape();
            match quarantine.treatment(shape, now) {
                Treatment::Usual => {}
                Treatment::Watched => self.watched = Some(Box::new(shape)),
                Treatment::Refused(cause) => return Err(cause),
            }
        }
        let orders = &self.service.orders;
        if !orders.is_on() {
            return Ok(());
        }
        self.service.end_old_orders(now);
        if self.trial.is_some() {
            return Ok(());
        }
        match orders.entry(self.shape, now, self.policies.timeout.attempt) {
            RouteAdmission::Usual => Ok(()),
            RouteAdmission::Trial(trial) => {
                self.trial = Some(trial);
                Ok(())
            }
            RouteAdmission::Refused(cause) => Err(cause),
        }
    }

    /// A server that takes the request now.
    ///
    /// # Errors
    /// [`Cause::QueueFull`] if all have as many as they may.
    pub(super) fn take_server(
        &mut self,
        now: Instant,
        host: &impl Host<'a>,
    ) -> Result<Selected, Cause> {
        let (pick, in_flight) = host.picker(self.service_id, |picker| {
            let (servers, pool) = (&**self.servers, self.servers.pool());
            let first = self.attempts.attempts() == 0;
            let own = self.sticky.filter(|_| first);
            let mut pick: Pick = match own.and_then(|index| picker.sticky_server(pool, now, index))
            {
                Some(pick) => pick,
                None => self.attempts.next_server(picker, pool, now, self.key)?,
            };
            let typical = picker.typical_latency();
            let begin = |pick: Pick| InFlight::begin(servers, pick.index, typical, now);
            let in_flight = match begin(pick) {
                Some(in_flight) => in_flight,
                // Another worker was quicker.
                None => {
                    let busy = [pick.index];
                    let other = self
                        .attempts
                        .other_server(picker, pool, now, self.key, &busy);
                    pick = other.ok_or(Cause::QueueFull)?;
                    begin(pick).ok_or(Cause::QueueFull)?
                }
            };
            Ok::<_, Cause>((pick, in_flight))
        })?;
        host.selected(self.id_of(pick.index), pick);
        Ok(Selected {
            server: pick.index,
            in_flight,
        })
    }

    /// The attempt on the server that was selected begins.
    pub(super) fn begin(&mut self, selected: Selected, now: Instant, host: &impl Host<'a>) -> Step {
        let Selected { server, in_flight } = selected;
        self.current = Some(Current {
            server,
            begun: now,
            in_flight,
            is_connected: false,
        });
        self.phase = Phase::Attempting;
        self.hurried = false;
        self.queued_since = None;
        if let Some(shape) = self.watched.as_deref() {
            host.expose(self.id_of(server), now, *shape, ExposureEvent::Began);
        }
        Step::Attempt(server)
    }
}
