//! The configuration reference as Markdown: a section per table, with every key. Generated from the same declarations
//! that read the file, so it cannot be outdated; a test compares the committed page with it.

use crate::diagnostic::{Code, Severity};
use crate::file::shape::{Key, Table, ValueShape};
use crate::file::{ConfigFile, FileValue};

const HEAD: &str = "\
# Configuration reference

Written from the program by its tests; do not edit. One TOML file, usually `evenkeel.toml`. `evenkeel check` says what is
wrong with a file, `evenkeel schema` prints the JSON Schema for your editor.

The smallest useful file:

```toml
[listen.web]
address = \"127.0.0.1:8080\"
service = \"shop\"

[service.shop]
servers = [\"127.0.0.1:9001\", \"127.0.0.1:9002\", \"127.0.0.1:9003\"]
```

How values are written:

- a **duration** is whole numbers with units: `us`, `ms`, `s`, `m`, `h`, `d`; `\"250ms\"`, `\"1m30s\"`;
- a **size** is a whole number with a unit: `B`, `KiB`, `MiB`, `GiB`; `\"64KiB\"`;
- an **address** is host and port, `\"127.0.0.1:9001\"`, `\"[::1]:9001\"`, or a Unix domain socket, `\"unix:/run/shop.sock\"`; servers
  may also have a host name and `http://`;
- `NAME` in a heading is a name of yours: 1 to 63 of `a-z`, `0-9` and `-`.

A table may be written with its own heading or inside braces: `[service.shop.timeout]` and `timeout = { … }` under
`[service.shop]` mean the same. A key that is not listed here is an error, and so is one that is reserved for later.
";

/// The whole page.
#[must_use]
pub fn reference_markdown() -> String {
    let mut page = HEAD.to_owned();
    if let ValueShape::Table(table) = ConfigFile::shape() {
        section(&mut page, "", false, &table);
    }
    codes(&mut page);
    page
}

fn section(page: &mut String, path: &str, list: bool, table: &Table) {
    let heading = match (path, list) {
        ("", _) => "Top level".to_owned(),
        (path, true) => format!("`[[{path}]]`"),
        (path, false) => format!("`[{path}]`"),
    };
    page.push_str(&format!("\n## {heading}\n\n{}\n", wrapped(table.about, "")));
    if !table.keys.is_empty() {
        page.push_str(
            "\n| key | takes | default | meaning | why this default |\n|---|---|---|---|---|\n",
        );
    }
    for key in &table.keys {
        row(page, key);
    }
    if !table.later.is_empty() {
        let names: Vec<String> = table.later.iter().map(|name| format!("`{name}`")).collect();
        page.push_str(&format!(
            "\nReserved for a later version: {}.\n",
            names.join(", ")
        ));
    }
    for key in &table.keys {
        let path = if path.is_empty() {
            key.name.to_owned()
        } else {
            format!("{path}.{}", key.name)
        };
        below(page, &path, false, &key.shape);
    }
}

fn below(page: &mut String, path: &str, list: bool, shape: &ValueShape) {
    match shape {
        ValueShape::Table(table) => section(page, path, list, table),
        ValueShape::List { item, .. } => below(page, path, true, item),
        ValueShape::Map { value, .. } => below(page, &format!("{path}.NAME"), false, value),
        ValueShape::Any(forms) => {
            let mut tables = forms.iter().filter_map(|form| {
                if let ValueShape::Table(table) = form {
                    Some(table)
                } else {
                    None
                }
            });
            match (tables.next(), tables.next()) {
                (Some(table), None) => section(page, path, list, table),
                (Some(_), Some(_)) => forms_of(page, path, forms),
                _ => {}
            }
        }
        ValueShape::Text { .. }
        | ValueShape::Whole { .. }
        | ValueShape::Number { .. }
        | ValueShape::Flag
        | ValueShape::Choice(_) => {}
    }
}

/// A value with several table forms: one line for each form.
fn forms_of(page: &mut String, path: &str, forms: &[ValueShape]) {
    page.push_str(&format!(
        "\n## Each item of `{path}`\n\nOne of these forms:\n\n"
    ));
    for form in forms {
        if let ValueShape::Table(table) = form {
            for key in &table.keys {
                let item = format!(
                    "- `{{ {} = … }}`, {}: {}",
                    key.name,
                    takes(&key.shape),
                    key.about
                );
                page.push_str(&wrapped(&item, "  "));
                page.push('\n');
            }
        } else {
            page.push_str(&format!("- {}\n", takes(form)));
        }
    }
    let later = forms.iter().filter_map(|form| {
        if let ValueShape::Table(table) = form {
            Some(&table.later)
        } else {
            None
        }
    });
    let later: Vec<String> = later.flatten().map(|name| format!("`{name}`")).collect();
    if !later.is_empty() {
        page.push_str(&format!(
            "\nReserved for a later version: {}.\n",
            later.join(", ")
        ));
    }
}

fn row(page: &mut String, key: &Key) {
    let default = match &key.default {
        Some((value, _)) => format!("`{value}`"),
        None if key.required => "**required**".to_owned(),
        None => String::new(),
    };
    let why = key.default.as_ref().map_or("", |(_, why)| *why);
    let cells = [
        format!("`{}`", key.name),
        takes(&key.shape),
        default,
        key.about.to_owned(),
        why.to_owned(),
    ];
    page.push_str(&format!(
        "| {} |\n",
        cells.map(|cell| cell.replace('|', "\\|")).join(" | ")
    ));
}

/// The text in lines of at most 120 columns; all but the first begin with `indent`.
fn wrapped(text: &str, indent: &str) -> String {
    let mut lines = String::new();
    let mut columns = 0;
    for word in text.split(' ') {
        let width = word.chars().count();
        if columns == 0 {
            columns = width;
        } else if columns + 1 + width > 120 {
            lines.push('\n');
            lines.push_str(indent);
            columns = indent.len() + width;
        } else {
            lines.push(' ');
            columns += 1 + width;
        }
        lines.push_str(word);
    }
    lines
}

/// The accepted values of a shape, in words.
fn takes(shape: &ValueShape) -> String {
    match shape {
        ValueShape::Text { what, .. } => (*what).to_owned(),
        ValueShape::Whole { min, max } => format!("whole number, {min} to {max}"),
        ValueShape::Number { min, max } => format!("number, {min} to {max}"),
        ValueShape::Flag => "`true` or `false`".to_owned(),
        ValueShape::Choice(words) => {
            let words: Vec<String> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
            words.join(" or ")
        }
        ValueShape::List { item, .. } => format!("list of: {}", takes(item)),
        ValueShape::Map {
            names: Some(_),
            value,
        } => format!("tables by name; each a {}", takes(value)),
        ValueShape::Map { names: None, value } => format!("table of names with {}", takes(value)),
        ValueShape::Table(_) => "table".to_owned(),
        ValueShape::Any(forms) => {
            let mut words: Vec<String> = forms.iter().map(takes).collect();
            words.dedup();
            words.join(", or ")
        }
    }
}

fn codes(page: &mut String) {
    for (heading, severity, about) in [
        (
            "Errors",
            Severity::Error,
            "A file with one of these is not used.",
        ),
        (
            "Warnings",
            Severity::Warning,
            "A file with these is used; it probably does not do what you want.",
        ),
    ] {
        page.push_str(&format!(
            "\n## {heading}\n\n{about}\n\n| code | meaning |\n|---|---|\n"
        ));
        for code in Code::ALL.iter().filter(|code| code.severity() == severity) {
            page.push_str(&format!("| {} | {} |\n", code.text(), code.meaning()));
        }
    }
}
