//! The snippets in the documentation are valid. A TOML snippet is a complete configuration, or its first line says that
//! it is a part of one; a part is read inside the smallest file that supplies what it leaves out. JSON snippets are
//! JSON.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use evenkeel_config::{Environment, load};
use toml::{Table, Value};

/// A code block of a document.
struct Snippet {
    /// The file and the line, from 1.
    place: String,
    language: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The Markdown files whose snippets are for users.
fn documents() -> Vec<PathBuf> {
    let mut folders = vec![root().join("docs")];
    let mut documents = vec![root().join("README.md")];
    let crates = fs::read_dir(root().join("crates")).unwrap();
    documents.extend(crates.map(|entry| entry.unwrap().path().join("README.md")));
    documents.retain(|path| path.exists());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                documents.push(path);
            }
        }
    }
    documents.sort();
    documents
}

fn snippets(language: &str) -> Vec<Snippet> {
    let mut all = Vec::new();
    for path in documents() {
        let mut open: Option<Snippet> = None;
        for (before, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            let fence = line.trim_start().strip_prefix("```");
            match (fence, &mut open) {
                (Some(language), None) => {
                    open = Some(Snippet {
                        place: format!("{}:{}", path.display(), before + 1),
                        language: language.to_owned(),
                        text: String::new(),
                    });
                }
                (Some(_), Some(_)) => all.extend(open.take()),
                (None, Some(snippet)) => {
                    snippet.text.push_str(line);
                    snippet.text.push('\n');
                }
                (None, None) => {}
            }
        }
    }
    all.retain(|snippet| snippet.language == language);
    all
}

fn read(text: &str, place: &str) -> evenkeel_config::Loaded {
    let resolver = |_: &str| -> Result<Vec<SocketAddr>, String> { Err("no names".to_owned()) };
    let around = Environment {
        base_dir: Path::new("/b"),
        state_dir: Path::new("/s"),
        cores: 2,
        descriptors: 65_536,
        resolver: &resolver,
        socket: &|_, _| Ok(()),
    };
    load(text, place, &around)
        .unwrap_or_else(|diagnostics| panic!("{place}\n{text}\n{diagnostics}"))
}

/// The names of all services that `value` mentions.
fn mentioned(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                match (key.as_str(), value) {
                    ("service", Value::String(name)) => _ = names.insert(name.clone()),
                    ("service" | "split", Value::Table(services)) => {
                        names.extend(services.keys().cloned());
                    }
                    _ => {}
                }
                mentioned(value, names);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| mentioned(item, names)),
        _ => {}
    }
}

fn child<'a>(table: &'a mut Table, name: &str) -> &'a mut Table {
    let child = table
        .entry(name)
        .or_insert_with(|| Value::Table(Table::new()));
    child.as_table_mut().expect("it is a table in every file")
}

/// The smallest file with this part: services have servers, a listener leads to a service.
fn whole(mut part: Table) -> Table {
    let mut names = BTreeSet::new();
    mentioned(&Value::Table(part.clone()), &mut names);
    let first = names.first().map_or("shop", String::as_str).to_owned();
    names.insert(first.clone());
    for name in &names {
        let service = child(child(&mut part, "service"), name);
        let has_servers = ["servers", "run", "discover"]
            .iter()
            .any(|key| service.contains_key(*key));
        if !has_servers {
            let servers = ["127.0.0.1:19001", "127.0.0.1:19002"];
            let servers = servers.map(|address| Value::String(address.to_owned()));
            service.insert("servers".to_owned(), Value::Array(servers.to_vec()));
        }
    }
    let listeners = child(&mut part, "listen");
    if listeners.is_empty() {
        child(listeners, "web");
    }
    for (_, listener) in listeners.iter_mut() {
        let listener = listener.as_table_mut().unwrap();
        let address = Value::String("127.0.0.1:18080".to_owned());
        listener.entry("address").or_insert(address);
        if !listener.contains_key("names") {
            let service = Value::String(first.clone());
            listener.entry("service").or_insert(service);
        }
    }
    part
}

#[test]
fn toml_snippets_are_configurations_or_parts_of_one() {
    let snippets = snippets("toml");
    assert!(snippets.len() > 30, "the snippets are gone");
    let mut complete = 0;
    for Snippet { place, text, .. } in snippets {
        let table: Table = text
            .parse()
            .unwrap_or_else(|error| panic!("{place}: {error}"));
        if text.starts_with("# Part of Cargo.toml\n") {
            continue;
        }
        if text.starts_with("# Part of ") {
            read(&toml::to_string(&whole(table)).unwrap(), &place);
        } else {
            let loaded = read(&text, &place);
            assert!(
                loaded.warnings.is_empty(),
                "{place}: complete, or a part?\n{}",
                loaded.warnings
            );
            complete += 1;
        }
    }
    assert!(complete > 1, "nothing is complete");
}

#[test]
fn json_snippets_are_json() {
    let snippets = snippets("json");
    assert!(!snippets.is_empty(), "the snippets are gone");
    for Snippet { place, text, .. } in snippets {
        let value = serde_json::from_str::<serde_json::Value>(&text);
        assert!(value.is_ok(), "{place}: {value:?}");
    }
}
