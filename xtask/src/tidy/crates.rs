//! Which crate may depend on which: the table that keeps the two ways through the house apart, and the pure crates
//! pure. A new edge is a new row here, with a reason, before it is a line in a manifest. Dev-dependencies are free.

use crate::repository::{Package, Repository};

use super::violation::{TidyViolation, line_of_key};

/// Each crate, without its `evenkeel-`, and the crates it may use.
const MAY_USE: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("balance", &["core"]),
    ("tolerate-macros", &[]),
    ("tolerate", &["core", "tolerate-macros"]), // the macro behind a feature, for other programs
    ("tolerate-examples", &[]), // dev-dependencies only: other people's clients and servers
    ("http1", &[]),
    ("request", &["core", "balance", "tolerate"]),
    ("fault", &["core"]),
    (
        "config",
        &["core", "balance", "tolerate", "request", "fault"],
    ),
    ("runtime", &["core"]),
    ("connect", &["core", "http1", "runtime"]),
    ("discover", &["core", "runtime", "config"]), // asks DNS; what follows from the answers is the program's to pass on
    (
        "proxy",
        &[
            "core", "balance", "tolerate", "http1", "request", "config", "runtime", "connect",
        ],
    ),
    (
        "supervise",
        &["core", "fault", "config", "connect", "runtime"],
    ),
    ("history", &["core", "fault", "runtime"]),
    (
        "control",
        &["core", "fault", "config", "supervise", "history", "runtime"],
    ),
    (
        "admin",
        &["core", "fault", "history", "config", "http1", "runtime"],
    ),
    ("dns", &["core", "runtime"]),
    ("lab", &["core", "runtime"]), // no HTTP code of the proxy, which it tests
    ("fuzz", &["core", "balance", "tolerate", "http1", "request"]),
    ("xtask", &[]), // it must build when nothing else does
];

/// The program wires everything, so it may use every crate.
const PROGRAM: &str = "evenkeel";

/// Decisions without sockets, files or a clock.
const PURE: &[&str] = &[
    "core", "balance", "tolerate", "http1", "request", "fault", "config",
];

/// Pure crates with a face for other programs: behind a feature, which no crate of the house turns on, they may wait.
const FOR_OTHERS: &[&str] = &["tolerate"];

/// Crates that provide sockets, files or a clock.
const IMPURE: &[&str] = &["tokio", "mio", "rustix", "socket2"];

/// Looks at every crate's dependencies.
#[must_use]
pub fn check(repository: &Repository) -> Vec<TidyViolation> {
    let of = |package: &Package| {
        let manifest = repository.text(&package.manifest).unwrap_or_default();
        check_package(package, manifest)
    };
    repository.packages.iter().flat_map(of).collect()
}

/// The edges of one crate, and whether a pure one is pure. `manifest` is used for line numbers only.
#[must_use]
pub fn check_package(package: &Package, manifest: &str) -> Vec<TidyViolation> {
    if package.name == PROGRAM {
        return Vec::new();
    }
    let name = short(&package.name);
    let mut found = Vec::new();
    let mut add = |line, rule, what| {
        found.push(TidyViolation::new(&package.manifest, line, rule, what));
    };
    let Some((_, may_use)) = MAY_USE.iter().find(|(row, _)| *row == name) else {
        add(
            1,
            "crate-edge",
            format!("{name} has no row in xtask/src/tidy/crates.rs"),
        );
        return found;
    };
    for dependency in &package.dependencies {
        let other = short(&dependency.name);
        let line = line_of_key(manifest, &dependency.name);
        if dependency.ours && !dependency.dev && !may_use.contains(&other) {
            add(line, "crate-edge", format!("{name} may not use {other}"));
        }
        let for_others = dependency.optional && FOR_OTHERS.contains(&name);
        if PURE.contains(&name) && IMPURE.contains(&other) && !for_others {
            add(
                line,
                "pure-crate",
                format!("{name} is pure and may not use {other}"),
            );
        }
    }
    found
}

/// A crate's name without its `evenkeel-`.
pub(super) fn short(name: &str) -> &str {
    name.strip_prefix("evenkeel-").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::Dependency;

    fn package(name: &str, dependencies: &[(&str, bool)]) -> Package {
        let dependency = |(name, dev): &(&str, bool)| Dependency {
            name: (*name).to_owned(),
            ours: name.starts_with("evenkeel"),
            dev: *dev,
            optional: false,
        };
        Package {
            name: name.to_owned(),
            manifest: "crates/x/Cargo.toml".to_owned(),
            dependencies: dependencies.iter().map(dependency).collect(),
        }
    }

    #[test]
    fn edges_of_the_table_pass() {
        let balance = package(
            "evenkeel-balance",
            &[("evenkeel-core", false), ("serde", false)],
        );
        assert_eq!(check_package(&balance, ""), []);
        let program = package("evenkeel", &[("evenkeel-proxy", false), ("tokio", false)]);
        assert_eq!(check_package(&program, ""), []);
    }

    #[test]
    fn an_edge_outside_the_table_is_found_with_its_line() {
        let proxy = package(
            "evenkeel-proxy",
            &[("evenkeel-core", false), ("evenkeel-fault", false)],
        );
        let manifest =
            "[dependencies]\nevenkeel-core.workspace = true\nevenkeel-fault.workspace = true\n";
        let found = check_package(&proxy, manifest);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].line, found[0].rule), (3, "crate-edge"));
        assert_eq!(found[0].what, "proxy may not use fault");
    }

    #[test]
    fn tests_may_use_what_they_like_but_not_make_a_pure_crate_wait() {
        let balance = package("evenkeel-balance", &[("evenkeel-proxy", true)]);
        assert_eq!(check_package(&balance, ""), []);
        let balance = package("evenkeel-balance", &[("tokio", true)]);
        assert_eq!(check_package(&balance, "")[0].rule, "pure-crate");
    }

    #[test]
    fn a_face_for_other_programs_may_wait_behind_a_feature_only() {
        let mut tolerate = package("evenkeel-tolerate", &[("tokio", false)]);
        assert_eq!(check_package(&tolerate, "")[0].rule, "pure-crate");
        tolerate.dependencies[0].optional = true;
        assert_eq!(check_package(&tolerate, ""), []);
        let mut balance = package("evenkeel-balance", &[("tokio", false)]);
        balance.dependencies[0].optional = true;
        assert_eq!(check_package(&balance, "")[0].rule, "pure-crate");
    }

    #[test]
    fn a_crate_without_a_row_is_found() {
        let found = check_package(&package("evenkeel-novelty", &[]), "");
        assert_eq!(found[0].rule, "crate-edge");
    }

    #[test]
    fn the_table_has_no_circle() {
        // Each row names only crates whose rows stand above it.
        for (at, (name, may_use)) in MAY_USE.iter().enumerate() {
            for other in *may_use {
                let place = MAY_USE.iter().position(|(row, _)| row == other);
                assert!(
                    place.is_some_and(|place| place < at),
                    "{name} before {other}"
                );
            }
        }
    }
}
