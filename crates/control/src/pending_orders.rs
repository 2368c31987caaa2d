//! Operators' orders in progress: where their answers go, and the log lines about their outcomes.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;

use evenkeel_fault::contract::{OperatorOrder, OrderAnswer, OrderTicket};

/// The maximum number of orders without their last answer; beyond it, the oldest is no longer tracked.
const MOST: usize = 1024;

/// An operator's order, and the channel for its answers, which need not be awaited.
#[derive(Debug)]
pub struct OrderRequest {
    /// The order.
    pub order: OperatorOrder,
    /// It in words, for the log.
    pub text: String,
    /// Gets one answer, and another one if the first says that it is accepted.
    pub answers: Sender<OrderAnswer>,
}

/// Orders without their last answer.
#[derive(Debug, Default)]
pub(crate) struct PendingOrders {
    tickets: u64,
    open: BTreeMap<OrderTicket, PendingOrder>,
}

#[derive(Debug)]
struct PendingOrder {
    word: &'static str,
    text: String,
    answers: Sender<OrderAnswer>,
}

impl PendingOrders {
    /// Takes an order in: its number, and what is to be done.
    pub(crate) fn take(&mut self, request: OrderRequest) -> (OrderTicket, OperatorOrder) {
        self.tickets += 1;
        let ticket = OrderTicket(self.tickets);
        if self.open.len() >= MOST {
            self.open.pop_first();
        }
        let open = PendingOrder {
            word: word(&request.order),
            text: request.text,
            answers: request.answers,
        };
        self.open.insert(ticket, open);
        (ticket, request.order)
    }

    /// Passes an answer on and logs it. Gives the order's word if it was the last one.
    pub(crate) fn answer(
        &mut self,
        ticket: OrderTicket,
        answer: &OrderAnswer,
    ) -> Option<&'static str> {
        let open = self.open.get(&ticket)?;
        let (order, outcome) = (&open.text, answer.word());
        tracing::info!(order, outcome, "operator's order: {}", answer.text());
        // Whoever gave it may have gone.
        open.answers.send(answer.clone()).ok();
        let word = open.word;
        if !answer.is_last() {
            return None;
        }
        self.open.remove(&ticket);
        Some(word)
    }
}

/// The order's name in metrics.
const fn word(order: &OperatorOrder) -> &'static str {
    match order {
        OperatorOrder::Approve(_) => "approve",
        OperatorOrder::Reject(_) => "reject",
        OperatorOrder::Close(_) => "close",
        OperatorOrder::Drain(..) => "drain",
        OperatorOrder::Eject(..) => "eject",
        OperatorOrder::Restore(_) => "restore",
        OperatorOrder::Restart(..) => "restart",
        OperatorOrder::MaintenanceOn(..) => "maintenance-on",
        OperatorOrder::MaintenanceOff(..) => "maintenance-off",
        OperatorOrder::LiftQuarantine(_) => "lift-quarantine",
    }
}
