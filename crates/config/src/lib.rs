//! The configuration file: as typed → resolved → validated → a plan that cannot be wrong.
//!
//! [`load`] is all that a program needs; [`render`] shows what is wrong, [mod@schema] and [mod@reference] say what is right.
//! There is no input or output here: the text, the folders and the resolver of host names are arguments.

pub mod plan;
pub mod mistake;
pub mod nearest;
pub mod defaults;
pub mod file;
pub mod resolve;
mod validate;
mod lint;
pub mod render;
mod log_format;
pub mod schema;
pub mod reference;

use toml::de::{DeTable, DeValue};

pub use log_format::log_format;
pub use mistake::{Code, Mistake, Mistakes, Severity};
pub use plan::Plan;
pub use resolve::Surroundings;
pub use schema::schema;

use file::{File, Kind};

/// A configuration that can be used.
#[derive(Debug)]
pub struct Loaded {
    /// The plan.
    pub plan: Plan,
    /// What probably does not do what its writer wants.
    pub warnings: Mistakes,
}

/// The plan that the file `name` with this text stands for.
///
/// # Errors
/// All mistakes of the file, if one of them is an error.
pub fn load(text: &str, name: &str, around: &Surroundings<'_>) -> Result<Loaded, Mistakes> {
    let mut mistakes = Mistakes::new(name, text);
    let Some(file) = read(text, &mut mistakes) else {
        mistakes.sort();
        return Err(mistakes);
    };
    let draft = resolve::resolve(&file, around, &mut mistakes);
    validate::validate(&file, &draft, &mut mistakes);
    if mistakes.errors() == 0 {
        lint::lint(&file, &draft, around.descriptors, &mut mistakes);
    }
    mistakes.sort();
    if mistakes.errors() > 0 {
        return Err(mistakes);
    }
    Ok(Loaded {
        plan: draft.plan,
        warnings: mistakes,
    })
}

/// The file as typed; nothing if the text is not TOML.
fn read(text: &str, mistakes: &mut Mistakes) -> Option<File> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let span = table.span();
    let document = toml::Spanned::new(span, DeValue::Table(table.into_inner()));
    let file = File::read(&document, mistakes)?;
    if errors.is_empty() {
        return Some(file);
    }
    syntax_errors(&errors, mistakes);
    None
}

/// Adds what is wrong with the text, and keeps of the other mistakes those that a broken line cannot have caused. A list
/// that is not closed breaks all lines that follow, and is reported once.
fn syntax_errors(errors: &[toml::de::Error], mistakes: &mut Mistakes) {
    let line_of = |mistakes: &Mistakes, offset: usize| mistakes.position(offset).0;
    let broken: Vec<usize> = errors
        .iter()
        .map(|error| line_of(mistakes, error.span().map_or(0, |span| span.start)))
        .collect();
    let lines: Vec<usize> = mistakes
        .list()
        .iter()
        .map(|mistake| line_of(mistakes, mistake.span.start))
        .collect();
    let mut lines = lines.into_iter();
    mistakes.retain(|mistake| {
        let line = lines.next().unwrap_or_default();
        mistake.code != Code::Missing && !broken.contains(&line)
    });
    let mut errors: Vec<_> = errors
        .iter()
        .map(|error| (error.span().unwrap_or(0..0), error.message()))
        .collect();
    errors.sort_by_key(|(span, _)| span.start);
    let mut last = (0, false);
    for (span, message) in errors {
        let in_array = message.contains("array");
        let line = line_of(mistakes, span.start);
        let follows = last.0 == line || (last.1 && in_array);
        last = (line, in_array);
        if !follows {
            mistakes.push(
                Mistake::new(Code::Syntax, span, message, "here").maybe_help(syntax_help(message)),
            );
        }
    }
}

/// What would be right, for the commonest slips.
fn syntax_help(message: &str) -> Option<String> {
    let help = if message.starts_with("string values must be quoted") {
        "a value is missing, or text without quotes: key = \"text\""
    } else if message.contains("between array elements") {
        "a comma between two items; or the list above has no `]`"
    } else if message.starts_with("duplicate key") {
        "a key stands once in its table; a table has one heading"
    } else {
        return None;
    };
    Some(help.to_owned())
}
