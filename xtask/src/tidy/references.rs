//! What the pages about the code name is there: files, and names in code font. A page that walks through the code is wrong as soon as a
//! function is renamed or moves, and nobody reads it for that.

use std::collections::{BTreeMap, BTreeSet};

use crate::repository::Repository;

use super::links::prose;
use super::violation::TidyViolation;

/// Looks at the pages about the code.
#[must_use]
pub fn check(repository: &Repository) -> Vec<TidyViolation> {
    let sources: BTreeMap<&str, &str> = (repository.files.iter())
        .filter(|file| file.path.ends_with(".rs"))
        .map(|file| (file.path.as_str(), file.text.as_str()))
        .collect();
    let words: BTreeSet<&str> = sources
        .values()
        .flat_map(|text| identifiers(text))
        .collect();
    let mut found = Vec::new();
    for page in repository
        .files
        .iter()
        .filter(|file| is_about_code(&file.path))
    {
        let mut columns = None;
        for (line, text) in prose(&page.text) {
            let mut tell =
                |what| found.push(TidyViolation::new(&page.path, line, "reference", what));
            for name in file_names(text).filter(|name| files(&sources, name).next().is_none()) {
                tell(format!("there is no file {name}"));
            }
            for name in codes(text)
                .flat_map(names)
                .filter(|name| !words.contains(name))
            {
                tell(format!("no Rust file says `{name}`"));
            }
            columns = hop_columns(text, columns);
            if let Some((function, file)) = columns
                && let Err(what) = check_hop(text, function, file, &sources)
            {
                tell(what);
            }
        }
    }
    found
}

fn is_about_code(path: &str) -> bool {
    path == "ARCHITECTURE.md" || path.starts_with("docs/internals/") && path.ends_with(".md")
}

/// In a table of hops, which cells name the function and the file: those that its first row calls so.
fn hop_columns(line: &str, known: Option<(usize, usize)>) -> Option<(usize, usize)> {
    if !line.starts_with('|') {
        return None;
    }
    let place = |word: &str| line.split('|').position(|cell| cell.trim() == word);
    known.or_else(|| place("function").zip(place("file")))
}

/// Whether each function of a row is defined in one of the files of the row.
fn check_hop(
    line: &str,
    function: usize,
    file: usize,
    sources: &BTreeMap<&str, &str>,
) -> Result<(), String> {
    let cell = |place| line.split('|').nth(place).unwrap_or_default();
    let texts: Vec<&str> = file_names(cell(file))
        .flat_map(|name| files(sources, name))
        .collect();
    for code in codes(cell(function)) {
        let path = code.split('(').next().unwrap_or_default();
        let name = path.rsplit("::").next().unwrap_or_default();
        let definition = format!("fn {name}");
        let ends = |rest: &str| !rest.starts_with(continues);
        let defines = |text: &&str| text.split(&definition).skip(1).any(ends);
        if !texts.iter().any(defines) {
            return Err(format!("`{name}` is not defined in {}", cell(file).trim()));
        }
    }
    Ok(())
}

/// The texts of the Rust files whose paths end so.
fn files<'a>(sources: &'a BTreeMap<&str, &'a str>, name: &'a str) -> impl Iterator<Item = &'a str> {
    let ends = move |path: &str| {
        let before = path.strip_suffix(name);
        before.is_some_and(|before| before.is_empty() || before.ends_with('/'))
    };
    let all = sources.iter().filter(move |(path, _)| ends(path));
    all.map(|(_, text)| *text)
}

/// The names of Rust files in a line. Of a link both its words and its target count.
fn file_names(line: &str) -> impl Iterator<Item = &str> {
    let of_path = |letter: char| continues(letter) || matches!(letter, '/' | '.' | '-');
    let parts = line.split(move |letter| !of_path(letter));
    let whole = parts.filter(|part| part.ends_with(".rs") && !part.starts_with('.'));
    // As seen from the page, after the dots the path is one from the root.
    let up = line.split("../").skip(1);
    let targets = up.filter_map(|rest| rest.split(')').next());
    whole.chain(targets.filter(|target| target.ends_with(".rs") && !target.contains(' ')))
}

/// What stands in code font in a line.
fn codes(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The identifiers of code that looks like a path, a call or a name in Rust; none of anything else: keys with dots, commands, headers.
fn names(code: &str) -> impl Iterator<Item = &str> {
    let fits = |letter: char| {
        continues(letter) || matches!(letter, ':' | '{' | '}' | '(' | ')' | ',' | ' ')
    };
    let is_one = !code.contains(' ') || code.contains(", ");
    let is_name = is_one && code.chars().all(fits) && !code.replace("::", "").contains(':');
    code.split(|letter| !continues(letter))
        .filter(move |word| is_name && word.starts_with(|letter: char| !letter.is_ascii_digit()))
}

fn identifiers(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter| !continues(letter))
}

fn continues(letter: char) -> bool {
    letter == '_' || letter.is_ascii_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::TextFile;

    const CODE: (&str, &str) = (
        "crates/a/src/b/c.rs",
        "pub fn go_on() {}\nstruct Way;\nimpl Way { fn end(self) {} }\n",
    );

    fn violations(page: &str) -> Vec<String> {
        let files = [
            ("docs/internals/page.md", page),
            CODE,
            ("crates/a/src/d.rs", ""),
        ];
        let files = files.map(|(path, text)| TextFile {
            path: path.to_owned(),
            text: text.to_owned(),
        });
        let found = check(&Repository {
            paths: files.iter().map(|file| file.path.clone()).collect(),
            files: files.into(),
            packages: vec![],
        });
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_there_may_be_named() {
        let page = "[b/c.rs](../../crates/a/src/b/c.rs) and c.rs: `go_on`, `Way::end`, `Way::{end, go_on}`\n\
                    `a.key`, `evenkeel top`, `X-Any`, `end(now)`\n\
                    | | function | file | |\n|---|---|---|---|\n\
                    | 1 | `Way::end(Way)` | a: b/c.rs | `go_on` |\n| | **part** | | |\n";
        assert_eq!(violations(&page.replace("now", "Way")), [""; 0]);
    }

    #[test]
    fn what_is_not_there_is_found() {
        let page = "x.rs\n[c.rs](../../crates/a/src/c.rs)\n`gone`, `Way::go`\n\n\
                    | function | file |\n|---|---|\n| `end` | d.rs |\n| `go` | [c](../b/c.rs) |\n";
        assert_eq!(
            violations(page),
            [
                "docs/internals/page.md:1: reference: there is no file x.rs",
                "docs/internals/page.md:2: reference: there is no file crates/a/src/c.rs",
                "docs/internals/page.md:3: reference: no Rust file says `gone`",
                "docs/internals/page.md:3: reference: no Rust file says `go`",
                "docs/internals/page.md:7: reference: `end` is not defined in d.rs",
                "docs/internals/page.md:8: reference: no Rust file says `go`",
                "docs/internals/page.md:8: reference: `go` is not defined in [c](../b/c.rs)",
            ]
        );
    }

    #[test]
    fn other_pages_may_say_anything() {
        assert!(!is_about_code("docs/guide/page.md") && is_about_code("ARCHITECTURE.md"));
    }
}
