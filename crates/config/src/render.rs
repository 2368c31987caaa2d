//! Mistakes for people, with the line and a caret, and for machines, as JSON. Printing is the caller's.

use std::fmt;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError,
    MietteSpanContents, SourceCode, SourceSpan, SpanContents, ThemeCharacters, ThemeStyles,
};
use serde_json::{Value as Json, json};

use crate::mistake::{Mistake, Mistakes, Severity};

/// More are counted, not shown.
const MOST_SHOWN: usize = 100;

/// The room that a help text does not have.
const HELP_INDENT: usize = 8;

/// How mistakes are shown to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// With colours. The caller asks whether it is a terminal, and honours `NO_COLOR`.
    pub colour: bool,
    /// Columns.
    pub width: usize,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            colour: false,
            width: 100,
        }
    }
}

/// The mistakes for people: each with its line, a caret and what would be right, and a count at the end.
#[must_use]
pub fn human(mistakes: &Mistakes, style: Style) -> String {
    let width = style.width.max(40);
    let styles = if style.colour {
        ThemeStyles::ansi()
    } else {
        ThemeStyles::none()
    };
    let theme = GraphicalTheme {
        characters: ThemeCharacters::unicode(),
        styles,
    };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(width)
        .with_links(false)
        .with_wrap_lines(false)
        .with_context_lines(1)
        .without_syntax_highlighting();
    let mut text = String::new();
    for mistake in mistakes.list().iter().take(MOST_SHOWN) {
        let help = mistake
            .help
            .as_deref()
            .map(|help| wrap(help, width - HELP_INDENT));
        let shown = Shown {
            mistake,
            mistakes,
            help,
        };
        if handler.render_report(&mut text, &shown).is_err() {
            // Never lose a mistake because it could not be drawn.
            let (line, column) = mistakes.position(mistake.span.start);
            text.push_str(&format!(
                "{}:{line}:{column}: {}: {}\n",
                mistakes.name(),
                mistake.code.text(),
                mistake.message
            ));
        }
        text.push('\n');
    }
    let hidden = mistakes.list().len().saturating_sub(MOST_SHOWN);
    if hidden > 0 {
        text.push_str(&format!("… and {hidden} more\n"));
    }
    text.push_str(&summary(mistakes));
    text.push('\n');
    trim_lines(&text)
}

/// How many mistakes there are, in words.
#[must_use]
pub fn summary(mistakes: &Mistakes) -> String {
    let count = |number: usize, what: &str| match number {
        0 => None,
        1 => Some(format!("1 {what}")),
        n => Some(format!("{n} {what}s")),
    };
    let parts: Vec<String> = [
        count(mistakes.errors(), "error"),
        count(mistakes.warnings(), "warning"),
    ]
    .into_iter()
    .flatten()
    .collect();
    let counts = if parts.is_empty() {
        "no mistakes".to_owned()
    } else {
        parts.join(" and ")
    };
    format!("{}: {counts}", mistakes.name())
}

/// The mistakes for machines: `valid`, the counts, and each mistake with its place (lines and columns from 1).
#[must_use]
pub fn json(mistakes: &Mistakes) -> Json {
    let list: Vec<Json> = mistakes
        .list()
        .iter()
        .map(|mistake| one(mistakes, mistake))
        .collect();
    json!({
        "file": mistakes.name(),
        "valid": mistakes.errors() == 0,
        "errors": mistakes.errors(),
        "warnings": mistakes.warnings(),
        "mistakes": list,
    })
}

fn one(mistakes: &Mistakes, mistake: &Mistake) -> Json {
    let (line, column) = mistakes.position(mistake.span.start);
    let (end_line, end_column) = mistakes.position(mistake.span.end);
    json!({
        "code": mistake.code.text(),
        "severity": match mistake.severity() {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        "message": mistake.message,
        "label": mistake.label,
        "help": mistake.help,
        "text": mistakes.text().get(mistake.span.clone()),
        "line": line,
        "column": column,
        "end_line": end_line,
        "end_column": end_column,
    })
}

/// Broken at blanks only: words with dashes are names that a reader may copy.
fn wrap(text: &str, width: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let mut current = String::new();
        for word in line.split(' ') {
            if !current.is_empty() && current.chars().count() + 1 + word.chars().count() > width {
                lines.push(std::mem::take(&mut current));
            }
            if !current.is_empty() {
                current.push(' ');
            }
            current.push_str(word);
        }
        lines.push(current);
    }
    lines.join("\n")
}

/// Without blanks at the ends of lines, so that output can be compared and stored.
fn trim_lines(text: &str) -> String {
    let mut trimmed = String::with_capacity(text.len());
    for line in text.lines() {
        trimmed.push_str(line.trim_end());
        trimmed.push('\n');
    }
    trimmed
}

#[derive(Debug)]
struct Shown<'a> {
    mistake: &'a Mistake,
    mistakes: &'a Mistakes,
    help: Option<String>,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.mistake.message)
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.mistake.code.text()))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.mistake.severity() {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let help = self.help.as_deref()?;
        Some(Box::new(help))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(self)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.mistake.span.clone();
        let first_line = self
            .mistakes
            .text()
            .get(span.clone())
            .and_then(|text| text.find('\n'))
            .unwrap_or(span.len());
        let label = LabeledSpan::new_primary_with_span(
            Some(self.mistake.label.clone()),
            span.start..span.start + first_line,
        );
        Some(Box::new(std::iter::once(label)))
    }
}

/// The whole line in which a mistake begins, and no other: the reader has the file.
impl SourceCode for Shown<'_> {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        _lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let text = self.mistakes.text();
        let offset = span.offset().min(text.len());
        let (line, column) = self.mistakes.position(offset);
        let (start, column) = if lines_before == 0 {
            (offset, column - 1) // asked for the position only
        } else {
            let before = text.get(..offset).ok_or(MietteError::OutOfBounds)?;
            (before.rfind('\n').map_or(0, |newline| newline + 1), 0)
        };
        let rest = text.get(offset..).ok_or(MietteError::OutOfBounds)?;
        let end = rest
            .find('\n')
            .map_or(text.len(), |newline| offset + newline);
        let data = text
            .get(start..end)
            .ok_or(MietteError::OutOfBounds)?
            .as_bytes();
        let place = SourceSpan::new(start.into(), end - start);
        let name = self.mistakes.name().to_owned();
        Ok(Box::new(MietteSpanContents::new_named(
            name,
            data,
            place,
            line - 1,
            column,
            1,
        )))
    }
}
