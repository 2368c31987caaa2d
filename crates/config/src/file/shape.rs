//! What a key accepts, as data. The JSON Schema and the reference are generated from it, so they cannot disagree with
//! the reader: a table's shape and its reader come from one declaration.

use serde_json::Value as Json;

/// The values that are accepted.
#[derive(Debug, Clone, PartialEq)]
pub enum ValueShape {
    /// A string.
    Text {
        /// The kind of text, for display: `duration`, `address`.
        what: &'static str,
        /// A regular expression that it matches.
        pattern: Option<&'static str>,
    },
    /// A whole number.
    Whole {
        /// The least.
        min: u64,
        /// The greatest.
        max: u64,
    },
    /// A number.
    Number {
        /// The least.
        min: f64,
        /// The greatest.
        max: f64,
    },
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Choice(Vec<&'static str>),
    /// A list.
    List {
        /// The shape of each item.
        item: Box<Self>,
        /// Whether it must have one.
        filled: bool,
    },
    /// A table whose keys the user names.
    Map {
        /// A regular expression that each name matches.
        names: Option<&'static str>,
        /// The shape of each value.
        value: Box<Self>,
    },
    /// A table with known keys.
    Table(Table),
    /// One of several forms.
    Any(Vec<Self>),
}

/// A table with known keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Its description.
    pub about: &'static str,
    /// Its keys, in the order of the documentation.
    pub keys: Vec<Key>,
    /// Keys whose names are reserved.
    pub later: Vec<&'static str>,
}

/// A key of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// Its description.
    pub about: &'static str,
    /// Its shape.
    pub shape: ValueShape,
    /// Whether it must be there.
    pub required: bool,
    /// Whether it is a table that turns something on: its defaults hold only if it is there.
    pub off: bool,
    /// The default, as it would be typed, and its reason.
    pub default: Option<(Json, &'static str)>,
}
