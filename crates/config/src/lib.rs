//! The configuration file: as typed → resolved → validated → a plan without errors.
//!
//! [`load`] is all that a program needs; [`render`] formats diagnostics, [mod@schema] and [mod@reference] describe
//! valid files. There is no I/O here: the text, the directories and the host name resolver are arguments.

pub mod plan;
pub mod change;
pub mod diagnostic;
pub mod nearest;
pub mod defaults;
pub mod file;
pub mod resolve;
mod validate;
mod lint;
pub mod settings;
pub mod render;
mod log_format;
pub mod schema;
pub mod reference;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub use change::Changes;
pub use diagnostic::{Code, Diagnostic, Diagnostics, Severity};
pub use log_format::log_format;
pub use plan::Plan;
pub use resolve::Environment;
pub use schema::schema;
pub use settings::Settings;

use file::{ConfigFile, FileValue};

/// A configuration that can be used.
#[derive(Debug)]
pub struct Loaded {
    /// The plan.
    pub plan: Plan,
    /// The file is valid, but probably does not do what its author wants.
    pub warnings: Diagnostics,
}

/// The plan of the file `name` with this text.
///
/// # Errors
/// All diagnostics of the file, if one of them is an error.
pub fn load(text: &str, name: &str, around: &Environment<'_>) -> Result<Loaded, Diagnostics> {
    load_parsed(&ParsedText::of(text), (text, name), around)
}

/// The plan of the file `name` with this text, and its effective settings. Parses the text once.
///
/// # Errors
/// As for [`load`].
pub fn load_with_settings(
    text: &str,
    name: &str,
    around: &Environment<'_>,
) -> Result<(Loaded, Settings), Diagnostics> {
    let parsed = ParsedText::of(text);
    let loaded = load_parsed(&parsed, (text, name), around)?;
    let settings = Settings::of_document(parsed.document.get_ref(), text, name, &loaded.plan);
    Ok((loaded, settings))
}

fn load_parsed(
    parsed: &ParsedText<'_>,
    (text, name): (&str, &str),
    around: &Environment<'_>,
) -> Result<Loaded, Diagnostics> {
    let mut diagnostics = Diagnostics::new(name, text);
    let Some(file) = parsed.file(&mut diagnostics) else {
        diagnostics.sort();
        return Err(diagnostics);
    };
    let draft = resolve::resolve(&file, around, &mut diagnostics);
    validate::validate(&file, &draft, &mut diagnostics);
    if diagnostics.errors() == 0 {
        lint::lint(&file, &draft, around.descriptors, &mut diagnostics);
    }
    diagnostics.sort();
    if diagnostics.errors() > 0 {
        return Err(diagnostics);
    }
    Ok(Loaded {
        plan: draft.plan,
        warnings: diagnostics,
    })
}

/// A text as TOML.
struct ParsedText<'t> {
    /// A table; without what could not be read.
    document: Spanned<DeValue<'t>>,
    errors: Vec<toml::de::Error>,
}

impl<'t> ParsedText<'t> {
    fn of(text: &'t str) -> Self {
        let (table, errors) = DeTable::parse_recoverable(text);
        let span = table.span();
        Self {
            document: Spanned::new(span, DeValue::Table(table.into_inner())),
            errors,
        }
    }

    /// The file as typed; nothing if the text is not TOML.
    fn file(&self, diagnostics: &mut Diagnostics) -> Option<ConfigFile> {
        let file = ConfigFile::read(&self.document, diagnostics)?;
        if self.errors.is_empty() {
            return Some(file);
        }
        syntax_errors(&self.errors, diagnostics);
        None
    }
}

/// Adds the syntax errors, and keeps only those other diagnostics that a syntax error cannot have caused. An unclosed
/// list breaks all lines that follow, and is reported once.
fn syntax_errors(errors: &[toml::de::Error], diagnostics: &mut Diagnostics) {
    let line_of = |diagnostics: &Diagnostics, offset: usize| diagnostics.position(offset).0;
    let broken: Vec<usize> = errors
        .iter()
        .map(|error| line_of(diagnostics, error.span().map_or(0, |span| span.start)))
        .collect();
    let lines: Vec<usize> = diagnostics
        .list()
        .iter()
        .map(|diagnostic| line_of(diagnostics, diagnostic.span.start))
        .collect();
    let mut lines = lines.into_iter();
    diagnostics.retain(|diagnostic| {
        let line = lines.next().unwrap_or_default();
        diagnostic.code != Code::Missing && !broken.contains(&line)
    });
    let mut errors: Vec<_> = errors
        .iter()
        .map(|error| (error.span().unwrap_or(0..0), error.message()))
        .collect();
    errors.sort_by_key(|(span, _)| span.start);
    let mut last = (0, false);
    for (span, message) in errors {
        let in_array = message.contains("array");
        let line = line_of(diagnostics, span.start);
        let follows = last.0 == line || (last.1 && in_array);
        last = (line, in_array);
        if !follows {
            diagnostics.push(
                Diagnostic::new(Code::Syntax, span, message, "here")
                    .maybe_help(syntax_help(message)),
            );
        }
    }
}

/// Suggestions for the most common errors.
fn syntax_help(message: &str) -> Option<String> {
    let help = if message.starts_with("string values must be quoted") {
        "a value is missing, or text without quotes: key = \"text\""
    } else if message.contains("between array elements") {
        "a comma between two items; or the list above has no `]`"
    } else if message.starts_with("duplicate key") {
        "each key may be in a table once, and each table may have one heading"
    } else {
        return None;
    };
    Some(help.to_owned())
}
