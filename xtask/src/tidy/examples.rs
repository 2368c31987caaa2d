//! Every example is in the examples' table of contents; one that is not linked is not an example.

use crate::repository::Repository;

use super::violation::TidyViolation;

const CONTENTS: &str = "examples/README.md";

/// Compares `examples/*.toml` with the README beside them, if there is one.
#[must_use]
pub fn check(repository: &Repository) -> Vec<TidyViolation> {
    let paths = repository.files.iter().map(|file| file.path.as_str());
    repository
        .text(CONTENTS)
        .map_or_else(Vec::new, |text| unnamed(paths, text))
}

/// The examples among `paths` that `contents` does not name.
fn unnamed<'a>(paths: impl Iterator<Item = &'a str>, contents: &str) -> Vec<TidyViolation> {
    let examples = paths.filter_map(|path| {
        let name = path.strip_prefix("examples/")?;
        (name.ends_with(".toml") && !name.contains('/')).then_some((path, name))
    });
    let missing = examples.filter(|(_, name)| !contents.contains(name));
    let tell =
        |(path, _)| TidyViolation::new(path, 1, "example", format!("not named in {CONTENTS}"));
    missing.map(tell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_that_is_not_named_is_found() {
        let paths = || ["examples/a.toml", "examples/b.toml", "examples/c/d.toml"].into_iter();
        let found = unnamed(paths(), "| [a.toml](a.toml) | smallest |");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].file, "examples/b.toml");
        assert!(unnamed(paths(), "a.toml, b.toml").is_empty());
    }
}
