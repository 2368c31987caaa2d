//! The JSON Schema of the file, for completion and validation in editors. Generated from the same declarations that
//! read the file (`file::shape`), in draft 7, which every editor's TOML support understands.

use serde_json::{Map, Value as Json, json};

use crate::file::shape::{Table, ValueShape};
use crate::file::{ConfigFile, FileValue};

/// The JSON Schema of the configuration file.
#[must_use]
pub fn schema() -> Json {
    let mut schema = of(&ConfigFile::shape());
    schema["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    schema["title"] = "evenkeel.toml".into();
    // Two things without defaults: the reader says so in words of its own.
    schema["required"] = json!(["listen", "service"]);
    schema
}

fn of(shape: &ValueShape) -> Json {
    match shape {
        ValueShape::Text {
            pattern: Some(pattern),
            ..
        } => json!({ "type": "string", "pattern": pattern }),
        ValueShape::Text { pattern: None, .. } => json!({ "type": "string" }),
        ValueShape::Whole { min, max } => {
            json!({ "type": "integer", "minimum": min, "maximum": max })
        }
        ValueShape::Number { min, max } => {
            json!({ "type": "number", "minimum": min, "maximum": max })
        }
        ValueShape::Flag => json!({ "type": "boolean" }),
        ValueShape::Choice(words) => json!({ "type": "string", "enum": words }),
        ValueShape::List { item, filled } => {
            json!({ "type": "array", "items": of(item), "minItems": u8::from(*filled) })
        }
        ValueShape::Map {
            names: Some(pattern),
            value,
        } => {
            json!({ "type": "object", "patternProperties": { *pattern: of(value) }, "additionalProperties": false })
        }
        ValueShape::Map { names: None, value } => {
            json!({ "type": "object", "additionalProperties": of(value) })
        }
        ValueShape::Table(table) => of_table(table),
        ValueShape::Any(forms) => json!({ "anyOf": forms.iter().map(of).collect::<Vec<_>>() }),
    }
}

fn of_table(table: &Table) -> Json {
    let mut properties = Map::new();
    for key in &table.keys {
        let mut schema = of(&key.shape);
        schema["description"] = key.about.into();
        if let Some((default, why)) = &key.default {
            schema["default"] = default.clone();
            schema["x-why"] = (*why).into();
        }
        properties.insert(key.name.to_owned(), schema);
    }
    let required: Vec<&str> = table
        .keys
        .iter()
        .filter(|key| key.required)
        .map(|key| key.name)
        .collect();
    let mut schema = json!({
        "type": "object",
        "description": table.about,
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}
