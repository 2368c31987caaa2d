//! Orders: parse and check the parameters, look up the target, pass the order on.

use std::time::Duration;

use evenkeel_fault::incident::IncidentStatus;
use evenkeel_fault::maintenance::{OrderTerms, REASON_MAX};

use crate::backend::{AdminBackend, Order, OrderProgress, age};
use crate::exchange::{AdminResponse, StepResult};
use crate::percent::parameters;

/// The longest that an order is waited for.
pub const WAIT_MAX: Duration = Duration::from_secs(600);
/// The longest name of who gives it, in characters.
const BY_MAX: usize = 64;

/// An order with what was said beside it.
struct OrderDetails {
    order: Order,
    terms: OrderTerms,
    wait: Option<Duration>,
}

/// Carries out `order` by the terms in the query.
pub(crate) fn carry_out(
    live: &dyn AdminBackend,
    order: Order,
    query: &str,
) -> StepResult<AdminResponse> {
    let OrderDetails { order, terms, wait } = understood(order, query)?;
    submit(live, order, &terms, wait)
}

/// Passes on an order whose target exists.
pub(crate) fn submit(
    live: &dyn AdminBackend,
    order: Order,
    terms: &OrderTerms,
    wait: Option<Duration>,
) -> StepResult<AdminResponse> {
    is_there(live, &order)?;
    match live.order(order, terms, wait) {
        Ok(OrderProgress::Done(message)) => Ok(AdminResponse::message(200, &message)),
        Ok(OrderProgress::Accepted(message)) => Ok(AdminResponse::message(202, &message)),
        Err(why) => Err(AdminResponse::error(why.status(), why.text())),
    }
}

/// Reads what is said with the order. What an order does not take is refused.
fn understood(order: Order, query: &str) -> StepResult<OrderDetails> {
    let mut terms = OrderTerms::default();
    let mut wait_for = None;
    let order = match order {
        Order::Drain { .. } | Order::Eject { .. } => {
            let [lasts, reason, by, force, wait] =
                parameters(query, ["for", "reason", "by", "force", "wait"])?;
            terms.lasts = duration("for", lasts)?;
            (terms.reason, terms.by) = (text("reason", reason, REASON_MAX)?, giver(by)?);
            (terms.force, wait_for) = (flag("force", force.as_deref())?, waiting(wait)?);
            order
        }
        Order::Restart { .. } => {
            let [by, force, wait] = parameters(query, ["by", "force", "wait"])?;
            terms.by = giver(by)?;
            (terms.force, wait_for) = (flag("force", force.as_deref())?, waiting(wait)?);
            order
        }
        Order::Reload { .. } => {
            let [check] = parameters(query, ["check"])?;
            Order::Reload {
                check: flag("check", check.as_deref())?,
            }
        }
        Order::Restore { .. } | Order::Approve(_) => {
            let [by, wait] = parameters(query, ["by", "wait"])?;
            (terms.by, wait_for) = (giver(by)?, waiting(wait)?);
            order
        }
        Order::Reject(_) | Order::Close(_) | Order::LiftQuarantine { .. } => {
            let [by] = parameters(query, ["by"])?;
            terms.by = giver(by)?;
            order
        }
        Order::Maintenance { service, .. } => {
            let [state, lasts, reason, by, force, wait] =
                parameters(query, ["state", "for", "reason", "by", "force", "wait"])?;
            terms.lasts = duration("for", lasts)?;
            (terms.reason, terms.by) = (text("reason", reason, REASON_MAX)?, giver(by)?);
            (terms.force, wait_for) = (flag("force", force.as_deref())?, waiting(wait)?);
            let on = match state.as_deref() {
                None | Some("on") => true,
                Some("off") => false,
                Some(other) => {
                    let why = format!("state is on or off; got {other:?}");
                    return Err(AdminResponse::error(400, &why));
                }
            };
            Order::Maintenance { service, on }
        }
        // What is said with these was read where their body was.
        Order::AddServer { .. }
        | Order::RemoveServer { .. }
        | Order::SetWeight { .. }
        | Order::SetMaxRequests { .. } => order,
    };
    Ok(OrderDetails {
        order,
        terms,
        wait: wait_for,
    })
}

/// Whether its target exists.
fn is_there(live: &dyn AdminBackend, order: &Order) -> StepResult<()> {
    match order {
        Order::Drain { service, server }
        | Order::Restore { service, server }
        | Order::Eject { service, server }
        | Order::Restart { service, server }
        | Order::RemoveServer {
            service, server, ..
        }
        | Order::SetWeight {
            service, server, ..
        }
        | Order::SetMaxRequests {
            service, server, ..
        } => {
            let services = live.services();
            let mut servers = services
                .iter()
                .filter(|view| view.name == *service)
                .flat_map(|view| &view.servers);
            if servers.any(|view| view.name == *server) {
                return Ok(());
            }
            Err(AdminResponse::error(
                404,
                &format!("there is no server {server:?} in service {service:?}"),
            ))
        }
        Order::Reload { .. } => Ok(()),
        Order::Maintenance { service, .. }
        | Order::LiftQuarantine { service }
        | Order::AddServer { service, .. } => {
            if live.services().iter().any(|view| view.name == *service) {
                return Ok(());
            }
            Err(AdminResponse::no_service(service))
        }
        // A store that cannot be read does not keep an operator from deciding about an open incident.
        Order::Approve(id) | Order::Reject(id) | Order::Close(id) => match live.incident(id) {
            Ok(None) => Err(AdminResponse::no_incident(id)),
            Ok(Some(incident)) if incident.status == IncidentStatus::Closed => {
                let why = format!("incident {id} is closed: there is nothing left to decide");
                Err(AdminResponse::error(409, &why))
            }
            Ok(Some(_)) | Err(_) => Ok(()),
        },
    }
}

fn duration(name: &str, given: Option<String>) -> StepResult<Option<Duration>> {
    let Some(given) = given else { return Ok(None) };
    match age(&given).filter(|length| !length.is_zero()) {
        Some(length) => Ok(Some(length)),
        None => {
            let why = format!("{name} is a duration such as 90s, 30m, 12h or 7d; got {given:?}");
            Err(AdminResponse::error(400, &why))
        }
    }
}

fn waiting(given: Option<String>) -> StepResult<Option<Duration>> {
    let wait = duration("wait", given)?;
    match wait.filter(|wait| *wait > WAIT_MAX) {
        Some(_) => {
            let why = format!("wait is at most {} s", WAIT_MAX.as_secs());
            Err(AdminResponse::error(400, &why))
        }
        None => Ok(wait),
    }
}

/// Who gives the order.
pub(crate) fn giver(given: Option<String>) -> StepResult<Option<String>> {
    text("by", given, BY_MAX)
}

fn text(name: &str, given: Option<String>, most: usize) -> StepResult<Option<String>> {
    match given.as_ref().map(|given| given.chars().count()) {
        Some(length) if length > most => {
            let why = format!("{name} has at most {most} characters; got {length}");
            Err(AdminResponse::error(400, &why))
        }
        _ => Ok(given),
    }
}

pub(crate) fn flag(name: &str, given: Option<&str>) -> StepResult<bool> {
    match given {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => {
            let why = format!("{name} is true or false; got {other:?}");
            Err(AdminResponse::error(400, &why))
        }
    }
}
