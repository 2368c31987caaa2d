//! Changes of headers: names that may be changed, values that cannot end their line.

use evenkeel_request::HeaderChanges;
use evenkeel_request::headers::{HeaderValue, Side, check_name};

use super::typed::section;
use crate::file::At;
use crate::file::headers::Headers;
use crate::mistake::{Code, Mistake, Mistakes};

/// No table changes more fields than this: each is looked for in every message.
const MOST: usize = 32;

/// The changes that `typed` asks for.
pub(super) fn resolve_headers(
    typed: Option<&At<Headers>>,
    side: Side,
    out: &mut Mistakes,
) -> HeaderChanges {
    let mut changes = HeaderChanges::default();
    let mut names: Vec<&At<String>> = Vec::new();
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
        out.push(Mistake::new(
            Code::OutOfRange,
            at.key.clone(),
            message,
            "too many",
        ));
    }
    changes
}

fn is_free(name: &At<String>, side: Side, out: &mut Mistakes) -> bool {
    let reason = check_name(name, side).err();
    let free = reason.is_none();
    refuse(reason, name, out);
    free
}

fn resolve_value(
    name: &At<String>,
    text: &At<String>,
    side: Side,
    out: &mut Mistakes,
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
            let mistake = Mistake::new(Code::BadRule, text.span.clone(), why, "this value");
            out.push(mistake);
        })
        .ok()
}

fn refuse(why: Option<String>, name: &At<String>, out: &mut Mistakes) {
    if let Some(why) = why {
        out.push(Mistake::new(
            Code::BadRule,
            name.span.clone(),
            why,
            "this field",
        ));
    }
}

/// A field in two places of one table: nobody knows which of them was meant.
fn each_once(names: &[&At<String>], out: &mut Mistakes) {
    for (index, name) in names.iter().enumerate() {
        let twin = names[..index]
            .iter()
            .find(|other| other.eq_ignore_ascii_case(name));
        if let Some(twin) = twin {
            let (line, _) = out.position(twin.span.start);
            let message = format!("`{}` is changed already (line {line})", name.escape_debug());
            let mistake = Mistake::new(
                Code::Duplicate,
                name.span.clone(),
                message,
                "the same field again",
            );
            out.push(mistake.help("a field stands in one of `set`, `add` and `remove`, once"));
        }
    }
}
