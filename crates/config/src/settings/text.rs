//! The settings as a file that means the same: TOML, with the origin of each value behind it.

use serde_json::Value as Json;

use super::{Origin, Setting, Settings, joined, key};

/// Origins stand in this column, if the value leaves room for it.
const COLUMN: usize = 48;

impl Settings {
    /// The settings as a configuration file that means the same. `all`: also those that the file does not say; what follows
    /// from other keys is in comments, because what a route takes over from its service would not follow any more.
    #[must_use]
    pub fn toml(&self, all: bool) -> String {
        let mut text = String::new();
        write_table(&self.root, "", "", all, &mut text);
        text
    }
}

/// The values of a table, and then the tables in it. `heading` is empty at the top level.
fn write_table(table: &Setting, path: &str, heading: &str, all: bool, out: &mut String) {
    let mut lines = String::new();
    for (name, setting) in table.entries() {
        if let Setting::Value(value, origin) = setting
            && (all || origin.is_said())
        {
            let comment = if *origin == Origin::Derived { "# " } else { "" };
            let line = format!("{comment}{} = {}", key(name), toml(value));
            lines.push_str(&format!("{line:COLUMN$} # {origin}\n"));
        }
    }
    // A table may turn something on by being there, and one in which there are others needs no heading of its own.
    let has_tables = |setting: &Setting| !matches!(setting, Setting::Value(..));
    let holds_tables = table.entries().iter().any(|(_, one)| has_tables(one));
    let is_there = heading.starts_with("[[") || (is_typed(table) && !holds_tables);
    if !heading.is_empty() && (!lines.is_empty() || is_there) {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(heading);
        out.push('\n');
    }
    out.push_str(&lines);
    for (name, setting) in table.entries() {
        let path = joined(path, name);
        match setting {
            Setting::Value(..) => {}
            Setting::Table { .. } => write_table(setting, &path, &format!("[{path}]"), all, out),
            Setting::List(items) => {
                for item in items {
                    write_table(item, &path, &format!("[[{path}]]"), all, out);
                }
            }
        }
    }
}

fn is_typed(table: &Setting) -> bool {
    matches!(table, Setting::Table { typed: true, .. })
}

/// A value as it is written. A JSON string is a TOML string.
fn toml(value: &Json) -> String {
    match value {
        Json::Array(items) => {
            let items: Vec<String> = items.iter().map(toml).collect();
            format!("[{}]", items.join(", "))
        }
        Json::Object(entries) => {
            let entries = entries.iter();
            let entries: Vec<String> = entries
                .map(|(name, value)| format!("{} = {}", key(name), toml(value)))
                .collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => value.to_string(),
    }
}
