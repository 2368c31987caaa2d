//! The benchmark's files: evenkeel accepts its own, and all of them name the ports that the programs use.

use std::path::Path;

use evenkeel_config::{Environment, load};
use evenkeel_lab::bench::proxy::ORIGIN_PORTS;

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../bench")
        .join(name);
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn evenkeel_accepts_its_configuration_without_a_warning() {
    let around = Environment {
        base_dir: Path::new("."),
        state_dir: Path::new("."),
        cores: 2,
        descriptors: 65_536,
        resolver: &|_| Err("no names here".to_owned()),
        socket: &|_, _| Ok(()),
    };
    let loaded = load(&file("evenkeel.toml"), "evenkeel.toml", &around).unwrap();
    assert_eq!(loaded.plan.workers, 1);
    assert_eq!(loaded.warnings.list().len(), 0, "{:?}", loaded.warnings);
}

#[test]
fn every_configuration_names_both_origins() {
    for name in ["evenkeel.toml", "haproxy.cfg", "nginx.conf"] {
        let text = file(name);
        for port in ORIGIN_PORTS {
            assert!(
                text.contains(&format!("127.0.0.1:{port}")),
                "{name}: {port}"
            );
        }
    }
}
