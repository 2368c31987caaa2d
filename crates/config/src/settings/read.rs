//! Reads the effective settings from a text: what it says, and the defaults of the keys that it leaves out.

use serde_json::{Number, Value as Json};
use toml::de::{DeTable, DeValue};

use super::derived::fill_derived;
use super::{Origin, Setting, Settings};
use crate::file::quantity::{parse_duration, parse_size, type_duration, type_size};
use crate::file::shape::{Key, Table, ValueShape};
use crate::file::{ConfigFile, FileValue, Value, entries};
use crate::plan::Plan;

impl Settings {
    /// The settings of the file `name` with this text, which [`load`](crate::load) has read as `plan`.
    #[must_use]
    pub fn of(text: &str, name: &str, plan: &Plan) -> Self {
        let (document, _) = DeTable::parse_recoverable(text);
        Self::of_table(Some(document.get_ref()), text, name, plan)
    }

    /// The same of the text as TOML.
    pub(crate) fn of_document(document: &DeValue<'_>, text: &str, name: &str, plan: &Plan) -> Self {
        Self::of_table(document.as_table(), text, name, plan)
    }

    fn of_table(document: Option<&DeTable<'_>>, text: &str, name: &str, plan: &Plan) -> Self {
        let reader = SettingsReader {
            line_ends: text.match_indices('\n').map(|(end, _)| end).collect(),
        };
        let mut root = match ConfigFile::shape() {
            ValueShape::Table(shape) => reader.table(document, &shape),
            _ => Setting::Table {
                entries: Vec::new(),
                typed: false,
            },
        };
        fill_derived(&mut root, plan);
        Self {
            file: name.to_owned(),
            root,
        }
    }
}

struct SettingsReader {
    line_ends: Vec<usize>,
}

impl SettingsReader {
    fn table(&self, document: Option<&DeTable<'_>>, shape: &Table) -> Setting {
        let has = |key: &str| document.is_some_and(|table| table.contains_key(key));
        let word = |key: &str| document?.get(key)?.get_ref().as_str();
        let keys = shape.keys.iter().filter_map(|key| {
            let setting = match document.and_then(|table| table.get(key.name)) {
                Some(value) => self.typed(value, &key.shape),
                None if applies(key.name, &has, word("protocol")) => self.default(key)?,
                None => return None,
            };
            Some((key.name.to_owned(), setting))
        });
        Setting::Table {
            entries: keys.collect(),
            typed: document.is_some(),
        }
    }

    fn typed(&self, value: &Value<'_>, shape: &ValueShape) -> Setting {
        match (value.get_ref(), shape) {
            (DeValue::Table(table), ValueShape::Map { value: shape, .. }) => {
                let entries = entries(table).into_iter();
                let entries = entries
                    .map(|(key, value)| (key.get_ref().to_string(), self.typed(value, shape)));
                Setting::Table {
                    entries: entries.collect(),
                    typed: true,
                }
            }
            (DeValue::Table(table), shape) if table_of(shape).is_some() => table_of(shape)
                .map_or_else(
                    || self.leaf(value, shape),
                    |shape| self.table(Some(table), shape),
                ),
            (DeValue::Array(items), ValueShape::List { item, .. }) => match table_of(item) {
                Some(shape) => {
                    let items = items.iter().map(|value| self.item(value, item, shape));
                    Setting::List(items.collect())
                }
                None => self.leaf(value, shape),
            },
            _ => self.leaf(value, shape),
        }
    }

    /// A table of a list. A text in its place is short for a table with its required key.
    fn item(&self, value: &Value<'_>, shape: &ValueShape, table: &Table) -> Setting {
        let required = table.keys.iter().find(|key| key.required);
        match (value.get_ref(), required) {
            (DeValue::String(_), Some(required)) => {
                let mut setting = self.table(None, table);
                let Setting::Value(text, origin) = self.leaf(value, &required.shape) else {
                    return setting;
                };
                setting.put(required.name, text, origin);
                setting
            }
            _ => self.typed(value, shape),
        }
    }

