//! Changes of servers through the API, while evenkeel runs: checked, applied as a reload is, and kept for the next start if that is
//! wanted.

use std::time::Duration;

use evenkeel_admin::{Order, OrderError, RuntimeChangeView};
use evenkeel_config::change::{
    ChangeNote, NewServer, Overlay, RefusedChange, RequestedChange, RuntimeChange, apply_overlay,
};
use evenkeel_core::metric::Sink;

use super::reload::{ConfigurationInForce, Reloads, RunningConfiguration};

/// How long the store may take to write a change that is to be kept.
const KEEPING: Duration = Duration::from_secs(3);

/// A change of a service's servers, as it was ordered.
#[derive(Debug)]
pub(super) struct ServerChangeOrder<'a> {
    pub(super) service: &'a str,
    pub(super) change: RequestedChange,
    /// Also after a restart.
    pub(super) persist: bool,
    /// The order's name in metrics.
    pub(super) word: &'static str,
}

impl<'a> ServerChangeOrder<'a> {
    /// The change of servers that an order asks for, if it does.
    pub(super) fn of(order: &'a Order) -> Option<Self> {
        let (service, change, persist, word) = match order {
            Order::AddServer {
                service,
                server,
                persist,
            } => {
                let change = RequestedChange::Add(NewServer {
                    name: server.name.clone(),
                    address: server.address.clone(),
                    weight: server.weight,
                    tier: server.tier,
                    max_requests: server.max_requests,
                });
                (service, change, persist, "add-server")
            }
            Order::RemoveServer {
                service,
                server,
                persist,
            } => {
                let server = server.clone();
                let change = RequestedChange::Remove { server };
                (service, change, persist, "remove-server")
            }
            Order::SetWeight {
                service,
                server,
                weight,
                persist,
            } => {
                let (server, weight) = (server.clone(), *weight);
                let change = RequestedChange::Weight { server, weight };
                (service, change, persist, "set-weight")
            }
            Order::SetMaxRequests {
                service,
                server,
                max_requests,
                persist,
            } => {
                let change = RequestedChange::MaxRequests {
                    server: server.clone(),
                    max_requests: *max_requests,
                };
                (service, change, persist, "set-max-requests")
            }
            Order::Drain { .. }
            | Order::Restore { .. }
            | Order::Eject { .. }
            | Order::Restart { .. }
            | Order::Reload { .. }
            | Order::Maintenance { .. }
            | Order::LiftQuarantine { .. }
            | Order::Approve(_)
            | Order::Reject(_)
            | Order::Close(_) => return None,
        };
        Some(Self {
            service,
            change,
            persist: *persist,
            word,
        })
    }
}

impl Reloads {
    /// Makes a change: the whole of it, or nothing. Blocks. Says what was changed.
    ///
    /// # Errors
    /// Why nothing was changed.
    pub(super) fn change(
        &self,
        order: &ServerChangeOrder<'_>,
        note: ChangeNote,
    ) -> Result<String, OrderError> {
        let mut running = self.running();
        let before = self.in_force();
        let asked = (order.service, &order.change);
        let bound = before.settings.common_bound(order.service);
        let file = &running.file_plan;
        let wanted = before.overlay.with(file, asked, bound, note.clone());
        let (overlay, server) = wanted.map_err(|why| refused(&why))?;
        let kept = if order.persist {
            self.check_keeps()?;
            let kept =
                before
                    .kept
                    .with_kept(file, (order.service, &order.change, &server), bound, note);
            kept.map_err(|why| {
                OrderError::Refused(format!("this cannot be kept over a restart: {why}"))
            })?
        } else {
            before.kept.clone()
        };
        let said = self.change_to(&mut running, &before, overlay, kept)?;
        drop(running);
        let after = self.in_force();
        let lasts = lasts(&after, order, &server);
        let unwritten = order.persist && !self.write_kept(KEEPING);
        let unwritten = if unwritten {
            "; the incident store has not written it yet, and tries again"
        } else {
            ""
        };
        Ok(match said.is_empty() {
            true => format!("it is so already: nothing was changed ({lasts}{unwritten})"),
            false => format!("{} ({lasts}{unwritten})", said.join("; ")),
        })
    }

