//! Directives for the service during its exchanges.

use std::time::Duration;

use evenkeel_core::{ClosedRoute, Directive, EjectionReason, ServerId, ServiceOrders, ShapeOrders};

use super::{Run, SERVERS};

impl Run<'_> {
    /// A directive about a server.
    pub(super) fn direct(&mut self, detail: u8) {
        let server = ServerId {
            service: self.service,
            index: u32::from(detail) % SERVERS as u32,
        };
        let until = self.now + Duration::from_millis(500);
        let verdict = match detail / 32 {
            0 => EjectionReason::Suspected,
            1 => EjectionReason::Hung,
            _ => EjectionReason::Known,
        };
        let directive = match (detail / 4) % 8 {
            0..4 => Directive::Eject {
                server,
                verdict,
                until,
            },
            4 => Directive::Repair { server, until },
            5 => Directive::Trial {
                server,
                share: 0.5,
                until,
            },
            6 => Directive::Drain { server },
            _ => Directive::Restore {
                server,
                slowly: detail >= 128,
            },
        };
        self.services[self.service.0 as usize].apply(&directive, self.now);
        self.wake_all();
    }

    /// Maintenance, a quarantine, a closed route, or the end of it.
    pub(super) fn order(&mut self, detail: u8) {
        let at = self.service.0 as usize;
        let (service, books) = (&self.services[at], &mut self.books[at]);
        let until = self.now + Duration::from_millis(300);
        match detail % 5 {
            0 => {
                let on = books.maintenance_since.is_none();
                service.set_maintenance(on);
                books.maintenance_since = on.then_some(self.now);
            }
            1 => {
                let facts = self.slots.iter().flatten().next();
                let shape = facts.map(|slot| slot.facts.exact_shape());
                let orders = ShapeOrders {
                    service: self.service,
                    refused: shape.iter().map(|shape| (shape.path, until)).collect(),
                    watched: Vec::new(),
                    until,
                };
                service.set_shapes(&orders);
                books.set_shapes(orders);
            }
            2 | 3 => {
                let orders = ServiceOrders {
                    closed: vec![ClosedRoute::All],
                    until_success: detail % 5 == 2,
                    until,
                    ..ServiceOrders::none(self.service)
                };
                service.set_orders(&orders, self.now);
                books.set_orders(orders);
            }
            _ => {
                let orders = ServiceOrders::none(self.service);
                service.set_orders(&orders, self.now);
                books.set_orders(orders);
            }
        }
        self.wake_all();
    }
}
