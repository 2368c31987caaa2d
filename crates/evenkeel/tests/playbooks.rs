//! `evenkeel playbooks`: the actions for each kind of fault, built-in and the user's, as text and as JSON.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::call;
use serde_json::Value;
use tempfile::TempDir;

const FILE: &str = r#"
[listen.web]
address = "127.0.0.1:0"
service = "shop"

[service.shop.run]
command = ["./shop", "--port", "{port}"]
ports = [9001, 9002]
keep_previous = true

[service.shop.recover]
mode = "ask"

[[service.shop.recover.playbook]]
when = ["process-hung", "memory-leak"]
do = ["eject", { wait = "1500ms" }, { exec = ["./page.sh", "{server}"] }, "restart"]

[service.cart]
servers = [
  "127.0.0.1:9101",
  { name = "two", address = "127.0.0.1:9102", managed_by = { exec = { restart = ["./restart"] } } },
]

[service.desk]
servers = ["127.0.0.1:9201"]
"#;

fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("evenkeel.toml"), FILE).unwrap();
    folder
}

/// The line of this kind in a part of the text.
fn line<'a>(part: &'a str, kind: &str) -> &'a str {
    let mut lines = part.lines().map(str::trim);
    lines
        .find(|line| line.split_whitespace().next() == Some(kind))
        .unwrap_or_else(|| panic!("{kind} is not in\n{part}"))
}

#[test]
fn text_shows_each_kind_once_for_all_who_share_it() {
    let folder = folder();
    let shown = call(folder.path(), &["playbooks"]);
    assert_eq!(shown.status, Some(0), "{shown:?}");
    let parts: Vec<&str> = shown.out.split("\n\n").collect();
    let headings: Vec<&str> = parts.iter().step_by(2).copied().collect();
    assert_eq!(
        parts.len(),
        6,
        "three headings with a list each:\n{}",
        shown.out
    );
    assert_eq!(
        headings,
        [
            "shop (shop-1, shop-2): evenkeel runs them, mode ask",
            "cart (127-0-0-1-9101), desk (127-0-0-1-9201): evenkeel cannot restart them, mode automatic",
            "cart (two): reached by commands, mode automatic",
        ]
    );
    let own = line(parts[1], "process-hung");
    assert!(own.contains("own"), "{own}");
    let actions = r#"eject, wait 1.5 s, exec ["./page.sh", "{server}"], restart"#;
    assert!(own.ends_with(actions), "{own}");
    let crashed = line(parts[1], "process-crashed");
    assert!(crashed.ends_with("built-in  eject, restart"), "{crashed}");
    let deploy = line(parts[1], "bad-deploy");
    assert!(
        deploy.ends_with("eject, restart, roll-back, restart"),
        "{deploy}"
    );
    let hung = line(parts[5], "process-hung");
    assert!(
        hung.ends_with("built-in  eject, wait 10 s, restart"),
        "{hung}"
    );
    let errors = line(parts[3], "error-burst");
    assert!(errors.ends_with("built-in  eject"), "{errors}");
    let poison = line(parts[3], "poison-request");
    assert!(poison.ends_with("quarantine, escalate"), "{poison}");
    // The last of them only of evenkeel itself.
    for kind in ["memory-leak", "clock-skew"] {
        assert!(line(parts[1], kind).ends_with("(not diagnosed of a server yet)"));
    }
}

#[test]
fn json_has_every_kind_for_every_service() {
    let folder = folder();
    for arguments in [
        &["playbooks", "--json"][..],
        &["playbooks", "evenkeel.toml", "--format", "json"],
    ] {
        let shown = call(folder.path(), arguments);
        assert_eq!(shown.status, Some(0), "{shown:?}");
        let groups: Value = serde_json::from_str(&shown.out).unwrap();
        let groups = groups.as_array().unwrap();
        assert_eq!(groups.len(), 4, "cart has two kinds of servers");
        for group in groups {
            let lines = group["playbooks"].as_array().unwrap();
            assert_eq!(lines.len(), evenkeel_fault::FaultKind::ALL.len());
        }
        assert_eq!(groups[0]["servers"][1], "shop-2");
        assert_eq!(groups[2]["managed"], "commands");
    }
}

#[test]
fn an_invalid_or_missing_file_is_reported() {
    let folder = folder();
    let missing = call(folder.path(), &["playbooks", "no.toml"]);
    assert_eq!(missing.status, Some(2), "{missing:?}");
    std::fs::write(
        folder.path().join("wrong.toml"),
        "[service.shop]\nservres = []",
    )
    .unwrap();
    let wrong = call(folder.path(), &["playbooks", "wrong.toml"]);
    assert_eq!(wrong.status, Some(1), "{wrong:?}");
    assert!(wrong.err.contains("servers"), "{wrong:?}");
}
