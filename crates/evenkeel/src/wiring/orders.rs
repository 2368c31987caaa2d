//! Operators' orders: passed to the control loop, and awaited.
//!
//! Runs on the admin API's blocking threads. So few of them wait for orders to finish that the others, which serve the
//! status, are always available.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use evenkeel_admin::{Order, OrderError, OrderProgress};
use evenkeel_config::change::ChangeNote;
use evenkeel_control::OrderRequest;
use evenkeel_core::{Instant, ServerId, ServiceId};
use evenkeel_fault::contract::{OperatorOrder, OrderAnswer};
use evenkeel_fault::maintenance::OrderTerms;

use super::now::LiveBackend;
use super::runtime_changes::ServerChangeOrder;
use crate::period;

/// The control loop says within this time whether it takes an order.
const FIRST_ANSWER: Duration = Duration::from_secs(5);
/// So many orders may be waited for at the same time.
const MOST_WAITING: usize = 16;
/// The interval between two checks whether evenkeel is shutting down or a server has nothing left in flight.
const LOOK: Duration = Duration::from_millis(50);

impl LiveBackend {
    /// Hands an order to the control loop and tells what came of it, at once or within `wait`.
    pub(super) fn carry_out(
        &self,
        order: &Order,
        terms: &OrderTerms,
        wait: Option<Duration>,
    ) -> Result<OrderProgress, OrderError> {
        if let Some(change) = ServerChangeOrder::of(order) {
            return self.change_servers(order, &change, terms);
        }
        match order {
            Order::Reload { check: false } => {
                let done = self.reloads.reload();
                return done.map(OrderProgress::Done).map_err(OrderError::Refused);
            }
            Order::Reload { check: true } => {
                let changes = self.reloads.changes().map_err(OrderError::Refused)?;
                return Ok(OrderProgress::Done(changes.join("\n")));
            }
            _ => {}
        }
        let (operator_order, drained) =
            self.translated(order, terms).map_err(OrderError::Refused)?;
        let text = order.to_string();
        let (answers, told) = channel();
        let request = OrderRequest {
            order: operator_order,
            text: text.clone(),
            answers,
        };
        self.orders.try_send(request).map_err(|_| {
            OrderError::Unavailable("the control loop does not accept orders now".to_owned())
        })?;
        let begun = self.clock.now();
        let silent = || OrderError::Unavailable("the control loop does not respond".to_owned());
        let first = match told.recv_timeout(FIRST_ANSWER) {
            Ok(OrderAnswer::Accepted(text)) => OrderProgress::Accepted(text),
            Ok(last) => OrderProgress::Done(self.last(last)?),
            Err(_) => return Err(silent()),
        };
        let Some(until) = wait.map(|wait| begun + wait) else {
            return Ok(first);
        };
        let _place = WaiterSlot::take(self)?;
        let done = match first {
            OrderProgress::Accepted(_) => self.end_of(&text, &told, until)?,
            OrderProgress::Done(text) => text,
        };
        match drained {
            Some(server) => self.empty(server, &done, until),
            None => Ok(OrderProgress::Done(done)),
        }
    }

    /// Changes the servers of a service. Counted and logged as orders of the control loop are.
    fn change_servers(
        &self,
        order: &Order,
        change: &ServerChangeOrder<'_>,
        terms: &OrderTerms,
    ) -> Result<OrderProgress, OrderError> {
        let note = ChangeNote {
            at: period::rfc3339(self.clock.wall()),
            by: terms.by.clone(),
        };
        let done = self.reloads.change(change, note);
        let outcome = match &done {
            Ok(_) => "done",
            Err(OrderError::Invalid(_) | OrderError::Refused(_)) => "refused",
            Err(OrderError::Failed(_) | OrderError::Unavailable(_) | OrderError::Unfinished(_)) => {
                "failed"
            }
        };
        let text = match &done {
            Ok(text) => text,
            Err(why) => why.text(),
        };
        let by = terms.by.as_deref();
        tracing::info!(%order, outcome, by, "operator's order: {text}");
        self.counters.order(change.word, outcome);
        done.map(OrderProgress::Done)
    }

    fn last(&self, answer: OrderAnswer) -> Result<String, OrderError> {
        match answer {
            OrderAnswer::Done(text) | OrderAnswer::Accepted(text) => Ok(text),
            OrderAnswer::Refused(why) => Err(OrderError::Refused(why)),
            OrderAnswer::Failed(why) => Err(OrderError::Failed(why)),
        }
    }

