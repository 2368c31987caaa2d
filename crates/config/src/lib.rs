//! The configuration file: as typed → resolved → validated → a plan that cannot be wrong.
//!
//! [`load`] is all that a program needs; [`render`] shows what is wrong, [`schema`] and [`reference`] say what is right.
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
pub mod schema;
pub mod reference;

use toml::de::{DeTable, DeValue};

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
        lint::lint(&file, &draft, &mut mistakes);
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

/// Adds what is wrong with the text, and keeps of the other mistakes those that a broken line cannot have caused.
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
    for error in errors.iter().take(MOST_SYNTAX_ERRORS) {
        let span = error.span().unwrap_or(0..0);
        let unquoted = error.message().starts_with("string values must be quoted");
        let help = unquoted
            .then(|| "a value is missing, or text without quotes: key = \"text\"".to_owned());
        mistakes.push(Mistake::new(Code::Syntax, span, error.message(), "here").maybe_help(help));
    }
}

/// One broken line can break all that follow it.
const MOST_SYNTAX_ERRORS: usize = 10;
