//! What differs between two configurations, for people and programs: each key with its old and its new value.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use serde_json::Value as Json;

use super::{Setting, Settings};

/// One difference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChangeLine {
    /// What it is about: `service shop`, `listener web`, or the program as a whole (empty).
    pub subject: String,
    /// The part of it, if it is one of several: `server b`, `route /v1/*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// How it differs.
    #[serde(flatten)]
    pub kind: LineKind,
    /// Whether it holds only after a restart.
    pub needs_restart: bool,
}

/// How something differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum LineKind {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// A key of it has another value.
    Changed {
        /// The key, below the subject and the part: `timeout.total`.
        key: String,
        /// The old value; nothing if there was none.
        old: Option<Json>,
        /// The new value; nothing if there is none.
        new: Option<Json>,
    },
    /// Its parts are in another order.
    Reordered,
}

impl fmt::Display for ChangeLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = match (self.subject.as_str(), &self.part) {
            ("", None) => String::new(),
            ("", Some(part)) => part.clone(),
            (subject, None) => subject.to_owned(),
            (subject, Some(part)) => format!("{subject}: {part}"),
        };
        match &self.kind {
            LineKind::Added => write!(f, "{subject} added")?,
            LineKind::Removed => write!(f, "{subject} removed")?,
            LineKind::Reordered => write!(f, "{subject}: another order")?,
            LineKind::Changed { key, old, new } => {
                let colon = if subject.is_empty() { "" } else { ": " };
                let (old, new) = (shown(old.as_ref()), shown(new.as_ref()));
                write!(f, "{subject}{colon}{key} {old} → {new}")?;
            }
        }
        if self.needs_restart {
            f.write_str(" (after a restart)")?;
        }
        Ok(())
    }
}

/// A value for people: texts without quotes.
fn shown(value: Option<&Json>) -> String {
    match value {
        None => "unset".to_owned(),
        Some(Json::String(text)) if !text.is_empty() => text.clone(),
        Some(value) => value.to_string(),
    }
}

impl Settings {
    /// What differs between these settings and newer ones, in a fixed order.
    #[must_use]
    pub fn changes_to(&self, new: &Self) -> Vec<ChangeLine> {
        let (old, new) = (groups(&self.root), groups(&new.root));
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let mut lines = Vec::new();
        for subject in names {
            let line = |part: Option<&str>, kind: LineKind| ChangeLine {
                subject: subject.clone(),
                part: part.map(str::to_owned),
                needs_restart: subject.is_empty() && needs_restart(&kind),
                kind,
            };
            match (old.get(subject), new.get(subject)) {
                (Some(old), Some(new)) if same_entries(old, new) => {}
                (Some(old), Some(new)) => {
                    compare(&Subject::of(old), &Subject::of(new), &mut |part, kind| {
                        lines.push(line(part, kind));
                    });
                }
                (Some(_), None) => lines.push(line(None, LineKind::Removed)),
                (None, _) => lines.push(line(None, LineKind::Added)),
            }
        }
        lines
    }
}

fn needs_restart(kind: &LineKind) -> bool {
    match kind {
        LineKind::Changed { key, .. } => ["workers", "admin.", "store."]
            .iter()
            .any(|group| key.starts_with(group)),
        LineKind::Added | LineKind::Removed | LineKind::Reordered => false,
    }
}

/// The settings of a subject, by their keys.
type Entries<'a> = Vec<(&'a str, &'a Setting)>;

/// The keys of a subject, and its parts in their order.
#[derive(Debug, Default)]
struct Subject<'a> {
    keys: BTreeMap<String, &'a Json>,
    parts: Vec<(String, &'a Setting)>,
}

impl<'a> Subject<'a> {
    fn of(entries: &Entries<'a>) -> Self {
        let mut subject = Self::default();
        for (key, setting) in entries {
            collect(setting, key, &mut subject);
        }
        subject
    }
}

/// The services, the listeners, and under an empty name everything else.
fn groups(root: &Setting) -> BTreeMap<String, Entries<'_>> {
    let mut groups: BTreeMap<String, Entries<'_>> = BTreeMap::new();
    for (key, setting) in root.entries() {
        let kind = match key.as_str() {
            "service" => "service",
            "listen" => "listener",
            _ => {
                let program = groups.entry(String::new()).or_default();
                program.push((key, setting));
                continue;
            }
        };
        for (name, setting) in setting.entries() {
            let subject = groups.entry(format!("{kind} {name}")).or_default();
            let entries = setting.entries().iter();
            subject.extend(entries.map(|(key, setting)| (key.as_str(), setting)));
        }
    }
    groups
}

/// Whether all values are the same in the same order, wherever they come from: most of a large configuration is, and is not looked at
/// key by key.
fn same_entries(old: &Entries<'_>, new: &Entries<'_>) -> bool {
    let mut both = old.iter().zip(new);
    old.len() == new.len() && both.all(|(old, new)| old.0 == new.0 && same_values(old.1, new.1))
}

