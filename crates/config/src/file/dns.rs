//! What a listener for DNS answers, as typed.

use super::quantity::Time;
use super::table;
use super::value::{Text, Whole};
use crate::defaults;

table! {
    /// A name that a DNS listener answers for.
    pub struct DnsName {
        /// The name, such as `shop.example.com`: it is answered with A and AAAA records. One that begins with an underscore, such as
        /// `_http._tcp.shop.example.com`, is answered with SRV records.
        name: Text [required];
        /// The service whose servers are answered.
        service: Text [required];
        /// For how long resolvers may keep an answer, in whole seconds: a server that dies is asked for so long after it has left the answer.
        ttl: Time<0> = defaults::DNS_TTL;
        /// The most servers in an answer.
        answers: Whole<1, 64> = defaults::DNS_ANSWERS;
    }
    later {}
}