    fn leaf(&self, value: &Value<'_>, shape: &ValueShape) -> Setting {
        let line = self
            .line_ends
            .partition_point(|end| *end < value.span().start)
            + 1;
        Setting::Value(normal(value.get_ref(), shape), Origin::File { line })
    }

    /// What holds for a key that is not there; nothing if nothing does.
    fn default(&self, key: &Key) -> Option<Setting> {
        if let Some((value, _)) = &key.default {
            return Some(Setting::Value(value.clone(), Origin::Default));
        }
        let table = table_of(&key.shape).filter(|_| !key.off)?;
        if table.keys.iter().any(|key| key.required) {
            return None;
        }
        let table = self.table(None, table);
        (!table.entries().is_empty()).then_some(table)
    }
}

/// The table that a value may be, if there is exactly one.
fn table_of(shape: &ValueShape) -> Option<&Table> {
    match shape {
        ValueShape::Table(table) => Some(table),
        ValueShape::Any(forms) => {
            let mut tables = forms.iter().filter_map(|form| match form {
                ValueShape::Table(table) => Some(table),
                _ => None,
            });
            tables.next().filter(|_| tables.next().is_none())
        }
        _ => None,
    }
}

/// Whether the default of a key holds beside the keys that are there: some keys exclude each other.
fn applies(key: &str, has: &impl Fn(&str) -> bool, protocol: Option<&str>) -> bool {
    let is_dns = protocol == Some("dns");
    match key {
        // Of a listener, which has an address.
        "limits" => !is_dns,
        "rate" => !has("address") || is_dns,
        // Of a probe.
        "tcp" => !has("http"),
        "expect" => has("http"),
        // Of sticky sessions.
        "secure" | "same_site" => has("cookie"),
        "path" => !has("header") || has("cookie"),
        // Of a fallback.
        "status" | "content_type" => {
            has("status") || has("body") || has("content_type") || has("retry_after") || has("to")
        }
        _ => true,
    }
}

/// The value as JSON, in the same form however it is typed.
fn normal(value: &DeValue<'_>, shape: &ValueShape) -> Json {
    match value {
        DeValue::String(text) => normal_text(text, shape).into(),
        DeValue::Integer(integer) => {
            let number = u64::from_str_radix(integer.as_str(), integer.radix());
            let number = number.unwrap_or_default();
            if matches!(shape, ValueShape::Number { .. }) {
                Number::from_f64(number as f64).map_or(Json::Null, Json::Number)
            } else {
                number.into()
            }
        }
        DeValue::Float(float) => {
            let number = float.as_str().parse().ok().and_then(Number::from_f64);
            number.map_or(Json::Null, Json::Number)
        }
        DeValue::Boolean(flag) => (*flag).into(),
        DeValue::Datetime(date) => date.to_string().into(),
        DeValue::Array(items) => {
            let item = match shape {
                ValueShape::List { item, .. } => item,
                other => other,
            };
            let items = items.iter().map(|value| normal(value.get_ref(), item));
            items.collect()
        }
        DeValue::Table(table) => {
            let entries = entries(table).into_iter();
            let entries = entries
                .map(|(key, value)| (key.get_ref().to_string(), normal(value.get_ref(), shape)));
            Json::Object(entries.collect())
        }
    }
}

/// Durations and sizes in the unit in which evenkeel writes them.
fn normal_text(text: &str, shape: &ValueShape) -> String {
    let written = match shape {
        ValueShape::Text {
            what: "duration", ..
        } => parse_duration(text).map(type_duration),
        ValueShape::Text { what: "size", .. } => parse_size(text).map(type_size),
        ValueShape::Any(forms) => {
            let mut written = forms.iter().map(|form| normal_text(text, form));
            written.find(|written| written != text)
        }
        _ => None,
    };
    written.unwrap_or_else(|| text.to_owned())
}
