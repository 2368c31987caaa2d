//! What is counted, and shown.

pub(crate) mod retry_stats;
pub(crate) mod counters;
pub(crate) mod results;
pub(crate) mod server_metrics;
pub(crate) mod flow;
pub(crate) mod server_work;
pub(crate) mod inject;
pub(crate) mod retries;
pub(crate) mod stale;
pub(crate) mod mirrors;
pub(crate) mod load_probes;
pub(crate) mod collect;
