//! Steps the keeper, and executes its outputs: directives, actions, examinations, records. Nothing is decided here.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::{Instant, ServerId, ServiceId};
use evenkeel_fault::contract::ActionOrder;
use evenkeel_fault::incident::{ActionOutcome, IncidentStatus};
use evenkeel_fault::{Incident, Input, Maintenance, Output};
use tokio::task::JoinSet;

use super::Control;
use crate::status::ControlEvent;
use crate::timeline::{fresh, log};
use crate::world::{ActionExecutor, IncidentStore, RequestPath};

/// Between two entries of requests in the books.
const BOOK_EVERY: Duration = Duration::from_secs(10);

impl<T: RequestPath, H: ActionExecutor, B: IncidentStore> Control<T, H, B> {
    /// Feeds the inputs to the keeper, and executes its outputs.
    pub(super) fn decide(&mut self, now: Instant) {
        self.keeper.step(now, &mut self.inputs, &mut self.outputs);
        self.inputs.clear();
        let mut outputs = std::mem::take(&mut self.outputs);
        for output in outputs.drain(..) {
            self.changed |= matches!(
                output,
                Output::Record(_)
                    | Output::Maintenance { .. }
                    | Output::Gate { .. }
                    | Output::Shapes(_)
                    | Output::Service(_)
            );
            self.carry_out(now, output);
        }
        self.outputs = outputs;
        self.counters.inconsistencies(self.keeper.inconsistencies());
        for (service, veto, count) in self.keeper.vetoes() {
            let name = self.services.get(service.0 as usize);
            let Some(name) = name.filter(|name| !name.is_empty()) else {
                continue;
            };
            self.counters.vetoes(name, veto.word(), count);
        }
    }

    fn carry_out(&mut self, now: Instant, output: Output) {
        match output {
            Output::Directive(directive) => {
                tracing::debug!(?directive, "directive");
                self.traffic.apply(&directive, now);
            }
            Output::Shapes(orders) => self.traffic.set_shapes(&orders),
            Output::Service(orders) => self.traffic.set_service(&orders),
            Output::Act(order) => self.act(*order),
            Output::Examine {
                id,
                server,
                timeout,
            } => {
                let (clock, examination) = (self.clock, self.executor.examine(server, timeout));
                self.tasks.spawn(async move {
                    // A little more than the limit, so that what was found until then still counts.
                    let limit = timeout + Duration::from_millis(500);
                    let examination = tokio::time::timeout(limit, contained(examination)).await;
                    let examination = examination.ok().flatten().unwrap_or_default();
                    Input::Examined {
                        id,
                        at: clock.now(),
                        examination: Box::new(examination),
                    }
                });
            }
            Output::Pace { server, pace } => self.executor.pace(server, pace),
            Output::Record(incident) => self.record(now, Arc::from(incident)),
            Output::Maintenance {
                service,
                server,
                maintenance,
            } => self.keep_maintenance(service, server, maintenance.map(|kept| *kept)),
            Output::Gate { service, open } => self.traffic.gate(service, open),
            Output::Answer { ticket, answer } => {
                if let Some(order) = self.pending_orders.answer(ticket, &answer) {
                    self.counters.order(order, answer.word());
                }
            }
        }
    }

    /// The names of a server's service and of the server itself.
    fn names(&self, server: ServerId) -> (&str, &str) {
        let service = server.service.0 as usize;
        let servers = self.servers.get(service);
        (
            self.services.get(service).map_or("", String::as_str),
            servers
                .and_then(|servers| servers.get(server.index as usize))
                .map_or("", String::as_str),
        )
    }

    fn act(&mut self, order: ActionOrder) {
        let (clock, id, limit) = (self.clock, order.id, self.executor.limit(&order));
        let (service, server) = self.names(order.server);
        tracing::info!(
            incident = order.incident, service, server, fault = %order.fault, action = order.action.word(), "action"
        );
        let work = self.executor.act(order);
        self.tasks.spawn(async move {
            let (outcome, detail) = match tokio::time::timeout(limit, contained(work)).await {
                Ok(Some(ended)) => ended,
                Ok(None) => {
                    let why = "evenkeel failed while executing this because of a bug: see its log";
                    (ActionOutcome::Failed, Some(why.to_owned()))
                }
                Err(_) => {
                    let why = format!("not done within {limit:?}");
                    (ActionOutcome::TimedOut, Some(why))
                }
            };
            Input::ActionEnded {
                id,
                at: clock.now(),
                outcome,
                detail,
            }
        });
    }

    fn keep_maintenance(
        &mut self,
        service: ServiceId,
        server: Option<u32>,
        maintenance: Option<Maintenance>,
    ) {
        let (place, servers) = (service.0 as usize, &self.servers);
        let names = servers.get(place);
        let server = server
            .and_then(|index| names?.get(index as usize))
            .map(String::as_str);
        let Some(service) = self.services.get(place).filter(|name| !name.is_empty()) else {
            return;
        };
        match &maintenance {
            Some(begun) => tracing::info!(
                service,
                server,
                by = begun.by,
                reason = begun.reason,
                until = begun.until,
                "maintenance began"
            ),
            None => tracing::info!(service, server, "maintenance ended"),
        }
        self.keeper_setup
            .maintenance(service, server, maintenance.as_ref());
        self.incident_store
            .maintenance(service, server, maintenance);
    }

    pub(super) fn record(&mut self, now: Instant, incident: Arc<Incident>) {
        self.keeper_setup.number(&incident.id);
        let known = self.open.get(&incident.id);
        for entry in fresh(known.map(|known| &**known), &incident) {
            log(&incident, entry);
        }
        self.incident_store.save(&incident);
        self.counters.incident(&incident);
        if incident.status == IncidentStatus::Closed {
            self.keeper_setup.closed(&incident);
            // Whoever reads the report now finds the requests in it.
            self.book(now);
            self.open.remove(&incident.id);
        } else {
            self.open.insert(incident.id.clone(), Arc::clone(&incident));
        }
        self.events
            .emit(ControlEvent::Incident { at: now, incident });
    }

    /// Writes down the requests since the last time.
    pub(super) fn book(&mut self, now: Instant) {
        self.book_at = now + BOOK_EVERY;
        let minute = i64::try_from(self.clock.epoch().wall(now).0 / 60_000).unwrap_or(i64::MAX);
        let services = (0_u32..).zip(&self.services).zip(&mut self.booked);
        for ((id, name), booked) in services.filter(|((_, name), _)| !name.is_empty()) {
            let totals = self.traffic.totals(ServiceId(id));
            let requests = totals.requests.saturating_sub(booked.requests);
            let failed = totals.failed.saturating_sub(booked.failed);
            if requests > 0 || failed > 0 {
                self.incident_store.traffic(name, minute, requests, failed);
            }
            *booked = totals;
        }
    }
}

/// The output of `work`; nothing if it panics, so that the waiting task notices. It is cancelled with this future.
async fn contained<O: Send + 'static>(work: impl Future<Output = O> + Send + 'static) -> Option<O> {
    let mut one = JoinSet::new();
    one.spawn(work);
    one.join_next().await?.ok()
}