    /// Has the plan of the file with these changes run, and says what is different then.
    fn change_to(
        &self,
        running: &mut RunningConfiguration,
        before: &ConfigurationInForce,
        overlay: Overlay,
        kept: Overlay,
    ) -> Result<Vec<String>, OrderError> {
        let planned = apply_overlay(running.file_plan.clone(), &overlay).plan;
        self.apply(running, planned).map_err(OrderError::Failed)?;
        let after = ConfigurationInForce {
            settings: before.settings.clone(),
            overlay,
            kept,
        };
        let said = before.lines_to(&after);
        self.publish(after);
        Ok(said)
    }

    /// Whether something can be kept for the next start.
    fn check_keeps(&self) -> Result<(), OrderError> {
        if self.plan().store.file.is_none() {
            let why = "nothing can be kept over a restart: the incident store is in memory, see `url` of [store]";
            return Err(OrderError::Refused(why.to_owned()));
        }
        self.store_fault().map_or(Ok(()), |why| {
            Err(OrderError::Unavailable(format!(
                "nothing can be kept over a restart now, since the incident store cannot be written: {why}"
            )))
        })
    }

    /// What was changed at run time: what holds now, and what only holds after a restart.
    pub(super) fn runtime_changes(&self) -> Vec<RuntimeChangeView> {
        let state = self.in_force();
        let now = state.overlay.changes();
        let now = now.iter().map(|change| {
            let kept = state.kept.has(change);
            view(change, (true, kept))
        });
        let later = state.kept.changes();
        let later = later.iter().filter(|change| !state.overlay.has(change));
        let later = later.map(|change| view(change, (false, true)));
        now.chain(later).collect()
    }

    /// How many changes hold that the file does not have.
    pub(super) fn collect_runtime_changes(&self, sink: &mut dyn Sink) {
        let number = self.in_force().overlay.changes().len();
        sink.gauge(
            "evenkeel_runtime_changes",
            "Changes of servers made at run time that hold and are not in the file.",
            &[],
            number as f64,
        );
    }
}

/// For how long what was changed holds.
fn lasts(
    after: &ConfigurationInForce,
    order: &ServerChangeOrder<'_>,
    server: &str,
) -> &'static str {
    let of_server = |overlay: &Overlay| -> Vec<RuntimeChange> {
        let mut changes = overlay.changes();
        changes.retain(|change| change.service == order.service && change.server == server);
        changes
    };
    let (now, later) = (of_server(&after.overlay), of_server(&after.kept));
    let is_same = now.iter().all(|change| after.kept.has(change))
        && later.iter().all(|change| after.overlay.has(change));
    match is_same {
        true if now.is_empty() && !order.persist => "as the file says",
        true => "kept over restarts",
        false => "until evenkeel is restarted",
    }
}

fn refused(why: &RefusedChange) -> OrderError {
    let text = why.to_string();
    match why {
        RefusedChange::BadName(_) | RefusedChange::OutOfRange(..) | RefusedChange::NoPort => {
            OrderError::Invalid(text)
        }
        RefusedChange::UnknownService(_)
        | RefusedChange::UnknownServer(_)
        | RefusedChange::Taken(_)
        | RefusedChange::WasRemoved(..)
        | RefusedChange::OtherTier(..)
        | RefusedChange::TooMany(_)
        | RefusedChange::FromDns(_)
        | RefusedChange::Supervised(_)
        | RefusedChange::LastServer(_) => OrderError::Refused(text),
    }
}

fn view(change: &RuntimeChange, (in_force, kept): (bool, bool)) -> RuntimeChangeView {
    RuntimeChangeView {
        service: change.service.clone(),
        server: change.server.clone(),
        change: change.kind.word().to_owned(),
        text: change.to_string(),
        at: change.note.at.clone(),
        by: change.note.by.clone(),
        in_force,
        kept,
    }
}
