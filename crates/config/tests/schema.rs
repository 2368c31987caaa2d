//! The schema matches the reader, the committed reference is up to date, and the examples are valid.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use evenkeel_config::reference::reference_markdown;
use evenkeel_config::{Environment, load, schema};
use regex::Regex;
use serde_json::Value as Json;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn resolver(_: &str) -> Result<Vec<SocketAddr>, String> {
    Err("no names in tests".to_owned())
}

fn around() -> Environment<'static> {
    Environment {
        base_dir: Path::new("/b"),
        state_dir: Path::new("/s"),
        cores: 2,
        descriptors: 65_536,
        resolver: &resolver,
        socket: &|_, _| Ok(()),
    }
}

fn examples() -> Vec<(String, String)> {
    let folder = root().join("examples");
    let mut examples: Vec<(String, String)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .map(|path| {
            (
                path.display().to_string(),
                fs::read_to_string(path).unwrap(),
            )
        })
        .collect();
    examples.sort();
    assert!(examples.len() >= 4, "the examples are gone");
    examples
}

/// The part of JSON Schema that our schema uses. What is wrong, or nothing.
fn check(schema: &Json, value: &Json, path: &str) -> Result<(), String> {
    let fail = |what: &str| Err(format!("{path}: {what}"));
    if let Some(forms) = schema["anyOf"].as_array() {
        let reasons: Vec<String> = forms
            .iter()
            .filter_map(|form| check(form, value, path).err())
            .collect();
        return if reasons.len() < forms.len() {
            Ok(())
        } else {
            Err(reasons.join("; "))
        };
    }
    let right_type = match schema["type"].as_str().expect("every schema has a type") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        other => panic!("{path}: type {other}"),
    };
    if !right_type {
        return fail("wrong type");
    }
    if schema["enum"]
        .as_array()
        .is_some_and(|words| !words.contains(value))
    {
        return fail("not among the words");
    }
    if let (Some(pattern), Some(text)) = (schema["pattern"].as_str(), value.as_str())
        && !Regex::new(pattern).unwrap().is_match(text)
    {
        return fail("does not match");
    }
    if let Some(number) = value.as_f64() {
        let (min, max) = (
            schema["minimum"].as_f64().unwrap(),
            schema["maximum"].as_f64().unwrap(),
        );
        if !(min..=max).contains(&number) {
            return fail("outside the limits");
        }
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        check(&schema["items"], item, &format!("{path}[{index}]"))?;
    }
    for key in schema["required"].as_array().into_iter().flatten() {
        if value.get(key.as_str().unwrap()).is_none() {
            return fail(&format!("{key} is missing"));
        }
    }
    check_keys(schema, value, path)
}

fn check_keys(schema: &Json, value: &Json, path: &str) -> Result<(), String> {
    for (key, value) in value.as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        let named = schema["patternProperties"]
            .as_object()
            .into_iter()
            .flatten();
        let mut named = named
            .filter(|(pattern, _)| Regex::new(pattern).unwrap().is_match(key))
            .map(|(_, schema)| schema);
        let known = schema["properties"].get(key).or_else(|| named.next());
        match known.or_else(|| {
            schema["additionalProperties"]
                .as_object()
                .map(|_| &schema["additionalProperties"])
        }) {
            Some(schema) => check(schema, value, &path)?,
            None => return Err(format!("{path}: unknown key")),
        }
    }
    Ok(())
}

fn as_json(toml: &str) -> Json {
    serde_json::to_value(toml.parse::<toml::Table>().unwrap()).unwrap()
}

#[test]
fn examples_load_without_a_word_and_fit_the_schema() {
    let schema = schema();
    for (name, text) in examples() {
        let loaded =
            load(&text, &name, &around()).unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
        check(&schema, &as_json(&text), &name).unwrap();
        assert!(text.starts_with('#'), "{name} does not say what it shows");
    }
}

