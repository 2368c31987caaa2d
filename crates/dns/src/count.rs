//! DNS counters.

use evenkeel_core::metric::{Counter, Sink, Source};

/// Names of response codes, by their number; what is above the last is `other`.
const CODES: [&str; 7] = [
    "noerror", "formerr", "servfail", "nxdomain", "notimp", "refused", "other",
];
/// Why no answer was sent.
const DROPPED: [&str; 3] = ["malformed", "rate", "connections"];

/// Why a query got no answer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum DropReason {
    /// Not a query.
    Malformed,
    /// Too many of the same network.
    Rate,
    /// Too many TCP connections.
    Connections,
}

/// The numbers of one listener.
#[derive(Debug)]
pub struct DnsCounters {
    listener: String,
    answered: [Counter; CODES.len()],
    dropped: [Counter; DROPPED.len()],
    truncated: Counter,
}

impl DnsCounters {
    pub(crate) fn new(listener: String) -> Self {
        Self {
            listener,
            answered: Default::default(),
            dropped: Default::default(),
            truncated: Counter::default(),
        }
    }

    /// An answer as it goes out.
    pub(crate) fn answered(&self, bytes: &[u8]) {
        let code = usize::from(bytes.get(3).map_or(0, |flags| flags & 0x0f));
        self.answered[code.min(CODES.len() - 1)].add(1);
        if bytes.get(2).is_some_and(|flags| flags & 0x02 != 0) {
            self.truncated.add(1);
        }
    }

    /// All answers so far.
    #[cfg(test)]
    pub(crate) fn answers(&self) -> u64 {
        self.answered.iter().map(Counter::value).sum()
    }

    pub(crate) fn dropped(&self, why: DropReason) {
        self.dropped[why as usize].add(1);
    }
}

impl Source for DnsCounters {
    fn collect(&self, sink: &mut dyn Sink) {
        let listener = self.listener.as_str();
        for (code, counter) in CODES.iter().zip(&self.answered) {
            let labels = [("listener", listener), ("rcode", *code)];
            let about = "DNS queries that were answered, by response code.";
            sink.counter(
                "evenkeel_dns_answers_total",
                about,
                &labels,
                counter.value(),
            );
        }
        for (reason, counter) in DROPPED.iter().zip(&self.dropped) {
            let labels = [("listener", listener), ("reason", *reason)];
            let about = "DNS queries, or connections for them, without an answer, by reason.";
            sink.counter(
                "evenkeel_dns_dropped_total",
                about,
                &labels,
                counter.value(),
            );
        }
        let about = "Truncated DNS answers.";
        let labels = [("listener", listener)];
        sink.counter(
            "evenkeel_dns_truncated_total",
            about,
            &labels,
            self.truncated.value(),
        );
    }
}