fn same_values(old: &Setting, new: &Setting) -> bool {
    match (old, new) {
        (Setting::Value(old, _), Setting::Value(new, _)) => old == new,
        (Setting::Table { entries: old, .. }, Setting::Table { entries: new, .. }) => {
            let mut both = old.iter().zip(new);
            old.len() == new.len()
                && both.all(|(old, new)| old.0 == new.0 && same_values(&old.1, &new.1))
        }
        (Setting::List(old), Setting::List(new)) => {
            let mut both = old.iter().zip(new);
            old.len() == new.len() && both.all(|(old, new)| same_values(old, new))
        }
        (Setting::Value(..) | Setting::Table { .. } | Setting::List(_), _) => false,
    }
}

fn collect<'a>(setting: &'a Setting, path: &str, into: &mut Subject<'a>) {
    match setting {
        Setting::Value(value, _) => {
            into.keys.insert(path.to_owned(), value);
        }
        Setting::Table { entries, .. } => {
            for (key, setting) in entries {
                collect(setting, &super::joined(path, key), into);
            }
        }
        Setting::List(items) => {
            let mut seen: BTreeMap<String, usize> = BTreeMap::new();
            for item in items {
                let label = label(path, item);
                let number = seen.entry(label.clone()).or_default();
                *number += 1;
                let label = match *number {
                    1 => label,
                    number => format!("{label} #{number}"),
                };
                into.parts.push((label, item));
            }
        }
    }
}

/// What a part is called: by its name, or by what a route matches.
fn label(path: &str, item: &Setting) -> String {
    let text = |key: &str| item.key(key).and_then(Setting::text);
    match path {
        "servers" => format!("server {}", text("name").unwrap_or_default()),
        "names" => format!("name {}", text("name").unwrap_or_default()),
        "routes" => {
            let mut words: Vec<String> = Vec::new();
            words.extend(text("host").map(str::to_owned));
            words.extend(text("path").map(str::to_owned));
            if let Some(Setting::Value(methods, _)) = item.key("method") {
                words.push(methods.to_string());
            }
            for key in ["header", "query", "cookie"] {
                for (name, value) in item.key(key).map_or(&[][..], Setting::entries) {
                    words.push(format!("{key} {name}={}", value.text().unwrap_or_default()));
                }
            }
            if words.is_empty() {
                words.push("*".to_owned());
            }
            format!("route {}", words.join(" "))
        }
        _ => {
            let first = item.entries().first();
            let value = first.map(|(_, setting)| setting);
            match value {
                Some(Setting::Value(value, _)) => format!("{path} for {value}"),
                Some(Setting::Table { .. } | Setting::List(_)) | None => path.to_owned(),
            }
        }
    }
}

fn compare(old: &Subject<'_>, new: &Subject<'_>, each: &mut impl FnMut(Option<&str>, LineKind)) {
    compare_keys(&old.keys, &new.keys, &mut |kind| each(None, kind));
    let before: BTreeMap<&String, &Setting> =
        old.parts.iter().map(|(name, item)| (name, *item)).collect();
    let after: BTreeSet<&String> = new.parts.iter().map(|(name, _)| name).collect();
    for (part, _) in old.parts.iter().filter(|(part, _)| !after.contains(part)) {
        each(Some(part), LineKind::Removed);
    }
    for (part, item) in &new.parts {
        match before.get(part) {
            Some(old) if same_values(old, item) => {}
            Some(old) => compare_keys(&keys_of(old), &keys_of(item), &mut |kind| {
                each(Some(part), kind);
            }),
            None => each(Some(part), LineKind::Added),
        }
    }
    let old_order = old.parts.iter().map(|(name, _)| name);
    let new_order = new.parts.iter().map(|(name, _)| name);
    let stays = new_order.filter(|name| before.contains_key(name));
    if !old_order.filter(|name| after.contains(name)).eq(stays) {
        each(None, LineKind::Reordered);
    }
}

/// The values of a part, by their paths.
fn keys_of(part: &Setting) -> BTreeMap<String, &Json> {
    let mut keys = BTreeMap::new();
    part.visit("", &mut |path, value, _| {
        keys.insert(path.to_owned(), value);
    });
    keys
}

fn compare_keys(
    old: &BTreeMap<String, &Json>,
    new: &BTreeMap<String, &Json>,
    each: &mut impl FnMut(LineKind),
) {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for key in keys {
        let (old, new) = (old.get(key), new.get(key));
        if old != new {
            each(LineKind::Changed {
                key: key.clone(),
                old: old.map(|value| (*value).clone()),
                new: new.map(|value| (*value).clone()),
            });
        }
    }
}