#[test]
fn the_schema_refuses_what_the_reader_refuses() {
    let schema = schema();
    let base = "[listen.web]\naddress = \"127.0.0.1:1\"\nservice = \"s\"\n[service.s]\nservers = [\"127.0.0.1:2\", \"127.0.0.1:3\"]\n";
    check(&schema, &as_json(base), "base").unwrap();
    for wrong in [
        "[service.s.timeout]\nconect = \"1s\"",
        "[service.s.timeout]\nconnect = 1",
        "[service.s.timeout]\nconnect = \"1.5s\"",
        "[service.s.retry]\nlimit = 11",
        "[service.s.retry]\non = [\"5xx\"]",
        "[service.s.balance]\npolicy = \"prequel\"",
        "[service.s.detect]\nslow = \"never\"",
        "[service.Up]\nservers = []",
        "[listen.b]\nservice = \"s\"",
        "[service.s.breaker]\nopen_for = 5",
    ] {
        let text = format!("{base}{wrong}\n");
        assert!(
            check(&schema, &as_json(&text), "wrong").is_err(),
            "the schema takes {wrong}"
        );
        assert!(
            load(&text, "wrong", &around()).is_err(),
            "the reader takes {wrong}"
        );
    }
}

/// Every default, typed into a file at its place, is read and changes nothing.
#[test]
fn defaults_can_be_typed() {
    fn collect(schema: &Json, path: &str, out: &mut Vec<(String, Json)>) {
        let tables = schema["anyOf"]
            .as_array()
            .map_or_else(|| vec![schema], |forms| forms.iter().collect());
        for (key, schema) in tables
            .iter()
            .filter_map(|table| table["properties"].as_object())
            .flatten()
        {
            match schema.get("default") {
                Some(default) => out.push((format!("{path}.{key}"), default.clone())),
                None => collect(schema, &format!("{path}.{key}"), out),
            }
        }
        for schema in schema["patternProperties"]
            .as_object()
            .into_iter()
            .flat_map(|map| map.values())
        {
            collect(schema, &format!("{path}.s"), out);
        }
    }
    let mut defaults = Vec::new();
    collect(&schema(), "", &mut defaults);
    assert!(defaults.len() > 40, "{}", defaults.len());
    let plain = "listen.s.address = \"127.0.0.1:1\"\nlisten.s.service = \"s\"\nservice.s.servers = [\"127.0.0.1:2\", \"127.0.0.1:3\"]\n";
    let expected = format!("{:?}", load(plain, "plain", &around()).unwrap().plan);
    for (path, default) in defaults {
        let path = path.trim_start_matches('.');
        // These belong to a kind of server, address or probe, to stickiness, to a policy, or to a table that the plain file does not have.
        let elsewhere = [
            ".run.",
            ".objective.",
            ".mirror.",
            ".fallback.",
            ".hedge.",
            ".sticky.",
            ".prequal.",
            ".throttle.",
            ".hold_requests.",
            ".breaker.",
            ".inject.",
            ".discover.",
            ".socket.",
            "listen.s.rate",
            "listen.s.names.",
        ];
        if elsewhere.iter().any(|part| path.contains(part)) || path.ends_with(".expect") {
            continue;
        }
        let text = format!("{plain}{path} = {default}\n");
        let loaded = load(&text, "typed", &around())
            .unwrap_or_else(|diagnostics| panic!("{path}: {diagnostics}"));
        assert_eq!(
            format!("{:?}", loaded.plan),
            expected,
            "{path} = {default} is not the default"
        );
    }
}

/// `EVENKEEL_WRITE=1 cargo test -p evenkeel-config` writes the page anew.
#[test]
fn the_reference_is_up_to_date() {
    let path = root().join("docs/reference/config.md");
    let page = reference_markdown();
    if std::env::var_os("EVENKEEL_WRITE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &page).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == page,
        "docs/reference/config.md is out of date: EVENKEEL_WRITE=1 cargo test -p evenkeel-config"
    );
}
