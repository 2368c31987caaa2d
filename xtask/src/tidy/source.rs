//! Shape of Rust files: each says first why it is there, and none grows past what can be read in one go. Tests do not
//! count, for a rule with many cases needs many tests.

use super::violation::TidyViolation;

/// The second is a crate whose README says it.
const OPENINGS: &[&str] = &["//!", "#![doc = include_str!("];

const MOST_LINES: usize = 400;

/// Looks at one file; passes what is not Rust of ours.
#[must_use]
pub fn check(path: &str, text: &str) -> Vec<TidyViolation> {
    let ours = ["crates/", "xtask/", "fuzz/"]
        .iter()
        .any(|folder| path.starts_with(folder));
    if !ours || !path.ends_with(".rs") {
        return Vec::new();
    }
    let mut found = Vec::new();
    if !OPENINGS.iter().any(|opening| text.starts_with(opening)) {
        let what = "opens without //! that says what it decides and why it is apart".to_owned();
        found.push(TidyViolation::new(path, 1, "opening", what));
    }
    let of_tests = path
        .split('/')
        .any(|part| part == "tests" || part == "benches");
    let lines = lines_of_code(text);
    if !of_tests && !path.ends_with("/tests.rs") && lines > MOST_LINES {
        let what = format!("{lines} lines of code, at most {MOST_LINES}");
        found.push(TidyViolation::new(path, 1, "length", what));
    }
    found
}

/// Lines that are neither blank nor comment only, up to the module of unit tests.
#[must_use]
pub fn lines_of_code(text: &str) -> usize {
    let mut count = 0;
    let mut in_comment = false;
    let mut lines = text.lines().map(str::trim).peekable();
    while let Some(line) = lines.next() {
        if in_comment || line.starts_with("/*") {
            in_comment = !line.contains("*/");
            continue;
        }
        if line.is_empty() || line.starts_with("//") {
            continue;
        }
        if line == "#[cfg(test)]" && lines.peek().is_some_and(|next| opens_module(next)) {
            break;
        }
        count += 1;
    }
    count
}

fn opens_module(line: &str) -> bool {
    line.starts_with("mod ") && line.ends_with('{')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<&'static str> {
        check(path, text)
            .iter()
            .map(|violation| violation.rule)
            .collect()
    }

    fn file_of(lines: usize) -> String {
        format!("//! Why.\n\n{}", "let a = 1;\n".repeat(lines))
    }

    #[test]
    fn a_file_says_first_why_it_is_there() {
        assert_eq!(
            rules("crates/core/src/time.rs", "use std::fmt;\n"),
            ["opening"]
        );
        assert_eq!(
            rules("crates/core/tests/time.rs", "use std::fmt;\n"),
            ["opening"]
        );
        assert!(rules("crates/core/src/time.rs", "//! Time.\nuse std::fmt;\n").is_empty());
        let included = "#![doc = include_str!(\"../README.md\")]\n";
        assert!(rules("crates/core/src/lib.rs", included).is_empty());
        assert!(rules("crates/core/src/time.txt", "time").is_empty());
    }

    #[test]
    fn a_long_file_is_found_unless_it_holds_tests() {
        assert!(rules("crates/core/src/a.rs", &file_of(400)).is_empty());
        assert_eq!(rules("crates/core/src/a.rs", &file_of(401)), ["length"]);
        assert!(rules("crates/core/tests/a.rs", &file_of(401)).is_empty());
    }

    #[test]
    fn comments_and_tests_do_not_count_as_code() {
        let text = "//! Why.\n\n/* a\nb */\n// c\nfn a() {\n} // d\n#[cfg(test)]\nmod tests {\nfn b() {}\n}\n";
        assert_eq!(lines_of_code(text), 2);
        let below = "#[cfg(test)]\nmod common;\nfn a() {}\n";
        assert_eq!(
            lines_of_code(below),
            3,
            "code after a test module in another file still counts"
        );
    }
}
