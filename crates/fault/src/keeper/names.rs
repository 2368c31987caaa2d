//! The texts behind the hashes of requests, for incidents. Bounded; filled when such a request has failed.

use std::collections::BTreeMap;

use evenkeel_core::{RequestShape, ShapeText};

/// So many are kept.
const KEPT: usize = 1024;

/// Names of routes and targets.
#[derive(Debug, Default)]
pub(super) struct RouteNames(BTreeMap<u32, ShapeText>);

impl RouteNames {
    /// Learns the words for a request.
    pub(super) fn take(&mut self, shape: RequestShape, text: ShapeText) {
        if self.0.len() >= KEPT && !self.0.contains_key(&shape.route) {
            self.0.pop_first();
        }
        self.0.insert(shape.route, text);
    }

    /// The name of a request: its method if that is what matters, else its route.
    pub(super) fn of(&self, shape: RequestShape, by_method: bool) -> String {
        self.0.get(&shape.route).map_or_else(
            || "a route whose name is not known".to_owned(),
            |text| {
                if by_method {
                    format!("every {}", text.method)
                } else {
                    text.route.clone()
                }
            },
        )
    }
}
