//! Load shedding by class: which requests are rejected first when there is not enough capacity for all.
//!
//! Intuition: under overload some requests fail, whatever is done; the choice is which. So requests have a class, and each
//! class may occupy the limit only up to a share. What is above the share of a class is reserved for the classes above it:
//! background work stops at three quarters, and interactive requests never notice it.
//!
//! Shares of the limit and not a random part of the requests: a share adapts to how many requests of each class there are,
//! and does nothing until the limit is really used.

pub mod throttle;

pub use throttle::{
    AdmissionControlOptions, SreOptions, Throttle, ThrottleOptions, ThrottleSnapshot,
};

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How important a request is; the four criticalities of Google's SRE book, in ascending order.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Often unavailable, and nobody minds: crawlers, prefetching.
    Sheddable,
    /// May be unavailable for a while: batch work that is repeated.
    SheddablePlus,
    /// What people see. The default.
    #[default]
    Critical,
    /// What must work when nothing else does: payments, sign-in, health checks of others.
    CriticalPlus,
}

impl Class {
    /// All classes, the least important first.
    pub const ALL: [Self; 4] = [
        Self::Sheddable,
        Self::SheddablePlus,
        Self::Critical,
        Self::CriticalPlus,
    ];

    /// The name in configuration, headers and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Sheddable => "sheddable",
            Self::SheddablePlus => "sheddable-plus",
            Self::Critical => "critical",
            Self::CriticalPlus => "critical-plus",
        }
    }

    /// Its index in [`Class::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Class {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.word())
    }
}

/// The text is not the name of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownClass;

impl fmt::Display for UnknownClass {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a class is critical-plus, critical, sheddable-plus or sheddable")
    }
}

impl std::error::Error for UnknownClass {}

impl FromStr for Class {
    type Err = UnknownClass;

    /// Parses a name, in any case; also `CRITICAL_PLUS`, as other systems write it.
    fn from_str(word: &str) -> Result<Self, UnknownClass> {
        let same = |byte: u8| match byte {
            b'_' => b'-',
            byte => byte.to_ascii_lowercase(),
        };
        let is = |class: &Self| word.bytes().map(same).eq(class.word().bytes());
        Self::ALL.into_iter().find(is).ok_or(UnknownClass)
    }
}

/// The share of a limit that each class may occupy, 0 to 1.
///
/// The defaults follow from no formula. Stripe wrote of 20 % of a fleet reserved for critical requests; with two sheddable
/// classes that is split to either side: the upper one leaves a tenth, the lower one a quarter. `critical` has all of it
/// because it is the default class: without classes, the whole configured limit should be available. `critical-plus` cannot
/// have more than all; it goes first where requests wait (see [`Queue`](crate::Queue)). Set `critical` to 0.95 to reserve
/// slots for it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct ShedOptions {
    /// Default 1.
    pub critical_plus: f64,
    /// Default 1.
    pub critical: f64,
    /// Default 0.9.
    pub sheddable_plus: f64,
    /// Default 0.75.
    pub sheddable: f64,
}

impl Default for ShedOptions {
    fn default() -> Self {
        Self {
            critical_plus: 1.0,
            critical: 1.0,
            sheddable_plus: 0.9,
            sheddable: 0.75,
        }
    }
}

impl ShedOptions {
    /// The share of the limit that requests of `class` may occupy.
    #[must_use]
    pub const fn share(&self, class: Class) -> f64 {
        match class {
            Class::Sheddable => self.sheddable,
            Class::SheddablePlus => self.sheddable_plus,
            Class::Critical => self.critical,
            Class::CriticalPlus => self.critical_plus,
        }
    }

    /// The slots that `class` may occupy under `limit`: its share, rounded up, so that a class with any share gets a slot of
    /// the smallest limit when it is idle.
    #[must_use]
    pub fn slots(&self, class: Class, limit: u32) -> u32 {
        let share = self.share(class);
        // A little above an integer is that integer: 0.9 has no exact value.
        let slots = (share.clamp(0.0, 1.0) * f64::from(limit) - 1e-6).ceil();
        slots as u32
    }

    /// Whether one more request of `class` is admitted while `in_flight` are being served under `limit`.
    #[must_use]
    pub fn admits(&self, class: Class, in_flight: u32, limit: u32) -> bool {
        in_flight < self.slots(class, limit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn admits(class: Class, in_flight: u32, limit: u32) -> bool {
        ShedOptions::default().admits(class, in_flight, limit)
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        for class in Class::ALL {
            assert_eq!(class.word().parse(), Ok(class));
            assert_eq!(Class::ALL[class.index()], class);
            let json = serde_json::to_string(&class).expect("a word");
            assert_eq!(json, format!("\"{class}\""));
        }
        assert_eq!("CRITICAL_PLUS".parse(), Ok(Class::CriticalPlus));
        assert_eq!("Sheddable".parse(), Ok(Class::Sheddable));
        for word in [
            "",
            "critical-",
            "critical plus",
            "critical-pluss",
            "kritisch",
        ] {
            assert_eq!(word.parse::<Class>(), Err(UnknownClass), "{word}");
        }
        assert_eq!(Class::default(), Class::Critical);
        assert!(Class::CriticalPlus > Class::Critical && Class::SheddablePlus > Class::Sheddable);
    }

    #[test]
    fn the_least_class_goes_first() {
        let options = ShedOptions::default();
        let slots = |limit| Class::ALL.map(|class| options.slots(class, limit));
        assert_eq!(slots(100), [75, 90, 100, 100]);
        assert_eq!(slots(10), [8, 9, 10, 10]);
        assert_eq!(slots(1), [1, 1, 1, 1]);
        assert_eq!(slots(0), [0, 0, 0, 0]);
        assert!(admits(Class::Sheddable, 74, 100) && !admits(Class::Sheddable, 75, 100));
        assert!(admits(Class::Critical, 99, 100) && !admits(Class::Critical, 100, 100));
    }

    #[test]
    fn a_share_is_between_zero_and_one() {
        let options = ShedOptions {
            sheddable: 0.0,
            critical_plus: 7.0,
            critical: f64::NAN,
            ..ShedOptions::default()
        };
        assert!(!options.admits(Class::Sheddable, 0, 100));
        assert_eq!(options.slots(Class::CriticalPlus, 100), 100);
        assert_eq!(options.slots(Class::Critical, 100), 0);
    }

    proptest! {
        #[test]
        fn a_limit_that_admits_a_class_admits_higher_ones(in_flight in 0_u32..3_000, limit in 0_u32..2_000) {
            for pair in Class::ALL.windows(2) {
                prop_assert!(!admits(pair[0], in_flight, limit) || admits(pair[1], in_flight, limit));
            }
            prop_assert!(!admits(Class::CriticalPlus, in_flight, limit) || in_flight < limit);
        }
    }
}
