//! Words that may not be committed: notes to oneself, which belong in an issue, and paths of one's own machine. The
//! words are put together here so that this file does not hold them itself.

use super::violation::TidyViolation;

const NOTES: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("X", "XX"),
    concat!("db", "g!"),
    concat!("to", "do!"),
];

const MACHINE: &[&str] = &[
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/Use", "rs/"),
];

/// Looks at one file of any kind.
#[must_use]
pub fn check(path: &str, text: &str) -> Vec<TidyViolation> {
    let mut found = Vec::new();
    for (before, line) in text.lines().enumerate() {
        for note in NOTES.iter().filter(|note| has_word(line, note)) {
            let what = format!("{note} belongs in an issue");
            found.push(TidyViolation::new(path, before + 1, "note", what));
        }
        for folder in MACHINE.iter().filter(|folder| has_path(line, folder)) {
            let what = format!("{folder} is a path of one machine");
            found.push(TidyViolation::new(path, before + 1, "machine-path", what));
        }
    }
    found
}

/// `word` stands in `line` with nothing of a word around it.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        let after = line
            .get(at + word.len()..)
            .and_then(|text| text.chars().next());
        let of_word =
            |letter: Option<char>| letter.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !of_word(before) && (word.ends_with('!') || !of_word(after))
    })
}

/// `folder` begins a path, and is not a folder within one.
fn has_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '}' | '~'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Vec<(usize, &'static str)> {
        check("a.md", text)
            .iter()
            .map(|violation| (violation.line, violation.rule))
            .collect()
    }

    #[test]
    fn each_note_is_found_with_its_line() {
        for note in NOTES {
            assert_eq!(
                rules(&format!("fine\n// {note}(x) later\n")),
                [(2, "note")],
                "{note}"
            );
        }
    }

    #[test]
    fn longer_words_are_no_notes() {
        let x = "X".repeat(6);
        assert!(rules(&format!("mktemp name.{x}\nmy_{}\nto do\n", NOTES[3])).is_empty());
    }

    #[test]
    fn each_path_of_a_machine_is_found() {
        for folder in MACHINE {
            assert_eq!(
                rules(&format!("see {folder}me/file")),
                [(1, "machine-path")],
                "{folder}"
            );
            assert_eq!(
                rules(&format!("\"file://{folder}\"")),
                [(1, "machine-path")],
                "{folder}"
            );
            assert!(
                rules(&format!("see docs{folder}file")).is_empty(),
                "{folder}"
            );
        }
    }
}
