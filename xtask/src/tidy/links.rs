//! Links between the repository's documents lead somewhere: to a file that is there and, after `#`, to a heading in it,
//! named as GitHub names headings. Links to elsewhere are not asked: a test needs no network.

use std::collections::{BTreeMap, BTreeSet};

use crate::repository::Repository;

use super::violation::TidyViolation;

/// Looks at every Markdown file.
#[must_use]
pub fn check(repository: &Repository) -> Vec<TidyViolation> {
    let documents = repository
        .files
        .iter()
        .filter(|file| is_markdown(&file.path));
    let anchors: BTreeMap<&str, BTreeSet<String>> = documents
        .clone()
        .map(|file| (file.path.as_str(), anchors(&file.text)))
        .collect();
    let mut found = Vec::new();
    for file in documents {
        for (line, target) in links(&file.text) {
            if let Err(what) = resolve(&file.path, &target, &repository.paths, &anchors) {
                found.push(TidyViolation::new(&file.path, line, "link", what));
            }
        }
    }
    found
}

/// Whether `target`, written in the file at `from`, leads somewhere.
fn resolve(
    from: &str,
    target: &str,
    paths: &BTreeSet<String>,
    anchors: &BTreeMap<&str, BTreeSet<String>>,
) -> Result<(), String> {
    if is_elsewhere(target) {
        return Ok(());
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = path
        .split('?')
        .next()
        .unwrap_or_default()
        .replace("%20", " ");
    let file = if path.is_empty() {
        Some(from.to_owned())
    } else {
        join(from, &path)
    };
    let file = file.ok_or_else(|| format!("{target} leaves the repository"))?;
    let folder = format!("{file}/");
    let is_folder = file.is_empty()
        || paths
            .range(folder.clone()..)
            .next()
            .is_some_and(|path| path.starts_with(&folder));
    if !paths.contains(&file) && !is_folder {
        return Err(format!("{target}: there is no {file}"));
    }
    match anchors.get(file.as_str()) {
        Some(known) if !anchor.is_empty() && !known.contains(anchor) => {
            Err(format!("{target}: {file} has no heading #{anchor}"))
        }
        _ => Ok(()),
    }
}

/// `https:…`, `mailto:…`, `//host/…`.
fn is_elsewhere(target: &str) -> bool {
    let scheme = target.split_once(':').is_some_and(|(scheme, _)| {
        !scheme.is_empty()
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+.-".contains(c))
    });
    scheme || target.starts_with("//")
}

/// `path` as seen from the folder of the file `from`; a `/` in front means the repository's root.
fn join(from: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    if path.starts_with('/') {
        parts.clear();
    }
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// Every link of a document with its line: `[a](b)`, `![a](b)`, `[a]: b`, `href="b"`, `src="b"`. Code is passed over.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (line, words) in prose(text) {
        let words = without_code(words);
        for piece in words.split("](").skip(1) {
            found.push((line, destination(piece)));
        }
        let definition = words
            .trim_start()
            .strip_prefix('[')
            .and_then(|rest| rest.split_once("]: "));
        if let Some((label, piece)) = definition
            && !label.contains(']')
        {
            found.push((line, destination(piece)));
        }
        for attribute in ["href=\"", "src=\""] {
            let pieces = words.split(attribute).skip(1);
            let targets = pieces.filter_map(|piece| piece.split('"').next());
            found.extend(targets.map(|target| (line, target.to_owned())));
        }
    }
    found
}

/// The target of a link, from the text after `](`: up to its closing bracket, without a title.
fn destination(piece: &str) -> String {
    let piece = piece.trim_start();
    if let Some((target, _)) = piece
        .strip_prefix('<')
        .and_then(|rest| rest.split_once('>'))
    {
        return target.to_owned();
    }
    let mut depth = 0_usize;
    let ends = |letter: char| match letter {
        '(' => {
            depth += 1;
            false
        }
        ')' if depth > 0 => {
            depth -= 1;
            false
        }
        ')' => true,
        other => other.is_whitespace(),
    };
    piece.split(ends).next().unwrap_or_default().to_owned()
}

/// The names that GitHub gives the headings of a document, and those it sets itself with `id="…"` or `name="…"`.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for (_, words) in prose(text) {
        for attribute in [" id=\"", " name=\""] {
            let pieces = words.split(attribute).skip(1);
            known.extend(
                pieces
                    .filter_map(|piece| piece.split('"').next())
                    .map(str::to_owned),
            );
        }
        let Some(title) = heading(words) else {
            continue;
        };
        let slug = slug(title);
        let count = times.entry(slug.clone()).or_default();
        known.insert(if *count == 0 {
            slug
        } else {
            format!("{slug}-{count}")
        });
        *count += 1;
    }
    known
}

