//! The effective settings: what `show` prints means the same as the file, and what differs is said key by key.

use std::fs;
use std::path::Path;

use evenkeel_config::Settings;
use evenkeel_config::change::{
    AddedServer, FreeSlots, Overlay, ServiceChange, apply_overlay, difference, lay_out,
};
use evenkeel_config::settings::{ChangeLine, Origin};
use evenkeel_core::Random;

use super::{SHOP, generate, plan, read_with_settings};

fn settings(text: &str) -> Settings {
    let (loaded, settings) = read_with_settings(text);
    let apart = Settings::of(text, "evenkeel.toml", &loaded.plan);
    assert_eq!(settings, apart, "parsed once or twice");
    settings
}

/// Whether two files mean the same.
fn assert_same(text: &str, other: &str, what: &str) {
    let (one, two) = (plan(text), plan(other));
    let two = lay_out(&one, two, &FreeSlots::default());
    let changes = difference(&one, &two);
    assert!(changes.is_empty(), "{what}\n{text}\n{other}\n{changes:#?}");
}

#[test]
fn what_is_shown_means_the_same_as_the_file() {
    let mut texts = vec![
        SHOP.to_owned(),
        include_str!("../every_key.toml").to_owned(),
    ];
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    for entry in fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            texts.push(fs::read_to_string(path).unwrap());
        }
    }
    texts.extend((0..300).map(|seed| generate::file(&mut Random::seeded(seed))));
    assert!(texts.len() > 305);
    for text in texts {
        let settings = settings(&text);
        assert_same(&text, &settings.toml(true), "all");
        assert_same(&text, &settings.toml(false), "without defaults");
        let again = self::settings(&settings.toml(true));
        assert_eq!(settings.changes_to(&again), [], "{text}");
    }
}

#[test]
fn plans_differ_where_settings_do() {
    for seed in 0..300 {
        let mut random = Random::seeded(seed);
        let (old, new) = (generate::file(&mut random), generate::file(&mut random));
        let lines = settings(&old).changes_to(&settings(&new));
        let old_plan = plan(&old);
        let changes = difference(
            &old_plan,
            &lay_out(&old_plan, plan(&new), &FreeSlots::default()),
        );
        assert_eq!(
            lines.is_empty(),
            changes.is_empty(),
            "seed {seed}: {lines:?}"
        );
        let restart = lines.iter().any(|line| line.needs_restart);
        assert_eq!(restart, !changes.needs_restart().is_empty(), "seed {seed}");
    }
}

#[test]
fn each_value_has_an_origin() {
    let text = SHOP.replace("run =", "timeout = { total = \"10s\" }\nrun =");
    let settings = settings(&text);
    let at = |path: &str| {
        let (value, origin) = settings.get(path).unwrap_or_else(|| panic!("{path}"));
        (value.to_string(), origin.clone())
    };
    assert_eq!(
        at("service.shop.timeout.total"),
        ("\"10s\"".into(), Origin::File { line: 7 })
    );
    assert_eq!(
        at("service.shop.timeout.attempt"),
        ("\"5s\"".into(), Origin::Derived)
    );
    assert_eq!(
        at("service.shop.timeout.connect"),
        ("\"1s\"".into(), Origin::Default)
    );
    assert_eq!(
        at("service.shop.servers[1].name"),
        ("\"b\"".into(), Origin::File { line: 6 })
    );
    assert_eq!(
        at("service.shop.servers[1].weight"),
        ("1".into(), Origin::Default)
    );
    assert_eq!(settings.origin("service.shop.hedge.after"), None);
    let settings = settings.from_command_line();
    assert_eq!(
        settings.origin("listen.web.address"),
        Some(&Origin::CommandLine)
    );
    assert_eq!(settings.origin("workers"), Some(&Origin::Derived));
}

#[test]
fn settings_are_shown_as_toml_and_as_json() {
    let text = "[listen.web]\naddress = \"127.0.0.1:80\"\nservice = \"shop\"\n\n[service.shop]\nservers = [\"127.0.0.1:9001\"]\nhedge = {}\n";
    let settings = settings(text);
    let shown = settings.toml(false);
    let lines: Vec<String> = shown
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let expected = [
        "[listen.web]",
        "address = \"127.0.0.1:80\" # line 2",
        "service = \"shop\" # line 3",
        "",
        "[[service.shop.servers]]",
        "address = \"127.0.0.1:9001\" # line 6",
        "",
        "[service.shop.hedge]",
    ];
    assert_eq!(lines, expected, "{shown}");
    let json = settings.json(false);
    assert_eq!(json["settings"][0]["path"], "listen.web.address");
    assert_eq!(json["settings"][0]["origin"]["line"], 2);
    let all = settings.toml(true);
    let derived = "# name = \"127-0-0-1-9001\"";
    assert!(
        all.contains(derived) && all.contains("connect = \"1s\""),
        "{all}"
    );
    assert!(settings.json(true)["settings"].as_array().unwrap().len() > 60);
}

