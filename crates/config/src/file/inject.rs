//! Faults on purpose, as typed.

use super::quantity::Time;
use super::table;
use super::value::{Share, Whole};
use crate::defaults;

table! {
    /// Faults on purpose, before a server is asked: to see what clients do about them. `evenkeel check` warns that they are on.
    pub struct Inject {
        /// Requests that wait first. The time counts against `timeout.total`.
        delay: InjectDelay;
        /// Requests that are answered with an error, and reach no server. Independent of `delay`.
        abort: InjectAbort;
        /// Which requests it is.
        seed: Whole<0, 4_294_967_295> = defaults::INJECT_SEED;
    }
    later {}
}

table! {
    /// Requests that wait first.
    pub struct InjectDelay {
        /// Which share of the requests.
        share: Share [required];
        /// How long.
        time: Time [required];
    }
    later {}
}

table! {
    /// Requests that are answered with an error.
    pub struct InjectAbort {
        /// Which share of the requests.
        share: Share [required];
        /// The status of the answer.
        status: Whole<400, 599> [required];
    }
    later {}
}
