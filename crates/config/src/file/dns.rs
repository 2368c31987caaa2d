//! The names that a DNS listener serves, as typed.

use super::quantity::DurationValue;
use super::table;
use super::value::{Integer, NonEmptyText};
use crate::defaults;

table! {
    /// A name served by a DNS listener.
    pub struct ServedNameConfig {
        /// The name: `shop.example.com` is answered with A and AAAA records, one that begins with an underscore, such
        /// as `_http._tcp.shop.example.com`, with SRV records.
        name: NonEmptyText [required];
        /// The service whose servers are returned.
        service: NonEmptyText [required];
        /// The TTL of answers, in whole seconds: clients may use a failed server for this long after it has left the
        /// answers.
        ttl: DurationValue<0> = defaults::DNS_TTL;
        /// The maximum number of servers in an answer.
        answers: Integer<1, 64> = defaults::DNS_ANSWERS;
    }
    later {}
}
