//! Why a server gets its share, in words: from its availability, the policy of its service, and what it got.
//!
//! Pure; its input comes from the balancer, which decides, and from the counters.

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel_admin::text;
use evenkeel_balance::{Availability, BalanceOptions, Policy, ProbedLoad};
use evenkeel_config::plan::LoadProbePlan;
use evenkeel_core::EjectionReason;
use evenkeel_core::stat::divergence;
use evenkeel_tolerate::limit::LimitReason;

/// Shares that differ by less than this, and by less than a fifth of the intended one, are as intended.
const NEARLY: f64 = 0.05;
/// A server is worth a warning about its score if it is this many times the best.
const WORSE: f64 = 1.5;
/// A share that is not as intended has a reason if chance makes it at most once in so many times, which is that of three standard
/// deviations on one side of a normal distribution.
const BEYOND_CHANCE: f64 = 740.0;

/// One server, as its sentence needs it.
#[derive(Debug, Clone)]
pub(super) struct ServerSituation<'a> {
    pub(super) name: &'a str,
    pub(super) service: &'a str,
    pub(super) policy: Policy,
    pub(super) weight: u32,
    pub(super) tier: u8,
    pub(super) standing: Availability,
    /// The part of its share that it takes.
    pub(super) part: f64,
    pub(super) changes_in: Option<Duration>,
    pub(super) score: Option<f64>,
    /// The best score of those who take attempts.
    pub(super) best: Option<f64>,
    pub(super) intended: f64,
    pub(super) got: Option<f64>,
    /// Of so many attempts of the service.
    pub(super) attempts: u64,
    pub(super) incident: Option<&'a str>,
    /// Its answer to a load probe, if load probes are configured.
    pub(super) probed: Option<RecentLoad>,
    /// The bound on its attempts that was found for it, and why it is that, if one is to be found.
    pub(super) limit: Option<(u32, LimitReason)>,
}

/// A server's answer to a load probe; nothing if there is none, or it is too old to be used.
pub(super) type RecentLoad = Option<ProbedLoad>;

/// Of servers that are asked how busy they are, how many have said it lately.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProbeCoverage<'a> {
    pub(super) path: &'a str,
    pub(super) answered: usize,
    pub(super) servers: usize,
}

/// The score of a policy, in words.
pub(super) fn score_in_words(policy: Policy, asked: Option<ProbeCoverage<'_>>) -> String {
    let words = of_policy(policy).to_owned();
    let Some(asked) = asked else {
        return words;
    };
    let ProbeCoverage {
        path,
        answered,
        servers,
    } = asked;
    let whose = match answered {
        // The balancer does not choose among fewer.
        0 | 1 => "both as evenkeel sees them, since",
        _ if answered == servers => "both as reported by servers:",
        _ => "both as reported by servers, for the others as evenkeel sees them:",
    };
    format!("{words}; {whose} {answered} of {servers} answered at {path} in the last second")
}

const fn of_policy(policy: Policy) -> &'static str {
    match policy {
        Policy::LeastResponseTime => {
            "latency estimate in ms × (in flight + 1) / weight; the better of two random servers, lower is better"
        }
        Policy::PowerOfTwo => {
            "(in flight + 1) / weight; the better of two random servers, lower is better"
        }
        Policy::LeastRequests => "(in flight + 1) / weight; the lowest of all",
        Policy::Prequal => {
            "latency estimate in ms; the lowest of those with few attempts in flight, else the fewest of these"
        }
        _ if policy.uses_weights() => "the weight; load and latency are ignored",
        _ => "none; all servers are equal, whatever their weight",
    }
}

/// A server's score. `typical_ms` is the latency of a server without an estimate.
pub(super) fn score(
    policy: Policy,
    weight: u32,
    in_flight: u32,
    latency_ms: Option<f64>,
    typical_ms: f64,
) -> Option<f64> {
    let weight = f64::from(weight.max(1));
    let attempts = f64::from(in_flight) + 1.0;
    match policy {
        Policy::LeastResponseTime => Some(latency_ms.unwrap_or(typical_ms) * attempts / weight),
        Policy::Prequal => Some(latency_ms.unwrap_or(typical_ms)),
        Policy::PowerOfTwo | Policy::LeastRequests => Some(attempts / weight),
        _ if policy.uses_weights() => Some(weight),
        _ => None,
    }
}

