//! Characters of untrusted text that must be escaped before they reach a terminal or a log.
//!
//! A module of its own because log lines, reports and tables need the same answer.

/// Whether this character can end a line, move the cursor or change the order of the text around it: control characters
/// (C0, DEL, C1), line and paragraph separators, and the bidirectional controls of Unicode (UAX #9).
#[must_use]
pub fn is_control_or_bidi(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_or_reorders_text_is_found_and_other_text_is_not() {
        let harmful = "\0\t\n\r\u{1b}\u{7f}\u{85}\u{9b}\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2066}\u{2069}";
        assert!(harmful.chars().all(is_control_or_bidi));
        let plain =
            " aZ9~\u{a0}\u{e9}\u{5d0}\u{627}\u{200d}\u{2027}\u{202f}\u{2065}\u{206a}\u{1f600}";
        assert!(!plain.chars().any(is_control_or_bidi));
    }
}
