//! Resolves header changes: only fields that may be changed, and values without line breaks.

use evenkeel_request::HeaderChanges;
use evenkeel_request::headers::{HeaderValue, Side, check_name};

use super::typed::section;
use crate::diagnostic::{Code, Diagnostic, Diagnostics};
use crate::file::Located;
use crate::file::headers::HeadersConfig;

/// No table changes more fields than this: each is looked for in every message.
const MOST: usize = 32;

/// The changes described by `typed`.
pub(super) fn resolve_headers(
    typed: Option<&Located<HeadersConfig>>,
    side: Side,
    out: &mut Diagnostics,
) -> HeaderChanges {
    let mut changes = HeaderChanges::default();
    let mut names: Vec<&Located<String>> = Vec::new();
    let Some(at) = typed else {
        return changes;
    };
    let table = section(Some(at));
    let (set, add) = (section(table.set.as_ref()), section(table.add.as_ref()));
    let remove = section(table.remove.as_ref());
    for (name, value) in &set {
        if let (true, Some(value)) = (
            is_free(name, side, out),
            resolve_value(name, value, side, out),
        ) {
            changes.set(name, value);
        }
        names.push(name);
    }
    for (name, value) in &add {
        let only_one = name
            .eq_ignore_ascii_case("host")
            .then(|| "a request has one `host`: set it".to_owned());
        refuse(only_one, name, out);
        if let (true, Some(value)) = (
            is_free(name, side, out),
            resolve_value(name, value, side, out),
        ) {
            changes.add(name, value);
        }
        names.push(name);
    }
    for name in &remove {
        let needed = name
            .eq_ignore_ascii_case("host")
            .then(|| "a request needs its `host`: set it".to_owned());
        refuse(needed, name, out);
        if is_free(name, side, out) {
            changes.remove(name);
        }
        names.push(name);
    }
    each_once(&names, out);
    if names.len() > MOST {
        let message = format!("at most {MOST} fields are changed by one table");
        out.push(Diagnostic::new(
            Code::OutOfRange,
            at.key.clone(),
            message,
            "too many",
        ));
    }
    changes
}

fn is_free(name: &Located<String>, side: Side, out: &mut Diagnostics) -> bool {
    let reason = check_name(name, side).err();
    let free = reason.is_none();
    refuse(reason, name, out);
    free
}

fn resolve_value(
    name: &Located<String>,
    text: &Located<String>,
    side: Side,
    out: &mut Diagnostics,
) -> Option<HeaderValue> {
    let value = HeaderValue::parse(text, side).and_then(|value| {
        let is_host = side == Side::Request && name.eq_ignore_ascii_case("host");
        if is_host {
            value.check_host().map(|()| value)
        } else {
            Ok(value)
        }
    });
    value
        .map_err(|why| {
            let diagnostic = Diagnostic::new(Code::BadRule, text.span.clone(), why, "this value");
            out.push(diagnostic);
        })
        .ok()
}

fn refuse(why: Option<String>, name: &Located<String>, out: &mut Diagnostics) {
    if let Some(why) = why {
        out.push(Diagnostic::new(
            Code::BadRule,
            name.span.clone(),
            why,
            "this field",
        ));
    }
}

/// A field in two places of one table: it is ambiguous which one was meant.
fn each_once(names: &[&Located<String>], out: &mut Diagnostics) {
    for (index, name) in names.iter().enumerate() {
        let twin = names[..index]
            .iter()
            .find(|other| other.eq_ignore_ascii_case(name));
        if let Some(twin) = twin {
            let (line, _) = out.position(twin.span.start);
            let message = format!("`{}` is changed already (line {line})", name.escape_debug());
            let diagnostic = Diagnostic::new(
                Code::Duplicate,
                name.span.clone(),
                message,
                "the same field again",
            );
            out.push(
                diagnostic.help("a field may be in only one of `set`, `add` and `remove`, once"),
            );
        }
    }
}
