//! The metrics page has a row for every metric of the program, and no page names a metric that the program does not have:
//! an alert on one would never fire.

use std::collections::BTreeSet;

use crate::repository::Repository;

use super::TidyViolation;

const PAGE: &str = "docs/operate/metrics.md";
const PREFIX: &str = "evenkeel_";

/// Compares the names in the sources of the crates with those in the documentation.
#[must_use]
pub fn check(repository: &Repository) -> Vec<TidyViolation> {
    let Some(page) = repository.text(PAGE) else {
        return Vec::new();
    };
    let is_source =
        |path: &str| path.starts_with("crates/") && path.contains("/src/") && path.ends_with(".rs");
    let sources = repository.files.iter().filter(|file| is_source(&file.path));
    let metrics: BTreeSet<&str> = sources.flat_map(|file| literals(&file.text)).collect();
    let crates: BTreeSet<String> = repository
        .packages
        .iter()
        .map(|package| package.name.replace('-', "_"))
        .collect();
    let mut found = Vec::new();
    for metric in &metrics {
        if !page.contains(&format!("| `{metric}` |")) {
            let what = format!("there is no row for {metric}");
            found.push(TidyViolation::new(PAGE, 1, "metric", what));
        }
    }
    let is_document = |path: &str| path.starts_with("docs/") && path.ends_with(".md");
    for file in repository
        .files
        .iter()
        .filter(|file| is_document(&file.path))
    {
        for (before, line) in file.text.lines().enumerate() {
            for word in words(line) {
                let series = ["_sum", "_count", "_bucket"];
                let metric = series.iter().find_map(|end| word.strip_suffix(end));
                let is_known = |name: &str| metrics.contains(name) || crates.contains(name);
                if !is_known(word) && !metric.is_some_and(is_known) {
                    let what = format!("there is no metric {word}");
                    found.push(TidyViolation::new(&file.path, before + 1, "metric", what));
                }
            }
        }
    }
    found
}

/// The string literals of a source file that are names of metrics.
fn literals(text: &str) -> impl Iterator<Item = &str> {
    let pieces = text.split('"');
    pieces.filter(|piece| piece.starts_with(PREFIX) && piece.chars().all(is_of_name))
}

/// The words of a line that look like names of metrics.
fn words(line: &str) -> impl Iterator<Item = &str> {
    let words = line.split(|letter| !is_of_name(letter));
    words.filter(|word| word.starts_with(PREFIX))
}

const fn is_of_name(letter: char) -> bool {
    letter.is_ascii_lowercase() || letter == '_'
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::TextFile;

    fn violations(source: &str, page: &str) -> Vec<String> {
        let file = |(path, text): (&str, &str)| TextFile {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let files = [("crates/a/src/b.rs", source), (PAGE, page)].map(file);
        let found = check(&Repository {
            files: files.to_vec(),
            ..Repository::default()
        });
        found.into_iter().map(|found| found.what).collect()
    }

    #[test]
    fn the_same_names_on_both_sides_pass() {
        let page = "| `evenkeel_a_total` | counter |\n| `evenkeel_b` | histogram |\nrate(evenkeel_b_count[5m])\n";
        let source = "name(\"evenkeel_a_total\"); name(\"evenkeel_b\"); \"evenkeel-c\"";
        assert_eq!(violations(source, page), [""; 0]);
    }

    #[test]
    fn a_metric_without_a_row_is_found() {
        let found = violations("\"evenkeel_a_total\"", "evenkeel_a_total is there\n");
        assert_eq!(found, ["there is no row for evenkeel_a_total"]);
    }

    #[test]
    fn a_metric_that_is_not_there_is_found() {
        let found = violations("", "expr: evenkeel_x_total > 0\n");
        assert_eq!(found, ["there is no metric evenkeel_x_total"]);
    }
}
