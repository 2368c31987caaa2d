//! Violations of rules. Below all rules, so that each can be read independently.

use std::fmt;

/// One place where a rule does not hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TidyViolation {
    /// The file, from the repository's root.
    pub file: String,
    /// Its line, from 1.
    pub line: usize,
    /// The rule's name.
    pub rule: &'static str,
    /// The violation.
    pub what: String,
}

impl fmt::Display for TidyViolation {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            to,
            "{}:{}: {}: {}",
            self.file, self.line, self.rule, self.what
        )
    }
}

impl TidyViolation {
    pub(crate) fn new(file: &str, line: usize, rule: &'static str, what: String) -> Self {
        Self {
            file: file.to_owned(),
            line,
            rule,
            what,
        }
    }
}

/// The first line, from 1, that begins with `name` as a key of a TOML table; 1 if there is none.
pub(crate) fn line_of_key(text: &str, name: &str) -> usize {
    let is_key = |line: &str| {
        let rest = line.trim_start().strip_prefix(name);
        rest.is_some_and(|rest| rest.trim_start().starts_with(['.', '=']))
    };
    text.lines().position(is_key).map_or(1, |before| before + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_is_told_as_file_line_rule() {
        let violation = TidyViolation::new("a/b.rs", 7, "rule", "what".to_owned());
        assert_eq!(violation.to_string(), "a/b.rs:7: rule: what");
    }

    #[test]
    fn a_key_is_found_by_its_whole_name() {
        let text = "[dependencies]\nserde_json = \"1\"\nserde.workspace = true\n";
        assert_eq!(line_of_key(text, "serde"), 3);
        assert_eq!(line_of_key(text, "toml"), 1);
    }
}
