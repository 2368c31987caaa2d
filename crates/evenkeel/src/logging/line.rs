//! One event is one line: untrusted text cannot end a line, move the cursor or reorder the text around it.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

use evenkeel_config::plan::LogFormat;
use evenkeel_core::is_control_or_bidi;
use evenkeel_runtime::LineQueue;
use tracing_subscriber::fmt::MakeWriter;

/// Puts formatted events into the queue, each as one line. Never fails and never waits.
#[derive(Debug, Clone)]
pub(super) struct LineWriter {
    queue: LineQueue,
    format: LogFormat,
    /// The formatter colours: its own escape sequences stay. Those of events it has escaped itself.
    colours: bool,
}

impl LineWriter {
    pub(super) const fn new(queue: LineQueue, format: LogFormat, colours: bool) -> Self {
        Self {
            queue,
            format,
            colours,
        }
    }
}

impl io::Write for LineWriter {
    /// `event` is a whole one: the formatter hands it over in one piece.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        self.queue
            .push(one_line(&text, self.format, self.colours).as_bytes());
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LineWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// `event` as one line with its end. Without anything to escape it is not copied.
fn one_line(event: &str, format: LogFormat, colours: bool) -> Cow<'_, str> {
    let is_kept = |character| colours && character == '\u{1b}';
    let text = event.strip_suffix('\n').unwrap_or(event);
    if text.len() < event.len()
        && !text
            .chars()
            .any(|one| is_control_or_bidi(one) && !is_kept(one))
    {
        return Cow::Borrowed(event);
    }
    let mut line = String::with_capacity(event.len() + 16);
    for character in text.chars() {
        match (character, format) {
            (character, _) if !is_control_or_bidi(character) || is_kept(character) => {
                line.push(character);
            }
            // Such characters stand in strings only, where JSON has its own way to write them.
            (character, LogFormat::Json) => {
                write!(line, "\\u{:04x}", u32::from(character)).expect("a text takes all");
            }
            (character, LogFormat::Human) => line.extend(character.escape_default()),
        }
    }
    line.push('\n');
    Cow::Owned(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_event_is_not_copied() {
        let event = "2026 INFO all is well: é server=\"one\"\n";
        for format in [LogFormat::Human, LogFormat::Json] {
            assert!(matches!(one_line(event, format, false), Cow::Borrowed(line) if line == event));
        }
    }

    #[test]
    fn ends_of_lines_control_and_bidi_characters_are_escaped() {
        let event = "a\r\nb\u{1b}[2Jc\u{202e}d\u{9b}e\tf\n";
        let human = "a\\r\\nb\\u{1b}[2Jc\\u{202e}d\\u{9b}e\\tf\n";
        assert_eq!(one_line(event, LogFormat::Human, false), human);
        assert_eq!(one_line("no end", LogFormat::Human, false), "no end\n");
    }

    #[test]
    fn the_formatters_own_colours_stay() {
        let event = "\u{1b}[32mINFO\u{1b}[0m a\u{202e}b\n";
        let line = one_line(event, LogFormat::Human, true);
        assert_eq!(line, "\u{1b}[32mINFO\u{1b}[0m a\\u{202e}b\n");
    }

    #[test]
    fn json_stays_json() {
        let text = "a\u{202e}b\u{9b}c\u{2028}\n\"";
        let event = format!("{}\n", serde_json::json!({ "message": text }));
        let line = one_line(&event, LogFormat::Json, false);
        assert!(line.is_ascii() && line.lines().count() == 1, "{line}");
        let back: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(back["message"], text);
    }
}
