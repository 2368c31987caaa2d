//! The shape of the documentation's text: lines that fit beside each other in a review, and code blocks that say what
//! they hold, so that the tests of snippets find them.

use super::TidyViolation;

/// The longest line of prose, in characters.
const WIDTH: usize = 160;

/// Checks one file, if it is Markdown.
#[must_use]
pub fn check(path: &str, text: &str) -> Vec<TidyViolation> {
    if !path.ends_with(".md") {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut in_block = false;
    for (before, line) in text.lines().enumerate() {
        let start = line.trim_start();
        if start.starts_with("```") {
            if !in_block && start == "```" {
                let what = "a code block does not name its language".to_owned();
                found.push(TidyViolation::new(path, before + 1, "code-block", what));
            }
            in_block = !in_block;
            continue;
        }
        let columns = line.chars().count();
        if columns > WIDTH && !in_block && !is_unbreakable(start) {
            let what = format!("{columns} columns of prose, more than {WIDTH}");
            found.push(TidyViolation::new(path, before + 1, "wide-line", what));
        }
    }
    found
}

/// A table row, or one word without a blank, such as a link.
fn is_unbreakable(line: &str) -> bool {
    let words = line.trim_start_matches(['-', '*', ' ']);
    line.starts_with('|') || !words.contains(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Vec<(usize, &'static str)> {
        let found = check("docs/a.md", text);
        found.iter().map(|found| (found.line, found.rule)).collect()
    }

    #[test]
    fn a_wide_line_of_prose_is_found() {
        let wide = "word ".repeat(33);
        assert_eq!(rules(&format!("fine\n\n{wide}\n")), [(3, "wide-line")]);
        assert_eq!(rules(&format!("- {wide}\n")), [(1, "wide-line")]);
        assert_eq!(rules(&"é".repeat(80).repeat(2)), []);
        assert!(check("docs/a.rs", &wide).is_empty());
    }

    #[test]
    fn what_cannot_be_broken_may_be_wide() {
        let wide = "word ".repeat(33);
        let link = format!("- [a](https://example.org/{})", "x".repeat(160));
        let text = format!("| {wide} |\n```text\n{wide}\n```\n{link}\n");
        assert_eq!(rules(&text), []);
    }

    #[test]
    fn a_code_block_names_its_language() {
        let text = "```toml\nkey = 1\n```\n\n```\nplain\n```\n";
        assert_eq!(rules(text), [(5, "code-block")]);
    }
}
