//! Orders of people on their way through the loop: who waits for the answers, and what came of each in the log.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;

use evenkeel_fault::contract::{OperatorOrder, OrderAnswer, Ticket};

/// So many orders may be without their last answer; then the oldest is not waited for any more.
const MOST: usize = 1024;

/// A person's order, and where its answers go. Whoever gave it need not wait for them.
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
pub(crate) struct Asked {
    tickets: u64,
    open: BTreeMap<Ticket, Open>,
}

#[derive(Debug)]
struct Open {
    word: &'static str,
    text: String,
    answers: Sender<OrderAnswer>,
}

impl Asked {
    /// Takes an order in: its number, and what is to be done.
    pub(crate) fn take(&mut self, request: OrderRequest) -> (Ticket, OperatorOrder) {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        if self.open.len() >= MOST {
            self.open.pop_first();
        }
        let open = Open {
            word: word(&request.order),
            text: request.text,
            answers: request.answers,
        };
        self.open.insert(ticket, open);
        (ticket, request.order)
    }

    /// Passes an answer on and logs it. Gives the order's word if it was the last one.
    pub(crate) fn answer(&mut self, ticket: Ticket, answer: &OrderAnswer) -> Option<&'static str> {
        let open = self.open.get(&ticket)?;
        let (order, outcome) = (&open.text, answer.word());
        tracing::info!(order, outcome, "an order of a person: {}", answer.text());
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
