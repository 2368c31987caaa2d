//! Type names: one meaning each. A name is unique within its crate, and several crates may use it only if `SHARED` says why.
//!
//! Two types of the same name make every search, log and review ambiguous, and a reader cannot know which one a sentence means.

use std::collections::{BTreeMap, BTreeSet};

use super::tokens::{CodeToken, TokenKind, tokens};
use super::violation::TidyViolation;
use crate::repository::{Repository, TextFile};

/// The file of the lists, which stale entries are reported in.
const HERE: &str = "xtask/src/tidy/type_names.rs";

/// Names of types in several crates: the name, the crates, and the reason.
const SHARED: &[(&str, &[&str], &str)] = &[
    (
        "Fallback",
        &["request", "tolerate"],
        "what a route answers instead; the library's tower layer that does so",
    ),
    (
        "FallbackService",
        &["request", "tolerate"],
        "the service that answers instead; the service of the library's tower layer",
    ),
    (
        "Clock",
        &["runtime", "tolerate"],
        "the machine's clock; the interface for a clock that users of the library provide",
    ),
    (
        "Incident",
        &["fault", "tolerate"],
        "the record of a fault; the library's report of one call",
    ),
];

/// Names that a crate defines more than once: the crate, the name, and the reason.
const REPEATED: &[(&str, &str, &str)] = &[];

/// Where a crate defines a type: file and line.
type Places<'a> = Vec<(&'a str, usize)>;

/// Looks at the sources of all crates; unit tests may name their helpers as they like.
#[must_use]
pub fn check(repository: &Repository) -> Vec<TidyViolation> {
    check_lists(&repository.files, SHARED, REPEATED)
}

fn check_lists(
    files: &[TextFile],
    shared: &[(&str, &[&str], &str)],
    repeated: &[(&str, &str, &str)],
) -> Vec<TidyViolation> {
    let mut names: BTreeMap<String, BTreeMap<&str, Places<'_>>> = BTreeMap::new();
    for file in files {
        let Some(package) = package_of(&file.path) else {
            continue;
        };
        for (name, line) in defined(&file.text) {
            let places = names.entry(name).or_default().entry(package).or_default();
            places.push((&file.path, line));
        }
    }
    let mut found = Vec::new();
    for (name, packages) in &names {
        for (package, places) in packages {
            let is_listed = repeated
                .iter()
                .any(|entry| (entry.0, entry.1) == (*package, name.as_str()));
            if let (Some(second), false) = (places.get(1), is_listed) {
                let what = format!("{package} has another type {name} in {}", places[0].0);
                found.push(TidyViolation::new(second.0, second.1, "type-name", what));
            }
        }
        let listed = shared.iter().find(|entry| entry.0 == name);
        let unlisted = |package: &&str| !listed.is_some_and(|entry| entry.1.contains(package));
        if packages.len() > 1
            && let Some(package) = packages.keys().copied().rfind(unlisted)
        {
            let others: Vec<&str> = packages
                .keys()
                .copied()
                .filter(|other| *other != package)
                .collect();
            let what = format!("{name} is a type of {}, too", others.join(", "));
            let (file, line) = packages[package][0];
            found.push(TidyViolation::new(file, line, "type-name", what));
        }
    }
    found.extend(stale(&names, shared, repeated));
    found
}

/// Entries of the lists that are not needed any longer.
fn stale(
    names: &BTreeMap<String, BTreeMap<&str, Places<'_>>>,
    shared: &[(&str, &[&str], &str)],
    repeated: &[(&str, &str, &str)],
) -> Vec<TidyViolation> {
    let mut found = Vec::new();
    let mut report = |what: String| found.push(TidyViolation::new(HERE, 1, "type-name", what));
    for (name, packages, _) in shared {
        let actual: BTreeSet<&str> = names
            .get(*name)
            .map(|packages| packages.keys().copied().collect())
            .unwrap_or_default();
        for package in packages
            .iter()
            .filter(|package| !actual.contains(**package))
        {
            report(format!("SHARED: {package} has no type {name}"));
        }
        if packages.len() < 2 {
            report(format!("SHARED: {name} is a type of one crate only"));
        }
    }
    for (package, name, _) in repeated {
        let number = names
            .get(*name)
            .and_then(|packages| packages.get(package))
            .map_or(0, Vec::len);
        if number < 2 {
            report(format!("REPEATED: {package} has {number} types {name}"));
        }
    }
    found
}

/// The crate that a source file belongs to; none for tests and benches.
fn package_of(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("crates/").unwrap_or(path);
    let (package, rest) = rest.split_once('/')?;
    let is_source = rest.starts_with("src/") && rest.ends_with(".rs");
    let is_test = rest.ends_with("/tests.rs") || rest.contains("/tests/");
    (is_source && !is_test).then_some(package)
}