/// The title of a line `# Title` with one to six marks.
fn heading(line: &str) -> Option<&str> {
    let title = line.trim_start_matches('#');
    let marks = line.len() - title.len();
    let is_heading = (1..=6).contains(&marks) && title.starts_with(' ');
    is_heading.then(|| title.trim().trim_end_matches('#').trim_end())
}

/// GitHub's rule: the words as they are shown, in small letters, blanks as hyphens, other marks left out.
fn slug(title: &str) -> String {
    let mut shown = String::new();
    let mut rest = title;
    while let Some((before, after)) = rest.split_once("](") {
        shown.push_str(before); // the target of a link is not shown
        rest = after.split_once(')').map_or("", |(_, after)| after);
    }
    shown.push_str(rest);
    let kept = shown
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase)
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// The lines outside fenced code, each with its number.
pub(super) fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fence: Option<&str> = None;
    text.lines().enumerate().filter_map(move |(before, line)| {
        let start = line.trim_start();
        let mark = ["```", "~~~"]
            .into_iter()
            .find(|mark| start.starts_with(mark));
        match (fence, mark) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => fence = None,
            (None, None) => return Some((before + 1, line)),
            (Some(_), _) => {}
        }
        None
    })
}

/// A line without its `code`.
fn without_code(line: &str) -> String {
    let mut words = String::new();
    let mut rest = line;
    while let Some((before, code)) = rest.split_once('`') {
        words.push_str(before);
        let ticks = code.len() - code.trim_start_matches('`').len();
        let mark = "`".repeat(ticks + 1);
        let inside = code.trim_start_matches('`');
        match inside.split_once(mark.as_str()) {
            Some((_, after)) => rest = after,
            None => rest = inside, // a lone tick is only a tick
        }
    }
    words.push_str(rest);
    words
}

fn is_markdown(path: &str) -> bool {
    path.ends_with(".md")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::TextFile;

    fn violations(files: &[(&str, &str)]) -> Vec<String> {
        let file = |(path, text): &(&str, &str)| TextFile {
            path: (*path).to_owned(),
            text: (*text).to_owned(),
        };
        let files: Vec<TextFile> = files.iter().map(file).collect();
        let paths = files.iter().map(|file| file.path.clone()).collect();
        let found = check(&Repository {
            files,
            paths,
            packages: vec![],
        });
        found.iter().map(ToString::to_string).collect()
    }

    const GUIDE: (&str, &str) = (
        "docs/guide.md",
        "# The guide\n\n## What it's for\n\n## Again\n\n## Again\n",
    );

    #[test]
    fn links_that_lead_somewhere_pass() {
        let readme = "[a](docs/guide.md) ![b](docs/guide.md#what-its-for \"why\") [c](#top)\n# Top\n\
                      [d](docs/guide.md#again-1), [e](docs), [f](/docs/guide.md), [g](<docs/guide.md>)\n\
                      [h](https://example.org/x) [i](mailto:a@example.org)\n[j]: docs/guide.md\n\
                      <a href=\"docs/guide.md\">k</a>\n`[l](nowhere.md)`\n```\n[m](nowhere.md)\n# None\n```\n";
        assert_eq!(violations(&[("README.md", readme), GUIDE]), [""; 0]);
        assert_eq!(
            violations(&[("docs/a.md", "[a](guide.md) [b](../docs/guide.md)"), GUIDE]),
            [""; 0]
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_found() {
        let readme = "\n[a](docs/none.md)\n[b]: none.md\n<img src=\"none.png\">\n[c](../out.md)\n";
        let found = violations(&[("README.md", readme), GUIDE]);
        assert_eq!(
            found,
            [
                "README.md:2: link: docs/none.md: there is no docs/none.md",
                "README.md:3: link: none.md: there is no none.md",
                "README.md:4: link: none.png: there is no none.png",
                "README.md:5: link: ../out.md leaves the repository",
            ]
        );
    }

    #[test]
    fn a_heading_that_is_not_there_is_found() {
        let readme = "[a](docs/guide.md#other)\n[b](#none)\n[c](docs/guide.md#again-2)\n";
        let found = violations(&[("README.md", readme), GUIDE]);
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(
            found[0],
            "README.md:1: link: docs/guide.md#other: docs/guide.md has no heading #other"
        );
    }

    #[test]
    fn headings_are_named_as_github_names_them() {
        assert_eq!(slug("What it's for"), "what-its-for");
        assert_eq!(
            slug("`[service.NAME.run]`: a *process*"),
            "servicenamerun-a-process"
        );
        assert_eq!(
            slug("See [the guide](docs/guide.md) & more"),
            "see-the-guide--more"
        );
        assert_eq!(slug("retry_on – Über"), "retry_on--über");
        assert_eq!(heading("## Again ##"), Some("Again"));
        assert_eq!(heading("#hashtag"), None);
    }
}