/// The options that the policy follows, by their names in the configuration.
pub(super) fn options(
    options: &BalanceOptions,
    asked: Option<&LoadProbePlan>,
) -> BTreeMap<String, String> {
    let mut shown = BTreeMap::from([
        (
            "panic_below".to_owned(),
            format!("{:.0} %", options.panic_below * 100.0),
        ),
        ("slow_start".to_owned(), time(options.slow_start)),
    ]);
    if let Some(asked) = asked {
        let question = format!("GET {} within {}", asked.path, time(asked.timeout));
        shown.insert("prequal".to_owned(), question);
    }
    let factor = options.overprovisioning;
    shown.insert("overprovisioning".to_owned(), factor.to_string());
    if let Some(subset) = options.subset {
        shown.insert("subset".to_owned(), format!("{} servers", subset.size));
    }
    if options.policy == Policy::RingHash
        && let Some(factor) = options.bounded_load
    {
        shown.insert("bounded_load".to_owned(), factor.to_string());
    }
    if options.policy == Policy::Maglev {
        shown.insert("table".to_owned(), options.maglev_table.to_string());
    }
    shown
}

impl ServerSituation<'_> {
    /// Why it gets what it gets.
    pub(super) fn sentence(&self) -> String {
        let incident = self
            .incident
            .map_or_else(String::new, |id| format!(" (incident {id})"));
        match self.standing {
            Availability::Ejected {
                verdict: EjectionReason::Suspected | EjectionReason::Hung,
            } if self.intended > 0.0 => format!(
                "suspected{incident}, but still used because too few other servers are usable (panic)."
            ),
            Availability::Ejected { verdict } => {
                let why = match verdict {
                    EjectionReason::Known => "is known to be down",
                    EjectionReason::Suspected => "is suspected because of its responses or probes",
                    EjectionReason::Hung => "answers nothing",
                };
                format!("gets nothing: it {why}{incident}, and is ejected until it is well again.")
            }
            Availability::Broken => format!(
                "gets nothing{}: its breaker is open, because too much of what it got failed or was slow; then a few attempts show whether it is well.",
                self.left(" for another ")
            ),
            Availability::Draining => format!(
                "gets nothing new: it is draining until `evenkeel restore {}/{}`.",
                self.service, self.name
            ),
            Availability::Trial => format!(
                "is on trial{incident}: {} of its share, to prove that it is healthy{}.",
                percent(self.part),
                self.left(", for another ")
            ),
            Availability::Relieved => format!(
                "asked for a pause by Retry-After: {} of its share{}.",
                percent(self.part),
                self.left(" for another ")
            ),
            Availability::Warming => format!(
                "is warming up after it was restored: {} of its share now, all of it{}.",
                percent(self.part),
                self.left(" in ")
            ),
            Availability::InService if self.intended <= 0.0 => format!(
                "waits: it is of tier {}, and the servers of the tiers before it are enough.",
                self.tier
            ),
            Availability::InService => {
                self.in_service() + &self.probed_load_in_words() + &self.with_its_limit()
            }
        }
    }

    /// The bound that was found for it, as a sentence after the others.
    fn with_its_limit(&self) -> String {
        let Some((limit, why)) = self.limit else {
            return String::new();
        };
        let why = match why {
            LimitReason::Initial => "nothing has been learnt yet",
            LimitReason::Fixed => "it is fixed",
            LimitReason::Grew => "higher concurrency did not slow it down",
            LimitReason::Shrank => "higher concurrency slowed it down",
            LimitReason::Dropped => "it rejected some requests, or answered them too late",
            LimitReason::AppLimited => {
                "less than half of it was used recently, which does not justify a higher limit"
            }
            LimitReason::Probing => {
                "few at once for a moment, to see how quick it is without a crowd"
            }
        };
        format!(" At most {limit} concurrent requests: {why}.")
    }

    /// Its answer to a load probe, as a sentence.
    fn probed_load_in_words(&self) -> String {
        match self.probed {
            None => String::new(),
            Some(None) => " It has not answered a load probe in the last second.".to_owned(),
            Some(Some(ProbedLoad { in_flight, latency })) => {
                let latency = latency.map(|latency| format!(", {} for one more", time(latency)));
                let latency = latency.unwrap_or_default();
                format!(" By its own report: {in_flight} in flight{latency}.")
            }
        }
    }

    fn in_service(&self) -> String {
        let by = if self.policy.uses_weights() {
            format!("in service with weight {}", self.weight)
        } else {
            "in service, equal to all others".to_owned()
        };
        let part = if self.part < 1.0 {
            format!(
                " and {} of its share by the load it reports",
                percent(self.part)
            )
        } else {
            String::new()
        };
        let meant = format!("{by}{part}: {} of the attempts", text::share(self.intended));
        let Some(got) = self.got else {
            return format!("{meant}; there were none recently.");
        };
        let off = (got - self.intended).abs();
        if off < NEARLY && off < self.intended / 5.0 + 0.01 {
            return format!("{meant}, and it got that.");
        }
        if self.attempts as f64 * divergence(got, self.intended) < BEYOND_CHANCE.ln() {
            let (all, own) = (self.attempts, (self.attempts as f64 * got).round());
            return format!("{meant}; it got {own} of {all} recently, too few to tell.");
        }
        let compares = matches!(
            self.policy,
            Policy::LeastResponseTime
                | Policy::PowerOfTwo
                | Policy::LeastRequests
                | Policy::Prequal
        );
        let why = match (self.score, self.best) {
            (Some(score), Some(best))
                if compares && got < self.intended && score > best * WORSE =>
            {
                format!("its score is {:.1} times the best", score / best.max(1e-9))
            }
            _ if compares && got > self.intended => {
                "it was faster or less busy than others, or replaced them".to_owned()
            }
            _ if compares => "it was slower or busier than others".to_owned(),
            _ if self.policy.hashes() => {
                "the keys of the requests that came are spread like that".to_owned()
            }
            _ => "servers were added, removed or changed their state in these seconds".to_owned(),
        };
        format!("{meant}; it got {}, since {why}.", text::share(got))
    }

    fn left(&self, before: &str) -> String {
        self.changes_in
            .map_or_else(String::new, |left| format!("{before}{}", time(left)))
    }
}

