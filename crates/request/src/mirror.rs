//! Which requests are sent to another service as well, to see how it does with them.
//!
//! Only the decision is here. It is drawn for each request, so that a share of one client's requests is copied and not
//! all of one client's.

use evenkeel_core::{Random, ServiceId};

/// A share of the requests of a service or a route is copied to another service.
#[derive(Debug, Clone, PartialEq)]
pub struct Mirror {
    /// The service that gets the copies.
    pub to: ServiceId,
    /// The share of requests that are copied, 0 to 1.
    pub share: f64,
    /// The methods of which requests are copied.
    pub methods: Vec<String>,
    /// Most copies under way at the same time, for each worker.
    pub in_flight: u32,
}

impl Mirror {
    /// Whether a request with this method is copied.
    #[must_use]
    pub fn takes(&self, method: &[u8], random: &mut Random) -> bool {
        self.methods.iter().any(|known| known.as_bytes() == method) && random.unit() < self.share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(share: f64, method: &str) -> usize {
        let mirror = Mirror {
            to: ServiceId(1),
            share,
            methods: vec!["GET".to_owned(), "HEAD".to_owned()],
            in_flight: 64,
        };
        let mut random = Random::seeded(7);
        (0..100_000)
            .filter(|_| mirror.takes(method.as_bytes(), &mut random))
            .count()
    }

    #[test]
    fn the_share_is_kept_for_the_methods_that_are_named() {
        assert_eq!(taken(1.0, "GET"), 100_000);
        assert_eq!(taken(0.0, "GET"), 0);
        assert_eq!(taken(1.0, "POST"), 0);
        assert_eq!(taken(1.0, "get"), 0);
        assert!((9_500..=10_500).contains(&taken(0.1, "HEAD")));
    }
}
