//! Whether a response may be stored, and for how long it may be served.

use std::time::Duration;

use evenkeel_tolerate::StaleOptions;
use evenkeel_tolerate::stale::Lifetimes;

use super::control::ResponseCacheControl;

/// What decides whether a response to a GET is stored, besides its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResponseFacts {
    /// The status of the response.
    pub status: u16,
    /// The request identifies its client: `Authorization` or `Cookie`.
    pub knows_client: bool,
    /// The request forbids storing, or asks for a part only: `Cache-Control: no-store`, `Range`.
    pub is_special: bool,
    /// The response sets a cookie.
    pub sets_cookie: bool,
    /// The response depends on parts of the request that its key does not have (`Vary`).
    pub varies: bool,
    /// The `Cache-Control` of the response.
    pub control: ResponseCacheControl,
    /// The age that it arrived with (`Age`): a cache of the server's side had stored it.
    pub age: Duration,
}

impl ResponseFacts {
    /// Whether the response itself says that it is not for others, whoever asked: then an older stored response must go as well.
    /// A special request says nothing about older responses, or any client could have them removed.
    #[must_use]
    pub const fn response_forbids_storing(&self) -> bool {
        self.control.forbids || self.sets_cookie || self.varies
    }

    /// For how long the response to a GET may be served; `None` if it may not be stored.
    ///
    /// Of the conditions of RFC 9111, section 3, stricter: only statuses that are cacheable by default and common, no `Vary`
    /// (section 4.1), no cookies, and with `Authorization` (section 3.5) or `Cookie` only what is `public`. Statuses of errors
    /// are never stored.
    #[must_use]
    pub fn lifetimes(&self, options: &StaleOptions) -> Option<Lifetimes> {
        let control = &self.control;
        let may_store = matches!(self.status, 200 | 203 | 301 | 308)
            && !self.response_forbids_storing()
            && !self.is_special
            && (control.is_public || !self.knows_client);
        // RFC 5861, section 4: counted from when the response became stale.
        let if_error = control
            .stale_if_error
            .map_or(options.if_error, Duration::from_secs);
        // RFC 9111, section 4.2.1. No heuristic freshness (section 4.2.2).
        let fresh = Duration::from_secs(control.max_age.unwrap_or(0));
        // RFC 5861, section 3.
        let stale = Duration::from_secs(control.stale_while_revalidate.unwrap_or(0));
        let while_revalidating = fresh.saturating_add(stale);
        let if_error = fresh.saturating_add(if_error).max(while_revalidating);
        // RFC 9111, section 4.2.3: its age counts from where it was generated.
        let from_now = |lifetime: Duration| lifetime.saturating_sub(self.age);
        (may_store && !from_now(if_error).is_zero()).then_some(Lifetimes {
            fresh: from_now(fresh),
            while_revalidating: from_now(while_revalidating),
            if_error: from_now(if_error),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(value: &str) -> ResponseCacheControl {
        let mut control = ResponseCacheControl::default();
        control.read(value.as_bytes());
        control
    }

    fn facts(value: &str) -> ResponseFacts {
        ResponseFacts {
            status: 200,
            control: control(value),
            ..ResponseFacts::default()
        }
    }

    fn if_error(value: &str) -> Option<u64> {
        let lifetimes = facts(value).lifetimes(&StaleOptions::default());
        lifetimes.map(|lifetimes| lifetimes.if_error.as_secs())
    }

    #[test]
    fn directives_of_responses() {
        assert_eq!(if_error(""), Some(3_600));
        assert_eq!(if_error("max-age=60"), Some(3_660));
        assert_eq!(if_error("Max-Age = \"60\" , stale-if-error=10"), Some(70));
        assert_eq!(if_error("max-age=0, stale-if-error=0"), None);
        assert_eq!(
            if_error("max-age=99999999999999999999"),
            Some(365 * 86_400 + 3_600)
        );
        for forbidden in [
            "no-store",
            "public, private",
            "private=\"x-field\"",
            "NO-CACHE",
            "max-age=60, must-revalidate",
            "proxy-revalidate",
            "s-maxage=60",
            "max-age=-1",
            "max-age",
            "stale-if-error=soon",
        ] {
            assert_eq!(if_error(forbidden), None, "{forbidden}");
        }
    }

    /// RFC 5861, sections 3.1 and 4: each window begins when the response becomes stale, and less the age that it arrived with.
    #[test]
    fn an_age_shortens_each_lifetime() {
        let with_age = |age| {
            let facts = ResponseFacts {
                age: Duration::from_secs(age),
                ..facts("max-age=60, stale-while-revalidate=30, stale-if-error=100")
            };
            let lifetimes = facts.lifetimes(&StaleOptions::default())?;
            let Lifetimes {
                fresh,
                while_revalidating,
                if_error,
            } = lifetimes;
            Some([fresh, while_revalidating, if_error].map(|time| time.as_secs()))
        };
        assert_eq!(with_age(0), Some([60, 90, 160]));
        assert_eq!(with_age(50), Some([10, 40, 110]));
        assert_eq!(with_age(70), Some([0, 20, 90]));
        assert_eq!(with_age(160), None);
    }

    #[test]
    fn a_response_for_one_client_is_not_stored() {
        let plain = facts("");
        let options = StaleOptions::default();
        assert!(plain.lifetimes(&options).is_some());
        let known = ResponseFacts {
            knows_client: true,
            ..plain
        };
        assert_eq!(known.lifetimes(&options), None);
        let public = ResponseFacts {
            control: control("public"),
            ..known
        };
        assert!(public.lifetimes(&options).is_some());
        for refused in [
            ResponseFacts {
                status: 404,
                ..plain
            },
            ResponseFacts {
                status: 206,
                ..plain
            },
            ResponseFacts {
                is_special: true,
                ..public
            },
            ResponseFacts {
                sets_cookie: true,
                ..public
            },
            ResponseFacts {
                varies: true,
                ..public
            },
        ] {
            assert_eq!(refused.lifetimes(&options), None, "{refused:?}");
        }
    }
}
