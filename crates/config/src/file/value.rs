//! Basic value types: text, bounded numbers, lists and tables of named entries.

use std::marker::PhantomData;

use toml::de::DeValue;

use super::shape::ValueShape;
use super::{
    FileLiteral, FileValue, Located, Value, entries, read_at, want_table, want_text, wrong_type,
};
use crate::diagnostic::{Code, Diagnostic, Diagnostics};

/// Any text that is not empty.
#[derive(Debug, Clone, Copy)]
pub struct NonEmptyText;

/// Any text, also none.
#[derive(Debug, Clone, Copy)]
pub struct AnyText;

/// `true` or `false`.
#[derive(Debug, Clone, Copy)]
pub struct Boolean;

/// A whole number from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy)]
pub struct Integer<const MIN: u64, const MAX: u64>;

/// A number from `MIN` to `MAX`, both in millionths.
#[derive(Debug, Clone, Copy)]
pub struct Number<const MIN: u64, const MAX: u64>;

/// A share: a number from 0 to 1.
pub type Share = Number<0, 1_000_000>;

/// A list of any length.
#[derive(Debug)]
pub struct List<K>(PhantomData<K>);

/// A list with at least one item.
#[derive(Debug)]
pub struct NonEmptyList<K>(PhantomData<K>);

/// A table whose keys are any text.
#[derive(Debug)]
pub struct Map<K>(PhantomData<K>);

/// A table whose keys are names, `[a-z0-9-]+`.
#[derive(Debug)]
pub struct NameMap<K>(PhantomData<K>);

/// `K`, or the word "off".
#[derive(Debug)]
pub struct OrOff<K>(PhantomData<K>);

/// A detector that can be turned off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrDisabled<T> {
    /// Turned off.
    Off,
    /// Set like this.
    On(T),
}

/// The pattern of names of listeners, services and servers.
pub const NAME_PATTERN: &str = "^[a-z0-9-]{1,63}$";

impl FileValue for NonEmptyText {
    type Out = String;
    fn shape() -> ValueShape {
        ValueShape::Text {
            what: "text",
            pattern: None,
        }
    }
    fn read(value: &Value<'_>, out: &mut Diagnostics) -> Option<String> {
        let text = want_text(value, "a string", out)?;
        if text.is_empty() || text.contains('\0') {
            out.push(Diagnostic::new(
                Code::OutOfRange,
                value.span(),
                "this may not be empty",
                "has no text",
            ));
            return None;
        }
        Some(text.to_owned())
    }
}

impl FileValue for AnyText {
    type Out = String;
    fn shape() -> ValueShape {
        ValueShape::Text {
            what: "text",
            pattern: None,
        }
    }
    fn read(value: &Value<'_>, out: &mut Diagnostics) -> Option<String> {
        let text = want_text(value, "a string", out)?;
        if text.contains('\0') {
            out.push(Diagnostic::new(
                Code::OutOfRange,
                value.span(),
                "this may not contain a null byte",
                "has one",
            ));
            return None;
        }
        Some(text.to_owned())
    }
}

impl FileValue for Boolean {
    type Out = bool;
    fn shape() -> ValueShape {
        ValueShape::Flag
    }
    fn read(value: &Value<'_>, out: &mut Diagnostics) -> Option<bool> {
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            out.push(wrong_type(value, "true or false"));
        }
        flag
    }
}

