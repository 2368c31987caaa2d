//! The file as typed: the known tables and keys, the type of each value, and the location of every value.
//!
//! Values are read by hand from the parsed tree instead of through serde, because serde stops at the first error and
//! users want all of them. One declaration per table (the `table!` macro) generates its type, its reader and its shape.

use std::ops::Deref;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Code, Diagnostic, Diagnostics, TextRange};
use crate::nearest::nearest;

pub mod shape;
pub mod value;
pub mod quantity;
pub mod choice;
pub mod address;
pub mod hash;
pub mod program;
pub mod headers;
pub mod dns;
pub mod listen;
pub mod spread;
pub mod limit;
pub mod breaker;
pub mod ask;
pub mod mirror;
pub mod fallback;
pub mod hedge;
pub mod service;
pub mod discover;
pub mod retry;
pub mod route_override;
mod merge;
pub mod inject;
pub mod detect;
pub mod recover;

pub use address::Address;
pub use program::ConfigFile;

use shape::ValueShape;

/// A parsed value with its location.
pub type Value<'t> = Spanned<DeValue<'t>>;

/// A value as typed, with the locations of the key and of the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// The location of the value.
    pub span: TextRange,
    /// The location of its key (of the value itself in a list).
    pub key: TextRange,
}

impl<T> Deref for Located<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

/// A type that can be read from a value of the file.
pub trait FileValue {
    /// The type it is read as.
    type Out;

    /// The values it accepts.
    fn shape() -> ValueShape;

    /// Reads it; errors are added to `out`.
    fn read(value: &Value<'_>, out: &mut Diagnostics) -> Option<Self::Out>;
}

/// Reads `value`, and keeps its location.
pub fn read_at<K: FileValue>(
    key: TextRange,
    value: &Value<'_>,
    out: &mut Diagnostics,
) -> Option<Located<K::Out>> {
    Some(Located {
        value: K::read(value, out)?,
        span: value.span(),
        key,
    })
}

/// A default and its reason.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DefaultValue<T> {
    /// The value.
    pub value: T,
    /// Why this one, one sentence.
    pub why: &'static str,
}

/// A plain value as it would be typed in a file.
pub trait FileLiteral {
    /// As JSON, which for these is also TOML.
    fn typed(&self) -> serde_json::Value;
}

/// The entries of a table, in the order in which they stand in the file.
#[must_use]
pub fn entries<'v, 't>(
    table: &'v DeTable<'t>,
) -> Vec<(&'v Spanned<std::borrow::Cow<'t, str>>, &'v Value<'t>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// The type of a value, in words.
#[must_use]
pub fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The diagnostic for a value with another type than `wanted`.
#[must_use]
pub fn wrong_type(value: &Value<'_>, wanted: &str) -> Diagnostic {
    let found = type_of(value.get_ref());
    Diagnostic::new(
        Code::WrongType,
        value.span(),
        format!("expected {wanted}, found {found}"),
        format!("this is {found}"),
    )
}

/// The table in `value`, or a diagnostic.
pub fn want_table<'v, 't>(value: &'v Value<'t>, out: &mut Diagnostics) -> Option<&'v DeTable<'t>> {
    if let DeValue::Table(table) = value.get_ref() {
        return Some(table);
    }
    out.push(wrong_type(value, "a table"));
    None
}

/// The text in `value`, or a diagnostic that says what was expected.
pub fn want_text<'v>(value: &'v Value<'_>, wanted: &str, out: &mut Diagnostics) -> Option<&'v str> {
    let text = value.get_ref().as_str();
    if text.is_none() {
        out.push(wrong_type(value, wanted));
    }
    text
}

/// The diagnostic for a key that does not exist.
#[must_use]
pub fn unknown_key(key: &str, span: TextRange, known: &[&str]) -> Diagnostic {
    let help = match nearest(key, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "no key is known here".to_owned(),
        None => format!("known here: {}", known.join(", ")),
    };
    Diagnostic::new(
        Code::UnknownKey,
        span,
        format!("unknown key `{key}`"),
        "not a key of this table",
    )
    .help(help)
}

/// The diagnostic for a reserved name; `instead` says what works today.
#[must_use]
pub fn not_yet(what: &str, span: TextRange, instead: &str) -> Diagnostic {
    Diagnostic::new(
        Code::NotYet,
        span,
        format!("{what} is not available yet"),
        "reserved for a later version",
    )
    .help(instead)
}

/// The advice for a reserved key without a replacement.
pub const LEAVE_OUT: &str = "remove it for now: a key without effect would be worse than an error";

/// The diagnostic for a missing key of the table at `span`.
#[must_use]
pub fn missing_key(key: &str, about: &str, span: TextRange) -> Diagnostic {
    Diagnostic::new(
        Code::Missing,
        span,
        format!("the key `{key}` is missing"),
        "in this table",
    )
    .help(format!("`{key}`: {}", about.trim()))
}

macro_rules! key_text {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $text:literal) => {
        $text
    };
}
pub(crate) use key_text;