#[test]
fn a_diff_lists_the_changed_settings() {
    let old = settings(SHOP);
    let lines = |from: &str, to: &str| -> Vec<String> {
        let new = settings(&SHOP.replace(from, to));
        old.changes_to(&new)
            .iter()
            .map(ChangeLine::to_string)
            .collect()
    };
    assert_eq!(
        lines(
            "run =",
            "timeout = { total = \"30s\", attempt = \"10s\" }\nrun ="
        ),
        [
            "service shop: timeout.attempt 30s → 10s",
            "service shop: timeout.total 60s → 30s"
        ]
    );
    assert_eq!(
        lines("run =", "timeout = { total = \"1m\" }\nrun ="),
        [] as [&str; 0]
    );
    assert_eq!(
        lines(
            "9002\" }",
            "9002\", weight = 2 }, { name = \"c\", address = \"127.0.0.1:9009\" }"
        ),
        [
            "service shop: server b: weight 1 → 2",
            "service shop: server c added"
        ]
    );
    assert_eq!(
        lines(
            "[service.shop]",
            "routes = [{ path = \"/x\", service = \"shop\" }]\n[service.shop]"
        ),
        ["listener web: route /x added"]
    );
    assert_eq!(
        lines(
            "[listen.web]",
            "[log]\nlevel = \"debug\"\n[store]\nurl = \"memory:\"\n[listen.web]"
        ),
        [
            "log.level info → debug",
            "store.url sqlite:evenkeel.db → memory: (after a restart)"
        ]
    );
    assert_eq!(
        lines(
            "[service.shop]",
            "[service.new]\nservers = [\"127.0.0.1:9099\"]\n[service.shop]"
        ),
        ["service new added"]
    );
}

#[test]
fn what_was_changed_at_run_time_comes_from_the_api() {
    let file = plan(SHOP);
    let mut overlay = Overlay::default();
    let added = AddedServer {
        name: "c".to_owned(),
        address: ([127, 0, 0, 1], 9_500).into(),
        weight: 2,
        tier: 0,
        max_requests: 0,
    };
    overlay.add_server(&file, "shop", added).unwrap();
    overlay.set_weight(&file, "shop", "a", 7).unwrap();
    overlay.remove_server(&file, "shop", "b").unwrap();
    let before = settings(SHOP);
    let now = before.clone().with_overlay(&overlay);
    let weight = now.get("service.shop.servers[0].weight").unwrap();
    assert_eq!(weight, (&7.into(), &Origin::Api));
    let lines: Vec<String> = before
        .changes_to(&now)
        .iter()
        .map(ChangeLine::to_string)
        .collect();
    assert_eq!(
        lines,
        [
            "service shop: server b removed",
            "service shop: server a: weight 1 → 7",
            "service shop: server c added"
        ]
    );
    let overlaid = apply_overlay(file, &overlay).plan;
    let shown = lay_out(&overlaid, plan(&now.toml(false)), &FreeSlots::default());
    // Listed servers stand before those that evenkeel runs, and what was added stands last.
    match &difference(&overlaid, &shown).services[..] {
        [ServiceChange::Changed(change)] => {
            assert!(
                change.servers.is_empty() && change.server_order,
                "{change:?}"
            );
            assert!(!change.settings && !change.fault && !change.discover);
        }
        other => panic!("{other:?}"),
    }
}

/// A service with very many servers: nothing grows with the square of their number. The times are for a reader.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the times are for a reader, and nothing depends on them"
)]
fn ten_thousand_servers() {
    use std::fmt::Write as _;
    use std::time::Instant;
    let mut text = SHOP.replace("servers = [", "servers = [\n");
    let mut servers = String::new();
    for number in 0..10_000_u32 {
        let (high, low) = (number / 250, number % 250);
        writeln!(servers, "\"10.0.{high}.{low}:80\",").unwrap();
    }
    text = text.replace("servers = [\n", &format!("servers = [\n{servers}"));
    let changed = text.replace("10.0.7.7:80\"", "10.0.7.7:81\"");
    let old = plan(&text);
    let start = Instant::now();
    let new = plan(&changed);
    let load = start.elapsed();
    let start = Instant::now();
    let new = lay_out(&old, new, &FreeSlots::default());
    let changes = difference(&old, &new);
    let pure = start.elapsed();
    let (old_settings, new_settings) = (settings(&text), settings(&changed));
    let start = Instant::now();
    let lines = old_settings.changes_to(&new_settings);
    let compare = start.elapsed();
    println!("load {load:?}, slots and difference {pure:?}, lines {compare:?}");
    assert_eq!(changes.services.len(), 1);
    assert_eq!(lines.len(), 2);
}
