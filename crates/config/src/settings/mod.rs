//! The effective configuration, key by key: each value that holds, and where it comes from.
//!
//! Made from the text and the declarations of the keys, so that no key can be forgotten, and no key is named here but those
//! whose default follows from others.

mod read;
mod derived;
mod text;
mod compare;
mod at_run_time;

pub use compare::ChangeLine;

use std::fmt;

use serde_json::{Value as Json, json};

/// All effective settings of a configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The name of the file.
    file: String,
    root: Setting,
}

/// A setting, or a group of them.
#[derive(Debug, Clone, PartialEq)]
enum Setting {
    /// A value, as it would be typed, with the form that [`Settings`] gives equal values.
    Value(Json, Origin),
    /// A table, in the order of the reference.
    Table {
        /// Its entries.
        entries: Vec<(String, Self)>,
        /// Whether the file has it: some tables turn something on by being there.
        typed: bool,
    },
    /// A list of tables.
    List(Vec<Self>),
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The default of its key.
    Default,
    /// It follows from other keys.
    Derived,
    /// The file.
    File {
        /// Its line, from 1.
        line: usize,
    },
    /// The command line.
    CommandLine,
    /// The API, while evenkeel ran.
    Api,
}

impl Origin {
    /// Whether somebody has said it, and it is neither a default nor follows from other keys.
    const fn is_said(&self) -> bool {
        match self {
            Self::Default | Self::Derived => false,
            Self::File { .. } | Self::CommandLine | Self::Api => true,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Derived => f.write_str("follows from other keys"),
            Self::File { line } => write!(f, "line {line}"),
            Self::CommandLine => f.write_str("command line"),
            Self::Api => f.write_str("API"),
        }
    }
}

impl Settings {
    /// The value at a path such as `service.shop.timeout.total` or `service.shop.servers[0].weight`, and its origin.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<(&Json, &Origin)> {
        let mut found = None;
        self.root.visit("", &mut |at, value, origin| {
            if at == path {
                found = Some((value, origin));
            }
        });
        found
    }

    /// Where the value at a path comes from.
    #[must_use]
    pub fn origin(&self, path: &str) -> Option<&Origin> {
        self.get(path).map(|(_, origin)| origin)
    }

    /// The values that the file gives come from the command line instead.
    #[must_use]
    pub fn from_command_line(mut self) -> Self {
        self.root.each_origin(&mut |origin| {
            if matches!(origin, Origin::File { .. }) {
                *origin = Origin::CommandLine;
            }
        });
        self
    }

    /// Each value as JSON: its path, the value, and its origin. `all`: also those that the file does not say.
    #[must_use]
    pub fn json(&self, all: bool) -> Json {
        let mut settings = Vec::new();
        self.root.visit("", &mut |path, value, origin| {
            if !all && !origin.is_said() {
                return;
            }
            let from = match origin {
                Origin::Default => json!({ "from": "default" }),
                Origin::Derived => json!({ "from": "derived" }),
                Origin::File { line } => {
                    json!({ "from": "file", "file": self.file, "line": line })
                }
                Origin::CommandLine => json!({ "from": "command-line" }),
                Origin::Api => json!({ "from": "api" }),
            };
            settings.push(json!({ "path": path, "value": value, "origin": from }));
        });
        json!({ "file": self.file, "settings": settings })
    }
}

impl Setting {
    /// Calls `each` with the path, the value and the origin of each value.
    fn visit<'a>(&'a self, path: &str, each: &mut impl FnMut(&str, &'a Json, &'a Origin)) {
        match self {
            Self::Value(value, origin) => each(path, value, origin),
            Self::Table { entries, .. } => {
                for (key, setting) in entries {
                    setting.visit(&joined(path, key), each);
                }
            }
            Self::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    item.visit(&format!("{path}[{index}]"), each);
                }
            }
        }
    }

    fn each_origin(&mut self, each: &mut impl FnMut(&mut Origin)) {
        match self {
            Self::Value(_, origin) => each(origin),
            Self::Table { entries, .. } => {
                entries
                    .iter_mut()
                    .for_each(|(_, one)| one.each_origin(each));
            }
            Self::List(items) => items.iter_mut().for_each(|one| one.each_origin(each)),
        }
    }

    /// The setting of a key of this table.
    fn key(&self, key: &str) -> Option<&Self> {
        let mut entries = self.entries().iter();
        entries.find(|(name, _)| name == key).map(|(_, one)| one)
    }

    fn key_mut(&mut self, key: &str) -> Option<&mut Self> {
        let Self::Table { entries, .. } = self else {
            return None;
        };
        let mut entries = entries.iter_mut();
        entries.find(|(name, _)| name == key).map(|(_, one)| one)
    }

    /// The entries of a table; none of anything else.
    fn entries(&self) -> &[(String, Self)] {
        match self {
            Self::Table { entries, .. } => entries,
            Self::Value(..) | Self::List(_) => &[],
        }
    }

    /// The text of a value, if it is one.
    fn text(&self) -> Option<&str> {
        match self {
            Self::Value(value, _) => value.as_str(),
            Self::Table { .. } | Self::List(_) => None,
        }
    }

    fn put(&mut self, key: &str, value: Json, origin: Origin) {
        let value = Self::Value(value, origin);
        if let Self::Table { entries, .. } = self {
            match entries.iter_mut().find(|(name, _)| name == key) {
                Some((_, old)) => *old = value,
                None => entries.push((key.to_owned(), value)),
            }
        }
    }
}

/// `path.key`, with quotes where the key needs them.
fn joined(path: &str, name: &str) -> String {
    let written = key(name);
    if path.is_empty() {
        written
    } else {
        format!("{path}.{written}")
    }
}

/// A key as it is written: with quotes unless it consists of letters, digits, `-` and `_`.
fn key(name: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !name.is_empty() && name.bytes().all(bare) {
        name.to_owned()
    } else {
        Json::from(name).to_string()
    }
}
