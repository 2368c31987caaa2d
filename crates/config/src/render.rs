//! Formats diagnostics: for people with the source line and a caret, for programs as JSON. Printing is up to the
//! caller.

use std::fmt;

use miette::{
    Diagnostic as MietteDiagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan,
    MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents, ThemeCharacters,
    ThemeStyles,
};
use serde_json::{Value as Json, json};

use crate::diagnostic::{Diagnostic, Diagnostics, Severity};

/// More are counted, not shown.
const MOST_SHOWN: usize = 100;

/// The room that a help text does not have.
const HELP_INDENT: usize = 8;

/// How diagnostics are formatted for people.
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

/// The diagnostics for people: each with its line, a caret and a suggestion, and a count at the end.
#[must_use]
pub fn human(diagnostics: &Diagnostics, style: Style) -> String {
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
    for diagnostic in diagnostics.list().iter().take(MOST_SHOWN) {
        let help = diagnostic
            .help
            .as_deref()
            .map(|help| wrap(help, width - HELP_INDENT));
        let shown = RenderedDiagnostic {
            diagnostic,
            diagnostics,
            help,
        };
        if handler.render_report(&mut text, &shown).is_err() {
            // Never lose a diagnostic because it could not be drawn.
            let (line, column) = diagnostics.position(diagnostic.span.start);
            text.push_str(&format!(
                "{}:{line}:{column}: {}: {}\n",
                diagnostics.name(),
                diagnostic.code.text(),
                diagnostic.message
            ));
        }
        text.push('\n');
    }
    let hidden = diagnostics.list().len().saturating_sub(MOST_SHOWN);
    if hidden > 0 {
        text.push_str(&format!("… and {hidden} more\n"));
    }
    text.push_str(&summary(diagnostics));
    text.push('\n');
    trim_lines(&text)
}

/// The number of diagnostics, in words.
#[must_use]
pub fn summary(diagnostics: &Diagnostics) -> String {
    let count = |number: usize, what: &str| match number {
        0 => None,
        1 => Some(format!("1 {what}")),
        n => Some(format!("{n} {what}s")),
    };
    let parts: Vec<String> = [
        count(diagnostics.errors(), "error"),
        count(diagnostics.warnings(), "warning"),
    ]
    .into_iter()
    .flatten()
    .collect();
    let counts = if parts.is_empty() {
        "no mistakes".to_owned()
    } else {
        parts.join(" and ")
    };
    format!("{}: {counts}", diagnostics.name())
}

/// The diagnostics as JSON: `valid`, the counts, and each diagnostic with its location (lines and columns from 1).
#[must_use]
pub fn json(diagnostics: &Diagnostics) -> Json {
    let list: Vec<Json> = diagnostics
        .list()
        .iter()
        .map(|diagnostic| one(diagnostics, diagnostic))
        .collect();
    json!({
        "file": diagnostics.name(),
        "valid": diagnostics.errors() == 0,
        "errors": diagnostics.errors(),
        "warnings": diagnostics.warnings(),
        "mistakes": list,
    })
}

fn one(diagnostics: &Diagnostics, diagnostic: &Diagnostic) -> Json {
    let (line, column) = diagnostics.position(diagnostic.span.start);
    let (end_line, end_column) = diagnostics.position(diagnostic.span.end);
    json!({
        "code": diagnostic.code.text(),
        "severity": match diagnostic.severity() {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        "message": diagnostic.message,
        "label": diagnostic.label,
        "help": diagnostic.help,
        "text": diagnostics.text().get(diagnostic.span.clone()),
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
struct RenderedDiagnostic<'a> {
    diagnostic: &'a Diagnostic,
    diagnostics: &'a Diagnostics,
    help: Option<String>,
}

impl fmt::Display for RenderedDiagnostic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.diagnostic.message)
    }
}

impl std::error::Error for RenderedDiagnostic<'_> {}

impl MietteDiagnostic for RenderedDiagnostic<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.diagnostic.code.text()))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.diagnostic.severity() {
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
        let span = self.diagnostic.span.clone();
        let first_line = self
            .diagnostics
            .text()
            .get(span.clone())
            .and_then(|text| text.find('\n'))
            .unwrap_or(span.len());
        let label = LabeledSpan::new_primary_with_span(
            Some(self.diagnostic.label.clone()),
            span.start..span.start + first_line,
        );
        Some(Box::new(std::iter::once(label)))
    }
}

/// Only the line in which the span begins: the reader has the file.
impl SourceCode for RenderedDiagnostic<'_> {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        _lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let text = self.diagnostics.text();
        let offset = span.offset().min(text.len());
        let (line, column) = self.diagnostics.position(offset);
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
        let name = self.diagnostics.name().to_owned();
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
