//! Outside crates: each says beside its version why it is here. And no manifest names a crate that no code uses.

use crate::repository::{Dependency, Package, Repository};

use super::violation::{TidyViolation, line_of_key};

/// Looks at the workspace's list and at every crate's.
#[must_use]
pub fn check(repository: &Repository) -> Vec<TidyViolation> {
    let workspace = repository.text("Cargo.toml").unwrap_or_default();
    let mut found = without_reason("Cargo.toml", workspace);
    for package in &repository.packages {
        let folder = package.folder();
        let rust = repository.files.iter().filter(|file| {
            file.path
                .strip_prefix(folder)
                .is_some_and(|rest| rest.ends_with(".rs"))
        });
        let sources: Vec<&str> = rust.map(|file| file.text.as_str()).collect();
        let manifest = repository.text(&package.manifest).unwrap_or_default();
        found.extend(unused(package, manifest, &sources));
    }
    found
}

/// Lines of `[workspace.dependencies]` that name an outside crate and end without a comment.
#[must_use]
pub fn without_reason(path: &str, manifest: &str) -> Vec<TidyViolation> {
    let mut found = Vec::new();
    let mut inside = false;
    for (before, line) in manifest.lines().enumerate() {
        if line.starts_with('[') {
            inside = line.trim_end() == "[workspace.dependencies]";
        }
        let Some((name, rest)) = line.split_once('=').filter(|_| inside) else {
            continue;
        };
        let outside = !name.trim_start().starts_with('#') && !rest.contains("path =");
        if outside && !has_comment(rest) {
            let what = format!("{} has no reason beside it", name.trim());
            found.push(TidyViolation::new(path, before + 1, "reason", what));
        }
    }
    found
}

/// Crates of a manifest that none of the crate's sources names.
#[must_use]
pub fn unused(package: &Package, manifest: &str, sources: &[&str]) -> Vec<TidyViolation> {
    let is_used = |dependency: &Dependency| {
        let identifier = dependency.identifier();
        sources.iter().any(|source| uses(source, &identifier))
    };
    let tell = |dependency: &Dependency| {
        let line = line_of_key(manifest, &dependency.name);
        let what = format!("{} is used by no file of {}", dependency.name, package.name);
        TidyViolation::new(&package.manifest, line, "unused", what)
    };
    package
        .dependencies
        .iter()
        .filter(|dependency| !is_used(dependency))
        .map(tell)
        .collect()
}

/// A line of code begins a path with the crate: `name::…`, `use name;`. The word alone would be too little: `toml` also
/// stands in names of files.
fn uses(source: &str, identifier: &str) -> bool {
    let code = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    code.into_iter().any(|line| {
        line.match_indices(identifier).any(|(at, _)| {
            let before = line.get(..at).unwrap_or_default();
            let after = line.get(at + identifier.len()..).unwrap_or_default();
            let begins = !before.ends_with(|c: char| c.is_alphanumeric() || "_:.".contains(c));
            let alone = before.ends_with("use ") && after.starts_with([';', ' ']);
            begins && (after.starts_with("::") || alone)
        })
    })
}

/// A `#` outside quotes with words after it.
fn has_comment(line: &str) -> bool {
    let mut quoted = false;
    for (at, letter) in line.char_indices() {
        match letter {
            '"' => quoted = !quoted,
            '#' if !quoted => {
                return line
                    .get(at + 1..)
                    .is_some_and(|rest| !rest.trim().is_empty());
            }
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outside_crate_without_a_reason_is_found() {
        let manifest = "[package]\nname = \"x\"\n[workspace.dependencies]\nours = { path = \"a\" }\n\
                        # words\ngood = \"1\" # why\nbad = \"1#2\"\n[profile.dev]\ndebug = 1\n";
        let found = without_reason("Cargo.toml", manifest);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].line, found[0].rule), (7, "reason"));
        assert!(
            without_reason("Cargo.toml", "[workspace.dependencies]\na = \"1\" # why\n").is_empty()
        );
    }

    #[test]
    fn a_crate_that_no_code_uses_is_found() {
        let dependency = |name: &str, ours| Dependency {
            name: name.to_owned(),
            ours,
            dev: false,
            optional: false,
        };
        let package = Package {
            name: "x".to_owned(),
            manifest: "crates/x/Cargo.toml".to_owned(),
            dependencies: vec![
                dependency("arc-swap", false),
                dependency("toml", false),
                dependency("evenkeel-core", true),
                dependency("evenkeel-http1", true),
            ],
        };
        let manifest = "[dependencies]\narc-swap = \"1\"\ntoml = \"1\"\n";
        let sources = [
            "use arc_swap::ArcSwap;\nuse evenkeel_http1::a;\n// toml::from_str\nlet a = \"x.toml\";",
        ];
        let found = unused(&package, manifest, &sources);
        let told = |violation: &TidyViolation| (violation.line, violation.what.clone());
        assert_eq!(
            found.iter().map(told).collect::<Vec<_>>(),
            [
                (3, "toml is used by no file of x".to_owned()),
                (1, "evenkeel-core is used by no file of x".to_owned()),
            ]
        );
        let all = [
            "use arc_swap;\nuse evenkeel_core::{b};",
            "c = toml::d(evenkeel_http1::e);",
        ];
        assert_eq!(unused(&package, manifest, &all), []);
    }

    #[test]
    fn a_longer_name_is_not_a_use() {
        assert!(!uses("use serde_json::Value;", "serde"));
        assert!(!uses("use my_serde::Value;", "serde"));
        assert!(!uses("use crate::toml::Value;", "toml"));
        assert!(uses("#[derive(serde::Serialize)]", "serde"));
    }
}