fn percent(part: f64) -> String {
    format!("{:.0} %", part * 100.0)
}

fn time(duration: Duration) -> String {
    text::duration(duration.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASE: ServerSituation<'_> = ServerSituation {
        name: "shop-1",
        service: "shop",
        policy: Policy::LeastResponseTime,
        weight: 2,
        tier: 0,
        standing: Availability::InService,
        part: 1.0,
        changes_in: None,
        score: Some(3.0),
        best: Some(1.0),
        intended: 0.5,
        got: Some(0.5),
        attempts: 100,
        incident: None,
        probed: None,
        limit: None,
    };

    #[test]
    fn each_standing_has_its_words() {
        use EjectionReason::{Known, Suspected};
        let ejected = |verdict| Availability::Ejected { verdict };
        let left = Some(Duration::from_secs(12));
        for (standing, part, intended, changes_in, words) in [
            (
                Availability::InService,
                1.0,
                0.5,
                None,
                "weight 2: 50.0 % of the attempts, and it got that",
            ),
            (
                Availability::InService,
                1.0,
                0.0,
                None,
                "waits: it is of tier 0",
            ),
            (
                Availability::Relieved,
                0.1,
                0.1,
                left,
                "Retry-After: 10 % of its share for another 12.0 s",
            ),
            (
                Availability::Warming,
                0.4,
                0.3,
                left,
                "40 % of its share now, all of it in 12.0 s",
            ),
            (
                Availability::Trial,
                0.05,
                0.01,
                left,
                "on trial (incident 7): 5 % of its share",
            ),
            (
                Availability::Draining,
                0.0,
                0.0,
                None,
                "`evenkeel restore shop/shop-1`",
            ),
            (
                ejected(Known),
                0.0,
                0.0,
                left,
                "known to be down (incident 7)",
            ),
            (ejected(Suspected), 0.0, 0.0, left, "is suspected"),
            (ejected(Suspected), 0.0, 0.5, left, "(panic)"),
        ] {
            let case = ServerSituation {
                standing,
                part,
                intended,
                changes_in,
                incident: Some("7"),
                ..CASE
            };
            let sentence = case.sentence();
            assert!(sentence.contains(words), "{standing:?}: {sentence}");
        }
    }

    #[test]
    fn a_share_that_is_not_as_intended_has_a_reason() {
        for (policy, got, words) in [
            (
                Policy::LeastResponseTime,
                Some(0.2),
                "its score is 3.0 times the best",
            ),
            (Policy::LeastResponseTime, Some(0.9), "faster or less busy"),
            (Policy::RingHash, Some(0.9), "the keys of the requests"),
            (Policy::RoundRobin, Some(0.9), "equal to all others"),
            (Policy::RoundRobin, None, "there were none recently"),
        ] {
            let case = ServerSituation {
                policy,
                got,
                ..CASE
            };
            let sentence = case.sentence();
            assert!(sentence.contains(words), "{policy:?}: {sentence}");
        }
    }

    #[test]
    fn what_a_few_attempts_show_by_chance_has_none() {
        let few = |got, attempts, intended| {
            let case = ServerSituation {
                got: Some(got),
                attempts,
                intended,
                ..CASE
            };
            case.sentence().contains("too few to tell")
        };
        let case = ServerSituation {
            got: Some(0.0),
            attempts: 1,
            ..CASE
        };
        let words = "50.0 % of the attempts; it got 0 of 1 recently, too few to tell.";
        assert!(case.sentence().ends_with(words), "{}", case.sentence());
        for (got, attempts, intended, expected) in [
            (1.0, 1, 0.5, true),
            (1.0, 9, 0.5, true),
            (1.0, 10, 0.5, false),
            (0.2, 20, 0.5, true),
            (0.2, 40, 0.5, false),
            // One attempt at a server that is to get one in a hundred.
            (1.0, 1, 0.01, true),
            (0.1, 20, 0.01, true),
            (0.1, 100, 0.01, false),
            // The only server, and another one was picked.
            (0.5, 2, 1.0, false),
        ] {
            let found = few(got, attempts, intended);
            assert_eq!(found, expected, "{got} of {attempts}, not {intended}");
        }
    }

    #[test]
    fn whose_numbers_they_are() {
        let words = |answered, servers| {
            let path = "/load";
            let asked = ProbeCoverage {
                path,
                answered,
                servers,
            };
            score_in_words(Policy::Prequal, Some(asked))
        };
        for (words, whose) in [
            (
                words(2, 2),
                "as reported by servers: 2 of 2 answered at /load",
            ),
            (words(2, 3), "for the others as evenkeel sees them: 2 of 3"),
            (words(1, 2), "as evenkeel sees them, since 1 of 2 answered"),
        ] {
            assert!(words.contains(whose), "{words}");
        }
        assert!(!score_in_words(Policy::Prequal, None).contains("answered"));
        let answer = Some(ProbedLoad {
            in_flight: 12.0,
            latency: Some(Duration::from_micros(8_500)),
        });
        let sentence = |probed| ServerSituation { probed, ..CASE }.sentence();
        assert_eq!(sentence(None), CASE.sentence());
        let own = "it got that. By its own report: 12 in flight, 8.5 ms for one more.";
        assert!(
            sentence(Some(answer)).ends_with(own),
            "{}",
            sentence(Some(answer))
        );
        assert!(
            sentence(Some(None)).ends_with("has not answered a load probe in the last second.")
        );
    }

    #[test]
    fn scores_follow_the_balancing_policy() {
        let score = |policy| score(policy, 2, 3, Some(10.0), 1.0);
        assert_eq!(score(Policy::LeastResponseTime), Some(20.0));
        assert_eq!(score(Policy::LeastRequests), Some(2.0));
        assert_eq!(score(Policy::WeightedRandom), Some(2.0));
        assert_eq!(score(Policy::RoundRobin), None);
    }
}
