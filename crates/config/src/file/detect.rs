//! Detection and diagnosis, as typed.

use super::quantity::Time;
use super::table;
use super::value::{Flag, Number, OrOff, Share, Text, Whole};
use crate::defaults;

table! {
    /// How faults are noticed.
    pub struct Detect {
        /// The active probe. Keys that are left out keep their default.
        probe: Probe;
        /// This many failed attempts in a row are a detection. 0 turns it off.
        consecutive_failures: Whole<0, 10_000> = defaults::CONSECUTIVE_FAILURES;
        /// Too many failed attempts among the recent ones. `"off"` turns it off.
        failure_ratio: OrOff<FailureRatio>;
        /// Much slower than the other servers. `"off"` turns it off.
        slow: OrOff<Slow>;
    }
    later { "heartbeat_phi" }
}

table! {
    /// The active probe: a connection (`tcp = true`, the default) or an HTTP request (`http = "/health"`).
    pub struct Probe {
        /// A connection is enough.
        tcp: Flag = defaults::PROBE_TCP;
        /// The path of a `GET` request.
        http: Text;
        /// The statuses that pass: one, or the lowest and the highest. Only with `http`.
        expect: Text = defaults::PROBE_EXPECT;
        /// The `Host` header. Default: the first host that a route to the service names literally, else `localhost`. Only with `http`.
        host: Text;
        /// Between the starts of two probes of one server.
        every: Time<10> = defaults::PROBE_EVERY;
        /// How long one may take.
        timeout: Time = defaults::PROBE_TIMEOUT;
        /// This many failures in a row are a detection.
        fall: Whole<1, 100> = defaults::PROBE_FALL;
        /// This many passes in a row end it.
        rise: Whole<1, 100> = defaults::PROBE_RISE;
        /// Between two probes while the server's state is in doubt.
        fast: Time<10> = defaults::PROBE_FAST;
    }
    later { "grpc", "exec" }
}

table! {
    /// Too many failed attempts among the recent ones: the lower bound of the 95 % interval of the ratio is above
    /// `above`.
    pub struct FailureRatio {
        /// The ratio.
        above: Share = defaults::RATIO_ABOVE;
        /// How far back.
        window: Time<100> = defaults::RATIO_WINDOW;
        /// Fewer attempts in the window say nothing.
        minimum_attempts: Whole<1, 1_000_000> = defaults::RATIO_MINIMUM;
    }
    later {}
}

table! {
    /// Much slower than the other servers of the service: the median response time is above `times_peers` times theirs.
    pub struct Slow {
        /// How many times slower.
        times_peers: Number<1_100_000, 1_000_000_000> = defaults::SLOW_TIMES_PEERS;
        /// How far back.
        window: Time<100> = defaults::SLOW_WINDOW;
        /// Fewer response times in the window say nothing.
        minimum_attempts: Whole<1, 1_000_000> = defaults::SLOW_MINIMUM;
    }
    later {}
}

table! {
    /// How long a diagnosis may take.
    pub struct Diagnose {
        /// The tests that tell one fault from another get this long together.
        timeout: Time = defaults::DIAGNOSE_TIMEOUT;
    }
    later {}
}