/// Declares a table: its type, its reader and its shape.
///
/// `key: FileValue` is optional, `key: FileValue [required]` must be there, `key: FileValue = defaults::X` has a
/// default, `key: FileValue [off]` is a table whose absence turns off what it sets, and `field("key")` has a key that is a
/// word of Rust. Keys after `later` are rejected as not available yet.
macro_rules! table {
    (
        $(#[doc = $about:literal])+
        pub struct $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $field:ident $(($text:literal))? : $kind:ty $([$mark:ident])? $(= $default:expr)?;
            )*
        }
        later { $($later:literal),* $(,)? }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, Default)]
        pub struct $name {
            $($(#[doc = $doc])+ pub $field: Option<$crate::file::Located<<$kind as $crate::file::FileValue>::Out>>,)*
        }

        impl $crate::file::FileValue for $name {
            type Out = Self;

            fn shape() -> $crate::file::shape::ValueShape {
                $crate::file::shape::ValueShape::Table($crate::file::shape::Table {
                    about: concat!($($about),+).trim_ascii(),
                    keys: vec![$($crate::file::shape::Key {
                        name: $crate::file::key_text!($field $($text)?),
                        about: concat!($($doc),+).trim_ascii(),
                        shape: <$kind as $crate::file::FileValue>::shape(),
                        required: ["", $(stringify!($mark))?].contains(&"required"),
                        off: ["", $(stringify!($mark))?].contains(&"off"),
                        default: {
                            let default: Option<(serde_json::Value, &'static str)> = None;
                            $(let default = {
                                drop(default);
                                Some(($crate::file::FileLiteral::typed(&$default.value), $default.why))
                            };)?
                            default
                        },
                    },)*],
                    later: vec![$($later),*],
                })
            }

            fn read(value: &$crate::file::Value<'_>, out: &mut $crate::diagnostic::Diagnostics) -> Option<Self> {
                const KNOWN: &[&str] = &[$($crate::file::key_text!($field $($text)?)),*];
                const LATER: &[&str] = &[$($later),*];
                let table = $crate::file::want_table(value, out)?;
                let mut this = Self::default();
                for (key, value) in $crate::file::entries(table) {
                    match key.get_ref().as_ref() {
                        $(k if k == $crate::file::key_text!($field $($text)?) => {
                            this.$field = $crate::file::read_at::<$kind>(key.span(), value, out);
                        })*
                        k if LATER.contains(&k) => {
                            out.push($crate::file::not_yet(&format!("`{k}`"), key.span(), $crate::file::LEAVE_OUT));
                        }
                        k => out.push($crate::file::unknown_key(k, key.span(), KNOWN)),
                    }
                }
                $(if ["", $(stringify!($mark))?].contains(&"required")
                    && !table.contains_key($crate::file::key_text!($field $($text)?))
                {
                    out.push($crate::file::missing_key(
                        $crate::file::key_text!($field $($text)?), concat!($($doc),+), value.span(),
                    ));
                })*
                Some(this)
            }
        }
    };
}
pub(crate) use table;
