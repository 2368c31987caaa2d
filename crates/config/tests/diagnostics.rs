//! Whole files with many errors, and the printed diagnostics: `diagnostics/NAME.toml` beside `diagnostics/NAME.txt`.
//! `EVENKEEL_WRITE=1 cargo test -p evenkeel-config` rewrites the outputs; read the difference before you commit it.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use evenkeel_request::route::Route;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use evenkeel_config::render::{self, Style};
use evenkeel_config::{Code, Diagnostics, Environment, Severity, load};
use evenkeel_core::Random;

fn resolver(name: &str) -> Result<Vec<SocketAddr>, String> {
    match name {
        "pair.internal:80" => Ok(vec![
            "10.0.0.2:80".parse().unwrap(),
            "10.0.0.3:80".parse().unwrap(),
        ]),
        _ => Err("no such host".to_owned()),
    }
}

/// What is said about a file; a plan that comes out of it must be one that can be carried out.
fn diagnostics_of(text: &str, name: &str) -> Diagnostics {
    let around = Environment {
        base_dir: Path::new("/b"),
        state_dir: Path::new("/s"),
        cores: 2,
        descriptors: 65_536,
        resolver: &resolver,
        socket: &|_, _| Ok(()),
    };
    match load(text, name, &around) {
        Ok(loaded) => {
            assert!(!loaded.plan.listeners.is_empty() && loaded.plan.workers > 0);
            for listener in &loaded.plan.listeners {
                let services = listener
                    .routes
                    .iter()
                    .flat_map(Route::services)
                    .chain(listener.default_service);
                let services: Vec<_> = services.collect();
                assert!(!services.is_empty() || !listener.routes.is_empty());
                assert!(
                    services
                        .iter()
                        .all(|service| (service.0 as usize) < loaded.plan.services.len())
                );
            }
            assert!(
                loaded
                    .plan
                    .services
                    .iter()
                    .all(|service| !service.servers.is_empty())
            );
            loaded.warnings
        }
        Err(diagnostics) => diagnostics,
    }
}

fn files() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/diagnostics");
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "toml")
    });
    names.sort();
    names
        .into_iter()
        .map(|path| {
            (
                path.display().to_string(),
                fs::read_to_string(path).unwrap(),
            )
        })
        .collect()
}

#[test]
fn what_is_printed_is_what_was_agreed() {
    let mut stale = Vec::new();
    let mut seen = Vec::new();
    for (path, text) in files() {
        let name = Path::new(&path).file_name().unwrap().to_str().unwrap();
        let diagnostics = diagnostics_of(&text, name);
        seen.extend(diagnostics.list().iter().map(|diagnostic| diagnostic.code));
        let printed = render::human(&diagnostics, Style::default());
        let beside = Path::new(&path).with_extension("txt");
        if std::env::var_os("EVENKEEL_WRITE").is_some() {
            fs::write(&beside, &printed).unwrap();
        }
        if fs::read_to_string(&beside).unwrap_or_default() != printed {
            stale.push(format!("{name} prints:\n{printed}"));
        }
    }
    assert!(stale.is_empty(), "{}", stale.join("\n"));
    for code in Code::ALL
        .iter()
        .filter(|code| code.severity() == Severity::Error)
    {
        assert!(seen.contains(code), "no file shows {}", code.text());
    }
}

#[test]
fn machines_get_lines_columns_and_texts() {
    let diagnostics = diagnostics_of("[listen.web]\nadress = \"ä\"\n", "x.toml");
    let json = render::json(&diagnostics);
    assert_eq!(json["valid"], false);
    assert_eq!(json["errors"], 4);
    let first = &json["mistakes"][1];
    assert_eq!(
        (&first["code"], &first["line"], &first["column"]),
        (&"EK-008".into(), &1.into(), &9.into())
    );
    let unknown = json["mistakes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["code"] == "EK-002")
        .unwrap();
    assert_eq!(
        (&unknown["text"], &unknown["line"], &unknown["column"]),
        (&"adress".into(), &2.into(), &1.into())
    );
    assert_eq!(unknown["help"], "did you mean `address`?");
}

#[test]
fn colour_is_only_there_when_asked_for() {
    let diagnostics = diagnostics_of("a = 1", "x.toml");
    assert!(!render::human(&diagnostics, Style::default()).contains('\u{1b}'));
    assert!(
        render::human(
            &diagnostics,
            Style {
                colour: true,
                width: 80
            }
        )
        .contains('\u{1b}')
    );
}

/// Files broken at random: whatever comes out, nothing panics, and every place lies inside the text.
#[test]
fn no_text_makes_it_panic() {
    let seed = 20_261_123;
    println!("seed {seed}");
    let mut random = Random::seeded(seed);
    let sources: Vec<String> = files()
        .into_iter()
        .map(|(_, text)| text)
        .chain([include_str!("every_key.toml").to_owned()])
        .collect();
    for round in 0..3_000 {
        let mut bytes = sources[random.below(sources.len())].clone().into_bytes();
        for _ in 0..=random.below(6) {
            if bytes.is_empty() {
                break;
            }
            let at = random.below(bytes.len());
            match random.below(5) {
                0 => bytes[at] = random.bits().to_le_bytes()[0],
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, b"\"[]{}=.,#'\n\\0-"[random.below(14)]),
                3 => bytes.truncate(at.max(1)),
                _ => {
                    let other = random.below(bytes.len());
                    bytes.swap(at, other);
                }
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        let diagnostics = diagnostics_of(&text, "x.toml");
        for diagnostic in diagnostics.list() {
            assert!(
                text.get(diagnostic.span.clone()).is_some(),
                "round {round}: {diagnostic:?}"
            );
        }
        if round % 10 == 0 {
            assert!(!render::human(&diagnostics, Style::default()).is_empty());
            assert!(render::json(&diagnostics).is_object());
        }
    }
}
