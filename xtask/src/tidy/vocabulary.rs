//! Words that were replaced by those of the field must stay out: private names for things that HAProxy, Envoy, hyper or an
//! RFC already name, and phrases that only make sense in another language.
//!
//! `NAMES` are checked as whole identifiers of code, so they may be English words; `PHRASES` are checked in every text,
//! so they are chosen such that no ordinary sentence contains them.

use super::tokens::{CodeToken, tokens};
use super::violation::TidyViolation;

/// Old identifiers, and what to say instead.
const NAMES: &[(&str, &str)] = &[
    ("Agenda", "ProbeSchedule"),
    ("Asker", "a client, a querier, a fetcher"),
    ("Books", "IncidentStore"),
    ("Chapter", "Scenario"),
    ("Crew", "ActionExecutor"),
    ("Desk", "the I/O of an exchange, a responder"),
    ("Errand", "BackgroundRequest"),
    ("Fallen", "FallbackState"),
    ("Filled", "NonEmptyList"),
    ("Flight", "InFlightGuard"),
    ("Hands", "ActionExecutor"),
    ("Heard", "what was received: a report, a probe's result"),
    ("Journey", "RequestContext"),
    ("Lack", "ExhaustedResource"),
    ("Lacked", "ExhaustionCounts"),
    ("Lately", "RecentActions"),
    ("Mischief", "InjectedFault"),
    ("Mistake", "Diagnostic"),
    ("Mistakes", "Diagnostics"),
    ("Patience", "deadlines, a timeout"),
    ("Question", "a query"),
    ("Quicker", "HedgedAttempt"),
    ("Rival", "HedgedAttempt"),
    ("Rounds", "ProbeScheduler"),
    ("Roster", "ServerSet"),
    ("Said", "an observation, a report, a verdict"),
    ("Spare", "FallbackService"),
    ("StandIns", "RollBacks"),
    ("Standing", "Availability, a rank"),
    ("Survey", "EligibleSet, ListeningSockets"),
    ("Talk", "UpstreamExchange"),
    ("Told", "what was published, written or applied"),
    ("errand", "a background request"),
    ("good_news", "low-priority signals"),
    ("heed", "apply, follow, use"),
    ("heeds", "applies, follows, uses"),
    ("homeless", "unrouted"),
    ("roster", "server_set"),
];

/// Old words within the names of functions, above all of tests: names of tests are read as sentences.
const WORDS_OF_FUNCTIONS: &[(&str, &str)] = &[
    ("books", "the type's name"),
    ("errand", "a background request"),
    ("heed", "apply, follow, use"),
    ("heeds", "applies, follows, uses"),
    ("homeless", "unrouted"),
    ("roster", "server_set"),
];

/// Old phrases, in pieces so that this file does not hold them, and what to say instead.
const PHRASES: &[(&str, &str)] = &[
    (concat!("way of a ", "request"), "request path"),
    (concat!("way of the ", "request"), "request path"),
    (concat!("request's ", "way"), "request path"),
    (concat!("way of a ", "fault"), "fault path"),
    (concat!("way of the ", "fault"), "fault path"),
    (concat!("fault's ", "way"), "fault path"),
    (concat!("drawn by ", "lot"), "random"),
    (concat!("each by ", "lot"), "at random"),
    (concat!("not by ", "lot"), "not at random"),
    (concat!("good ", "news"), "low-priority signals, successes"),
    (concat!("as if it were not ", "there"), "is ignored"),
    (concat!("as if nobody ", "asked"), "as if it were disabled"),
    (concat!("brings servers ", "down"), "crashes servers"),
    (concat!("brought servers ", "down"), "crashed servers"),
    (concat!("brings down ", "servers"), "crashes servers"),
    (concat!("who is ", "well"), "a healthy server"),
    (
        concat!("nobody is left to ", "answer"),
        "no server could be reached",
    ),
    (concat!("stood ", "still"), "was stalled"),
];

/// Looks at one file of any kind. The changelog and measured results keep their words.
#[must_use]
pub fn check(path: &str, text: &str) -> Vec<TidyViolation> {
    if path == "CHANGELOG.md" || path.starts_with("bench/results/") {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (before, line) in text.lines().enumerate() {
        let lower = line.to_lowercase();
        for (phrase, instead) in PHRASES {
            if lower.contains(phrase) {
                let what = format!("\"{phrase}\": say {instead}");
                found.push(TidyViolation::new(path, before + 1, "vocabulary", what));
            }
        }
    }
    if path.ends_with(".rs") {
        let words = tokens(text);
        let words = words
            .iter()
            .filter_map(|token| Some((token.word()?, token)));
        let mut before = "";
        for (word, CodeToken { line, .. }) in words {
            if std::mem::replace(&mut before, word) == "fn"
                && let Some(what) = old_word_of_function(word)
            {
                found.push(TidyViolation::new(path, *line, "vocabulary", what));
            }
            let old = NAMES.iter().find(|(name, _)| *name == word);
            if let Some((name, instead)) = old {
                let what = format!("{name}: say {instead}");
                found.push(TidyViolation::new(path, *line, "vocabulary", what));
            }
        }
    }
    found
}

/// What is wrong with the name of a function, if it holds an old word or leaves open what it is about.
fn old_word_of_function(name: &str) -> Option<String> {
    if name.starts_with("who_") {
        return Some(format!(
            "{name}: say what it is, a request, a client or a server"
        ));
    }
    let is_part = |(old, _): &&(&str, &str)| name.split('_').any(|part| part == *old);
    let (old, instead) = WORDS_OF_FUNCTIONS.iter().find(is_part)?;
    // The whole name is a matter of `NAMES`.
    (name != *old).then(|| format!("{old} in {name}: say {instead}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        check(path, text)
            .iter()
            .map(|violation| violation.line)
            .collect()
    }

    #[test]
    fn each_old_name_is_found_in_code() {
        for (name, _) in NAMES {
            assert_eq!(
                lines("crates/a/src/a.rs", &format!("\nstruct {name};\n")),
                [2],
                "{name}"
            );
        }
    }

    #[test]
    fn names_in_prose_and_longer_names_are_no_old_names() {
        let text = "//! Said the reader.\nlet a = \"Said\"; struct SaidSo; fn unheeded() {}\n";
        assert!(lines("crates/a/src/a.rs", text).is_empty());
        assert!(lines("docs/a.md", "A Question.\n").is_empty());
    }

    #[test]
    fn old_words_are_found_in_names_of_functions() {
        let path = "crates/a/src/a.rs";
        for name in ["a_retry_heeds_it", "the_books_are_even", "who_comes_is_new"] {
            assert_eq!(lines(path, &format!("\nfn {name}() {{}}\n")), [2], "{name}");
        }
        let others = "fn the_unheeded_one() { let who_is_it = 1; }\nfn is_who_it_was() {}\n";
        assert!(lines(path, others).is_empty());
    }

    #[test]
    fn each_old_phrase_is_found_in_any_text() {
        for (phrase, _) in PHRASES {
            assert_eq!(
                lines("docs/a.md", &format!("fine\nThe {phrase}.\n")),
                [2],
                "{phrase}"
            );
            assert_eq!(
                lines("crates/a/src/a.rs", &format!("// The {phrase}.\n")),
                [1],
                "{phrase}"
            );
            assert!(lines("CHANGELOG.md", &format!("The {phrase}.\n")).is_empty());
        }
    }
}
