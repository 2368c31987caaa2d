//! The API's description matches the API.

use crate::fake::Fake;
use crate::fake::request;
use crate::{ask, get, with_token};
use evenkeel_admin::{AdminBackend as _, AdminRequest};
use serde_json::Value;
use std::collections::BTreeSet;

#[test]
fn the_description_names_what_is_there() {
    let live = Fake::with_proposal();
    let response = get(&live, "/api/openapi.json");
    let document: Value = serde_json::from_str(&response.body).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["version"], live.version());
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let target = path
                .replace("{service}", "shop")
                .replace("{server}", "shop-1")
                .replace("{id}", "2026-11-22-0007");
            let example = &methods[method]["requestBody"]["content"]["application/json"]["example"];
            let request = AdminRequest {
                body: match example {
                    Value::Null => Vec::new(),
                    example => example.to_string().into_bytes(),
                },
                ..request(&method.to_uppercase(), &target)
            };
            let asked = ask(&live, &with_token(request));
            assert_eq!(asked.status, 200, "{method} {target}: {}", asked.body);
            let content = &methods[method]["responses"]["200"]["content"];
            let kind = asked.content_type.split(';').next().unwrap();
            assert!(
                content[kind].is_object(),
                "{method} {path} is described as {content}, but is {kind}"
            );
            described.insert(format!("{method} {path}"));
        }
    }
    assert_eq!(described.len(), 26, "{described:#?}");
    check_references(&document, &document);
}

#[test]
fn the_description_has_the_fields_that_are_there() {
    let live = Fake::default();
    let document: Value = serde_json::from_str(&get(&live, "/api/openapi.json").body).unwrap();
    let incident = serde_json::to_value(crate::fake::incident()).unwrap();
    let service = serde_json::to_value(&crate::fake::services()[0]).unwrap();
    let report = serde_json::to_value(crate::fake::report()).unwrap();
    let why = serde_json::to_value(crate::fake::why()).unwrap();
    let instance = serde_json::to_value(crate::fake::instance()).unwrap();
    let configuration = serde_json::to_value(crate::fake::configuration()).unwrap();
    for (schema, value) in [
        ("Incident", &incident),
        ("Service", &service),
        ("Server", &service["servers"][0]),
        ("Recent", &service["recent"]),
        ("Maintenance", &service["maintenance"]),
        ("OpenIncident", &service["servers"][0]["incident"]),
        ("ServiceWhy", &why),
        ("ServerWhy", &why["servers"][0]),
        ("Recovery", &why["recovery"]),
        ("Success", &why["success"][0]),
        ("Report", &report),
        ("Instance", &instance),
        ("RefusedReload", &instance["refused_reload"]),
        ("RuntimeChange", &instance["runtime_changes"][0]),
        ("Configuration", &configuration),
    ] {
        let properties = document["components"]["schemas"][schema]["properties"]
            .as_object()
            .unwrap();
        let described: BTreeSet<&String> = properties.keys().collect();
        let there: BTreeSet<&String> = value.as_object().unwrap().keys().collect();
        assert_eq!(described, there, "{schema}");
    }
}

/// Every `$ref` leads somewhere.
fn check_references(document: &Value, part: &Value) {
    if let Some(reference) = part.get("$ref").and_then(Value::as_str) {
        let place = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(place).is_some(), "{reference}");
    }
    match part {
        Value::Array(parts) => parts
            .iter()
            .for_each(|part| check_references(document, part)),
        Value::Object(parts) => parts
            .values()
            .for_each(|part| check_references(document, part)),
        _ => {}
    }
}
