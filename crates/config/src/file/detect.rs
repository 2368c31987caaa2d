//! Detection and diagnosis, as typed.

use super::quantity::DurationValue;
use super::table;
use super::value::{Boolean, Integer, NonEmptyText, Number, OrOff, Share};
use crate::defaults;

table! {
    /// How faults are detected.
    pub struct DetectConfig {
        /// The active probe. Keys that are left out keep their default.
        probe: ProbeConfig;
        /// This many consecutive failed attempts are a detection. 0 turns it off.
        consecutive_failures: Integer<0, 10_000> = defaults::CONSECUTIVE_FAILURES;
        /// Too many failed attempts among the recent ones. `"off"` turns it off.
        failure_ratio: OrOff<FailureRatioConfig>;
        /// Much slower than the other servers. `"off"` turns it off.
        slow: OrOff<SlowConfig>;
    }
    later { "heartbeat_phi" }
}

table! {
    /// The active probe: a connection (`tcp = true`, the default) or an HTTP request (`http = "/health"`).
    pub struct ProbeConfig {
        /// A successful TCP connection passes.
        tcp: Boolean = defaults::PROBE_TCP;
        /// The path of a `GET` request.
        http: NonEmptyText;
        /// The statuses that pass: a single status or a range. Only with `http`.
        expect: NonEmptyText = defaults::PROBE_EXPECT;
        /// The `Host` header. Default: the first host that a route to the service names literally, else `localhost`. Only with `http`.
        host: NonEmptyText;
        /// The interval between the starts of two probes of one server.
        every: DurationValue<10> = defaults::PROBE_EVERY;
        /// The timeout of one probe.
        timeout: DurationValue = defaults::PROBE_TIMEOUT;
        /// This many consecutive failures are a detection.
        fall: Integer<1, 100> = defaults::PROBE_FALL;
        /// This many consecutive passes end it.
        rise: Integer<1, 100> = defaults::PROBE_RISE;
        /// The interval between two probes while the server's state is in doubt.
        fast: DurationValue<10> = defaults::PROBE_FAST;
    }
    later { "grpc", "exec" }
}

table! {
    /// Too many failed attempts among the recent ones: the lower bound of the 95 % interval of the ratio is above
    /// `above`.
    pub struct FailureRatioConfig {
        /// The ratio.
        above: Share = defaults::RATIO_ABOVE;
        /// The length of the window.
        window: DurationValue<100> = defaults::RATIO_WINDOW;
        /// The ratio is evaluated only with at least this many attempts in the window.
        minimum_attempts: Integer<1, 1_000_000> = defaults::RATIO_MINIMUM;
    }
    later {}
}

table! {
    /// Much slower than the other servers of the service: the median response time is above `times_peers` times theirs.
    pub struct SlowConfig {
        /// How many times slower than the peers' median.
        times_peers: Number<1_100_000, 1_000_000_000> = defaults::SLOW_TIMES_PEERS;
        /// The length of the window.
        window: DurationValue<100> = defaults::SLOW_WINDOW;
        /// The medians are compared only with at least this many response times in the window.
        minimum_attempts: Integer<1, 1_000_000> = defaults::SLOW_MINIMUM;
    }
    later {}
}

table! {
    /// How long a diagnosis may take.
    pub struct DiagnoseConfig {
        /// The timeout of all tests of an examination together.
        timeout: DurationValue = defaults::DIAGNOSE_TIMEOUT;
    }
    later {}
}