    /// Waits for the last answer.
    fn end_of(
        &self,
        order: &str,
        told: &Receiver<OrderAnswer>,
        until: Instant,
    ) -> Result<String, OrderError> {
        loop {
            match told.recv_timeout(LOOK) {
                Ok(answer) if answer.is_last() => return self.last(answer),
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let why = format!("{order}: its outcome is no longer tracked");
                    return Err(OrderError::Unavailable(why));
                }
                Err(RecvTimeoutError::Timeout) => self.may_wait(until, || {
                    format!("{order}: still in progress; `evenkeel status` shows its progress")
                })?,
            }
        }
    }

    /// Waits until a drained server has nothing in flight.
    #[expect(
        clippy::disallowed_methods,
        reason = "on a thread that may wait, between two looks at a number that tells nobody of its changes"
    )]
    fn empty(
        &self,
        server: ServerId,
        done: &str,
        until: Instant,
    ) -> Result<OrderProgress, OrderError> {
        let in_flight = || {
            let entry = self.state.service(server.service)?;
            let server_set = entry.servers();
            Some(
                server_set
                    .pool()
                    .members()
                    .get(server.index as usize)?
                    .state
                    .in_flight(),
            )
        };
        loop {
            let number = in_flight().unwrap_or(0);
            if number == 0 {
                return Ok(OrderProgress::Done(format!(
                    "{done}; nothing is in flight there"
                )));
            }
            self.may_wait(until, || {
                format!("{done}; {number} requests are still in flight there")
            })?;
            std::thread::sleep(LOOK);
        }
    }

    fn may_wait(&self, until: Instant, why: impl Fn() -> String) -> Result<(), OrderError> {
        if *self.draining.borrow() {
            return Err(OrderError::Unavailable("evenkeel is stopping".to_owned()));
        }
        if self.clock.now() >= until {
            return Err(OrderError::Unfinished(why()));
        }
        Ok(())
    }

    /// The order by ids, and the server whose requests in flight are waited for, if any are.
    fn translated(
        &self,
        order: &Order,
        terms: &OrderTerms,
    ) -> Result<(OperatorOrder, Option<ServerId>), String> {
        let mut drained = None;
        let order = match order {
            Order::Drain { service, server } => {
                let server = self.find(service, server)?;
                drained = Some(server);
                OperatorOrder::Drain(server, terms.clone())
            }
            Order::Eject { service, server } => {
                OperatorOrder::Eject(self.find(service, server)?, terms.clone())
            }
            Order::Restore { service, server } => {
                OperatorOrder::Restore(self.find(service, server)?)
            }
            Order::Restart { service, server } => {
                OperatorOrder::Restart(self.find(service, server)?, terms.clone())
            }
            Order::Maintenance { service, on } => {
                let id = self.find_service(service)?;
                if *on {
                    OperatorOrder::MaintenanceOn(id, terms.clone())
                } else {
                    OperatorOrder::MaintenanceOff(id, terms.clone())
                }
            }
            Order::LiftQuarantine { service } => {
                OperatorOrder::LiftQuarantine(self.find_service(service)?)
            }
            Order::Approve(id) => OperatorOrder::Approve(id.clone()),
            Order::Reject(id) => OperatorOrder::Reject(id.clone()),
            Order::Close(id) => OperatorOrder::Close(id.clone()),
            // The loop gets the plan, and not the order.
            Order::Reload { .. }
            | Order::AddServer { .. }
            | Order::RemoveServer { .. }
            | Order::SetWeight { .. }
            | Order::SetMaxRequests { .. } => {
                return Err(format!("{order} is no order for the loop"));
            }
        };
        Ok((order, drained))
    }

    fn find_service(&self, name: &str) -> Result<ServiceId, String> {
        let services = self.state.services();
        let found = services.iter().find(|entry| entry.name() == name);
        found
            .map(|entry| entry.id())
            .ok_or_else(|| format!("there is no service {name}"))
    }
}

/// One of the places for those who wait.
#[derive(Debug)]
struct WaiterSlot<'a>(&'a LiveBackend);

impl<'a> WaiterSlot<'a> {
    fn take(now: &'a LiveBackend) -> Result<Self, OrderError> {
        if now.waiting.fetch_add(1, Ordering::AcqRel) >= MOST_WAITING {
            now.waiting.fetch_sub(1, Ordering::AcqRel);
            let why = format!(
                "the order was given, but {MOST_WAITING} clients are already waiting for orders"
            );
            return Err(OrderError::Unfinished(why));
        }
        Ok(Self(now))
    }
}

impl Drop for WaiterSlot<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}
