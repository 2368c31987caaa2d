//! HTTP/1.1 to servers.

pub(crate) mod exchange;
pub(crate) mod send;
pub(crate) mod interim;
pub(crate) mod run;
pub(crate) mod body;

pub(crate) use exchange::{
    INTERIM_LIMIT, RESPONSE_LIMITS, UpstreamExchange, UpstreamExchangeEnd, begin_of_body,
};
