//! Whether the machine is short of processor time: what is slow on it may be slow for that.
//!
//! Measured by the kernel as pressure, `some avg10`: the part of the last ten seconds in which something that could run waited for a
//! processor (`Documentation/accounting/psi.rst`). It has no limit of its own. A server was seen to be 3.6 times as slow as its peers while a
//! build ran beside it and the pressure was 78 to 82 %; at half of the time, a request that needs the processor twice has waited for it once.

use std::time::Duration;

use evenkeel_core::Instant;

/// From this pressure on (thousandths) processor time is short.
const SHORT_PERMILLE: u16 = 500;
/// Where the kernel does not measure it: evenkeel's own timers were late by so much in ten seconds.
const SHORT_STALLS: Duration = Duration::from_secs(1);
/// So long after that, latencies of that time still count.
const HOLDS: Duration = Duration::from_secs(10);

/// What is known of the pressure.
#[derive(Debug, Clone, Default)]
pub(super) struct Processor {
    /// When processor time was short last, and how short.
    short: Option<(Instant, u16)>,
}

impl Processor {
    pub(super) fn read(&mut self, now: Instant, permille: Option<u16>) {
        let short = permille.filter(|permille| *permille >= SHORT_PERMILLE);
        self.short = short.map(|permille| (now, permille)).or(self.short);
    }

    /// What says that it is short; evenkeel itself was stalled for so much of the last ten seconds.
    pub(super) fn is_short(&self, now: Instant, stalled: Duration) -> Option<String> {
        if let Some((_, permille)) = self.short.filter(|(at, _)| now.since(*at) < HOLDS) {
            return Some(format!(
                "the machine is short of processor time: in {:.0} % of ten seconds something waited for it",
                f64::from(permille) / 10.0
            ));
        }
        (stalled >= SHORT_STALLS).then(|| {
            format!(
                "the machine is short of processor time: evenkeel itself got none for {:.1} of the last ten seconds",
                stalled.as_secs_f64()
            )
        })
    }
}