/// The types that a file defines in its modules, also through the macros that it calls: name and line. Those of functions
/// and of `#[cfg(test)]` do not count.
fn defined(text: &str) -> Vec<(String, usize)> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at = match token.word() {
            Some("struct" | "enum" | "trait" | "type" | "union") => {
                let name = tokens.get(at + 1).and_then(CodeToken::word);
                found.extend(name.map(|name| (name.to_owned(), token.line)));
                past_item(&tokens, at)
            }
            Some("fn" | "impl" | "macro_rules") => past_item(&tokens, at),
            _ if is_test_attribute(&tokens, at) => past_item(&tokens, past_group(&tokens, at + 1)),
            _ => at + 1,
        };
    }
    found
}

/// `#[cfg(test)]`, or `all` of that and more.
fn is_test_attribute(tokens: &[CodeToken], at: usize) -> bool {
    let word = |ahead: usize, word: &str| {
        tokens
            .get(at + ahead)
            .is_some_and(|token| token.is_word(word))
    };
    let opens =
        |ahead: usize, sign: char| tokens.get(at + ahead).is_some_and(|token| token.is(sign));
    opens(0, '#') && opens(1, '[') && word(2, "cfg") && (word(4, "test") || word(6, "test"))
}

/// Behind the item at `at`: past its `;`, or past its braces.
fn past_item(tokens: &[CodeToken], mut at: usize) -> usize {
    while let Some(token) = tokens.get(at) {
        match token.kind {
            TokenKind::Sign(';') => return at + 1,
            TokenKind::Sign('{') => return past_group(tokens, at),
            TokenKind::Sign('(' | '[') => at = past_group(tokens, at),
            _ => at += 1,
        }
    }
    at
}

/// Behind the bracket that closes the one at `at`.
fn past_group(tokens: &[CodeToken], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token.kind {
            TokenKind::Sign('(' | '[' | '{') => depth += 1,
            TokenKind::Sign(')' | ']' | '}') => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> TextFile {
        TextFile {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    fn what(
        files: &[TextFile],
        shared: &[(&str, &[&str], &str)],
        repeated: &[(&str, &str, &str)],
    ) -> Vec<String> {
        let violations = check_lists(files, shared, repeated);
        violations.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn types_of_modules_and_macros_are_found_and_no_others() {
        let text = "pub struct A<T>(T);\nmacro_rules! m { () => { struct No; } }\nm! {\n/// B.\npub struct B { a: u8 }\n\
                    later { c }\n}\nimpl Iterator for A { type Item = u8; fn f() { enum No {} } }\ntrait T { type No; }\n\
                    #[cfg(test)]\nmod tests { struct No; }\n#[cfg(all(test, unix))]\nstruct No;\nmod inner { type D = u8; }\n\
                    fn f() -> [u8; 2] { struct No; [0; 2] }\nenum E { A }\n";
        let names: Vec<(String, usize)> = defined(text);
        let names: Vec<(&str, usize)> = names
            .iter()
            .map(|(name, line)| (name.as_str(), *line))
            .collect();
        assert_eq!(names, [("A", 1), ("B", 5), ("T", 9), ("D", 14), ("E", 16)]);
    }

    #[test]
    fn a_name_is_unique_in_its_crate() {
        let files = [
            file("crates/a/src/one.rs", "struct Entry;\n"),
            file("crates/a/src/two.rs", "\nenum Entry {}\n"),
            file("crates/a/src/tests.rs", "struct Entry;\n"),
            file("crates/a/tests/one.rs", "struct Entry;\n"),
        ];
        let expected =
            "crates/a/src/two.rs:2: type-name: a has another type Entry in crates/a/src/one.rs";
        assert_eq!(what(&files, &[], &[]), [expected]);
        assert!(what(&files, &[], &[("a", "Entry", "why")]).is_empty());
    }

    #[test]
    fn a_name_of_several_crates_needs_a_reason() {
        let files = [
            file("crates/a/src/lib.rs", "struct Clock;\n"),
            file("crates/b/src/lib.rs", "trait Clock {}\n"),
            file("xtask/src/lib.rs", "type Clock = u8;\n"),
        ];
        let expected = "xtask/src/lib.rs:1: type-name: Clock is a type of a, b, too";
        assert_eq!(
            what(&files, &[("Clock", &["a", "b"], "why")], &[]),
            [expected]
        );
        assert_eq!(what(&files, &[], &[]).len(), 1);
        assert!(what(&files, &[("Clock", &["a", "b", "xtask"], "why")], &[]).is_empty());
    }

    #[test]
    fn entries_that_are_not_needed_are_found() {
        let files = [file("crates/a/src/lib.rs", "struct Clock;\n")];
        let shared: &[(&str, &[&str], &str)] =
            &[("Clock", &["a", "b"], "why"), ("Gone", &["a"], "why")];
        assert_eq!(
            what(&files, shared, &[("a", "Clock", "why")]),
            [
                "xtask/src/tidy/type_names.rs:1: type-name: SHARED: b has no type Clock",
                "xtask/src/tidy/type_names.rs:1: type-name: SHARED: a has no type Gone",
                "xtask/src/tidy/type_names.rs:1: type-name: SHARED: Gone is a type of one crate only",
                "xtask/src/tidy/type_names.rs:1: type-name: REPEATED: a has 1 types Clock",
            ]
        );
    }
}