impl<const MIN: u64, const MAX: u64> FileValue for Integer<MIN, MAX> {
    type Out = u64;
    fn shape() -> ValueShape {
        ValueShape::Whole { min: MIN, max: MAX }
    }
    fn read(value: &Value<'_>, out: &mut Diagnostics) -> Option<u64> {
        let DeValue::Integer(integer) = value.get_ref() else {
            let unquoted = value
                .get_ref()
                .as_str()
                .filter(|text| text.parse::<u64>().is_ok());
            let help = unquoted.map(|text| format!("without quotes: {text}"));
            out.push(wrong_type(value, "a whole number").maybe_help(help));
            return None;
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number.filter(|number| (MIN..=MAX).contains(number));
        if number.is_none() {
            let message = format!("expected a whole number from {MIN} to {MAX}");
            out.push(Diagnostic::new(
                Code::OutOfRange,
                value.span(),
                message,
                "outside the limits",
            ));
        }
        number
    }
}

impl<const MIN: u64, const MAX: u64> FileValue for Number<MIN, MAX> {
    type Out = f64;
    fn shape() -> ValueShape {
        ValueShape::Number {
            min: millionths(MIN),
            max: millionths(MAX),
        }
    }
    fn read(value: &Value<'_>, out: &mut Diagnostics) -> Option<f64> {
        let number = match value.get_ref() {
            DeValue::Integer(integer) => integer
                .as_str()
                .parse::<f64>()
                .ok()
                .filter(|_| integer.radix() == 10),
            DeValue::Float(float) => float.as_str().parse::<f64>().ok(),
            _ => {
                out.push(wrong_type(value, "a number"));
                return None;
            }
        };
        let (min, max) = (millionths(MIN), millionths(MAX));
        let number = number.filter(|number| (min..=max).contains(number));
        if number.is_none() {
            let message = format!("expected a number from {min} to {max}");
            out.push(Diagnostic::new(
                Code::OutOfRange,
                value.span(),
                message,
                "outside the limits",
            ));
        }
        number
    }
}

impl<K: FileValue> FileValue for List<K> {
    type Out = Vec<Located<K::Out>>;
    fn shape() -> ValueShape {
        ValueShape::List {
            item: Box::new(K::shape()),
            filled: false,
        }
    }
    fn read(value: &Value<'_>, out: &mut Diagnostics) -> Option<Self::Out> {
        let Some(array) = value.get_ref().as_array() else {
            let help = value
                .get_ref()
                .as_str()
                .map(|text| format!("in brackets: [\"{}\"]", text.escape_debug()));
            out.push(wrong_type(value, "a list").maybe_help(help));
            return None;
        };
        Some(
            array
                .iter()
                .filter_map(|item| read_at::<K>(item.span(), item, out))
                .collect(),
        )
    }
}

impl<K: FileValue> FileValue for NonEmptyList<K> {
    type Out = Vec<Located<K::Out>>;
    fn shape() -> ValueShape {
        ValueShape::List {
            item: Box::new(K::shape()),
            filled: true,
        }
    }
    fn read(value: &Value<'_>, out: &mut Diagnostics) -> Option<Self::Out> {
        let list = List::<K>::read(value, out)?;
        if value
            .get_ref()
            .as_array()
            .is_some_and(|array| array.is_empty())
        {
            out.push(Diagnostic::new(
                Code::Missing,
                value.span(),
                "this list may not be empty",
                "has no item",
            ));
            return None;
        }
        Some(list)
    }
}

impl<K: FileValue> FileValue for Map<K> {
    type Out = Vec<(Located<String>, Located<K::Out>)>;
    fn shape() -> ValueShape {
        ValueShape::Map {
            names: None,
            value: Box::new(K::shape()),
        }
    }
    fn read(value: &Value<'_>, out: &mut Diagnostics) -> Option<Self::Out> {
        let mut map = Vec::new();
        for (key, value) in entries(want_table(value, out)?) {
            let name = Located {
                value: key.get_ref().to_string(),
                span: key.span(),
                key: key.span(),
            };
            if let Some(value) = read_at::<K>(key.span(), value, out) {
                map.push((name, value));
            }
        }
        Some(map)
    }
}

impl<K: FileValue> FileValue for NameMap<K> {
    type Out = Vec<(Located<String>, Located<K::Out>)>;
    fn shape() -> ValueShape {
        ValueShape::Map {
            names: Some(NAME_PATTERN),
            value: Box::new(K::shape()),
        }
    }
    fn read(value: &Value<'_>, out: &mut Diagnostics) -> Option<Self::Out> {
        for (key, _) in entries(want_table(value, out)?) {
            if !is_name(key.get_ref()) {
                out.push(bad_name(key.get_ref(), key.span()));
            }
        }
        Map::<K>::read(value, out)
    }
}

impl<K: FileValue> FileValue for OrOff<K> {
    type Out = OrDisabled<K::Out>;
    fn shape() -> ValueShape {
        ValueShape::Any(vec![K::shape(), ValueShape::Choice(vec!["off"])])
    }
    fn read(value: &Value<'_>, out: &mut Diagnostics) -> Option<Self::Out> {
        match value.get_ref() {
            DeValue::Table(_) => K::read(value, out).map(OrDisabled::On),
            DeValue::String(text) if text == "off" => Some(OrDisabled::Off),
            _ => {
                out.push(
                    wrong_type(value, "a table, or the word \"off\"")
                        .help("to turn it off, use \"off\""),
                );
                None
            }
        }
    }
}

/// Whether `text` may be the name of a listener, service or server.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// The diagnostic for a name that may not be one.
#[must_use]
pub fn bad_name(name: &str, span: std::ops::Range<usize>) -> Diagnostic {
    let better: String = name
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(63)
        .collect();
    let diagnostic = Diagnostic::new(
        Code::BadName,
        span,
        format!("`{}` cannot be a name", name.escape_debug()),
        "not a name",
    );
    let rule = "a name is 1 to 63 of: a-z, 0-9 and -";
    diagnostic.help(if is_name(&better) {
        format!("{rule}; for example `{better}`")
    } else {
        rule.to_owned()
    })
}

fn millionths(number: u64) -> f64 {
    number as f64 / 1e6
}

impl FileLiteral for u32 {
    fn typed(&self) -> serde_json::Value {
        (*self).into()
    }
}

impl FileLiteral for f64 {
    fn typed(&self) -> serde_json::Value {
        (*self).into()
    }
}

impl FileLiteral for bool {
    fn typed(&self) -> serde_json::Value {
        (*self).into()
    }
}

impl FileLiteral for &str {
    fn typed(&self) -> serde_json::Value {
        (*self).into()
    }
}

impl FileLiteral for &[&str] {
    fn typed(&self) -> serde_json::Value {
        serde_json::json!(self)
    }
}
