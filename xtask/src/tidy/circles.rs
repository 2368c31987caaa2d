//! No circle of files: in each crate, files can be put in an order in which each uses only what those before it define.
//! Then one can be read, tested and changed without those after it. A folder's `mod.rs` has its place in that order like
//! any other file: either it uses the files below it, or they use what it defines, not both.
//!
//! `mod` and re-exports are no uses: a name that a `mod.rs` passes on leads to the file that defines it. A method
//! belongs to the file that contains it, which is not always its type's; without type information it is identified by
//! its name, if no other method of the crate has the same name and the caller knows the type.

use std::collections::{BTreeMap, BTreeSet};

use crate::repository::{Package, Repository};

use super::{crates::short, modules::Modules, violation::TidyViolation};

/// Crates that still have circles, each with the reason. A crate without circles must be removed from here.
const NOT_YET: &[(&str, &str)] = &[];

/// For each file, the files it uses; for each of those, the line of the first use and what it names.
type Edges<'a> = BTreeMap<&'a str, BTreeMap<&'a str, (usize, String)>>;

/// Looks at every crate.
#[must_use]
pub fn check(repository: &Repository) -> Vec<TidyViolation> {
    let of = |package: &Package| {
        let found = check_package(repository, package);
        let Some((name, _)) = NOT_YET
            .iter()
            .find(|(name, _)| *name == short(&package.name))
        else {
            return found;
        };
        if !found.is_empty() {
            return Vec::new();
        }
        let what =
            format!("{name} has no circle any more and must go from the list of those that do");
        vec![TidyViolation::new(
            "xtask/src/tidy/circles.rs",
            1,
            "circle",
            what,
        )]
    };
    repository.packages.iter().flat_map(of).collect()
}

/// The circles of one crate's library and programs.
#[must_use]
pub fn check_package(repository: &Repository, package: &Package) -> Vec<TidyViolation> {
    let folder = format!("{}src/", package.folder());
    let files: BTreeMap<&str, &str> = repository
        .files
        .iter()
        .filter_map(|file| Some((file.path.strip_prefix(&folder)?, file.text.as_str())))
        .collect();
    let is_root = |path: &&&str| {
        let program = path.strip_prefix("bin/");
        matches!(**path, "lib.rs" | "main.rs") || program.is_some_and(|name| !name.contains('/'))
    };
    let mut found = Vec::new();
    for root in files.keys().filter(is_root) {
        let modules = Modules::read(root, |path| files.get(path).copied());
        let edges = edges(&modules);
        for circle in circles(&edges) {
            found.push(violation(&folder, &circle, &edges));
        }
    }
    found
}

fn edges(modules: &Modules) -> Edges<'_> {
    let mut edges = Edges::new();
    for (at, module) in modules.all.iter().enumerate() {
        for used in &module.names.uses {
            if let Some(file) = modules.defining_file(at, used) {
                add(
                    &mut edges,
                    (&module.file, file),
                    used.line,
                    used.path.join("::"),
                );
            }
        }
    }
    let methods = modules.methods_beside_their_types();
    for module in &modules.all {
        for (name, line) in &module.names.calls {
            let Some(files) = methods.get(name.as_str()) else {
                continue;
            };
            let known = edges.get(module.file.as_str());
            let knows_type = known.is_some_and(|known| known.contains_key(files.of_type));
            if knows_type || module.file == files.of_type {
                let called = format!(".{name}()");
                add(&mut edges, (&module.file, files.own), *line, called);
            }
        }
    }
    edges
}

fn add<'a>(edges: &mut Edges<'a>, (from, to): (&'a str, &'a str), line: usize, name: String) {
    if from == to {
        return;
    }
    let first = edges.entry(from).or_default().entry(to);
    let first = first.or_insert_with(|| (line, name.clone()));
    if line < first.0 {
        *first = (line, name);
    }
}

/// Each greatest set of files that all lead to each other.
fn circles<'a>(edges: &Edges<'a>) -> Vec<BTreeSet<&'a str>> {
    let reached: BTreeMap<&str, BTreeSet<&'a str>> = edges
        .keys()
        .map(|file| (*file, reached_from(file, edges)))
        .collect();
    let mut circles = BTreeSet::new();
    for (file, others) in &reached {
        let leads_back =
            |other: &&&str| reached.get(**other).is_some_and(|back| back.contains(file));
        let circle: BTreeSet<&str> = others.iter().filter(leads_back).copied().collect();
        if circle.len() > 1 {
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}

fn reached_from<'a>(file: &str, edges: &Edges<'a>) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open = vec![file];
    while let Some(file) = open.pop() {
        for other in edges
            .get(file)
            .into_iter()
            .flatten()
            .map(|(other, _)| *other)
        {
            if reached.insert(other) {
                open.push(other);
            }
        }
    }
    reached
}

fn violation(folder: &str, circle: &BTreeSet<&str>, edges: &Edges<'_>) -> TidyViolation {
    let mut what = format!("{} files use each other", circle.len());
    for file in circle {
        for (other, (line, name)) in &edges[file] {
            if circle.contains(other) {
                what.push_str(&format!("\n    {file}:{line} uses {other}: {name}"));
            }
        }
    }
    let first = circle.first().copied().unwrap_or_default();
    TidyViolation::new(&format!("{folder}{first}"), 1, "circle", what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::TextFile;

    /// The violations in a crate of these files, each named from `src`.
    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let file = |(path, text): &(&str, &str)| TextFile {
            path: format!("crates/x/src/{path}"),
            text: (*text).to_owned(),
        };
        let package = Package {
            name: "evenkeel-x".to_owned(),
            manifest: "crates/x/Cargo.toml".to_owned(),
            dependencies: Vec::new(),
        };
        let repository = Repository {
            files: files.iter().map(file).collect(),
            ..Repository::default()
        };
        let found = check_package(&repository, &package);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn two_files_that_use_each_other() {
        let files = [
            ("lib.rs", "mod a;\nmod b;"),
            ("a.rs", "pub struct A;\n\nfn f() -> crate::b::B { todo() }"),
            ("b.rs", "use super::a::A;\npub struct B(A);"),
        ];
        let expected = "crates/x/src/a.rs:1: circle: 2 files use each other\
            \n    a.rs:3 uses b.rs: crate::b::B\
            \n    b.rs:1 uses a.rs: super::a::A";
        assert_eq!(found(&files), [expected]);
    }

    #[test]
    fn three_files_that_lead_to_each_other_are_one_circle() {
        let files = [
            ("lib.rs", "mod a; mod b; mod c; mod d;"),
            ("a.rs", "use crate::{b::{self, B}, d::D}; pub struct A;"),
            ("b.rs", "pub struct B; fn f() { super::c::g() }"),
            ("c.rs", "pub fn g() { use crate::a as first; first::A; }"),
            ("d.rs", "pub struct D;"),
        ];
        let found = found(&files);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].contains("3 files") && !found[0].contains("d.rs"),
            "{}",
            found[0]
        );
    }

    #[test]
    fn a_reexport_leads_to_the_file_that_defines_the_name() {
        let files = [
            (
                "lib.rs",
                "pub mod stages;\npub use stages::{First as Start, *};",
            ),
            (
                "stages/mod.rs",
                "pub mod first; mod second;\npub use first::First;\npub(crate) use second::*;",
            ),
            ("stages/first.rs", "pub struct First;"),
            (
                "stages/second.rs",
                "use super::First; pub struct Second(crate::Start, First);",
            ),
            ("stages/third.rs", "never read"),
        ];
        assert_eq!(found(&files), [""; 0]);
        let back = [
            &files[..2],
            &[("stages/first.rs", "pub struct First(crate::Second);")],
            &files[3..],
        ];
        assert_eq!(found(&back.concat()).len(), 1, "first and second");
    }

    #[test]
    fn a_parent_and_its_child_are_a_circle_if_each_uses_the_other() {
        let child = ("a/child.rs", "use super::A; pub fn f(_: A) {}");
        let parent = |text| [("lib.rs", "mod a;"), ("a/mod.rs", text), child];
        assert_eq!(found(&parent("mod child; pub struct A;")), [""; 0]);
        assert_eq!(
            found(&parent("mod child; pub use child::f; pub struct A;")),
            [""; 0]
        );
        let calls = "mod child; pub struct A; fn g(a: A) { child::f(a) }";
        assert_eq!(found(&parent(calls)).len(), 1);
        let calls_its_reexport = "mod child; pub use child::f; pub struct A; fn g(a: A) { f(a) }";
        assert_eq!(found(&parent(calls_its_reexport)).len(), 1);
    }

    #[test]
    fn a_method_belongs_to_the_file_that_it_stands_in() {
        let calls = "mod b; pub struct A; impl A { pub fn f(&self) { self.g() } }";
        let beside = "use super::A; impl A { pub fn g(&self) {} }";
        let found_with = |calls, beside| {
            found(&[
                ("lib.rs", "mod a;"),
                ("a/mod.rs", calls),
                ("a/b.rs", beside),
            ])
        };
        assert_eq!(found_with(calls, beside).len(), 1);
        assert!(found_with(calls, beside)[0].contains("a/mod.rs:1 uses a/b.rs: .g()"));
        let of_trait = "use super::A; impl Clone for A { fn g(&self) {} }";
        assert_eq!(found_with(calls, of_trait), [""; 0]);
        let twice =
            "use super::A; struct B; impl A { pub fn g(&self) {} } impl B { fn g(&self) {} }";
        assert_eq!(found_with(calls, twice), [""; 0]);
        let is_field = "mod b; pub struct A { g: u8 } impl A { pub fn f(&self) -> u8 { self.g } }";
        assert_eq!(found_with(is_field, beside), [""; 0]);
    }

    #[test]
    fn a_method_of_the_same_name_is_not_that_of_a_type_that_nobody_named() {
        let files = |calls| {
            [
                ("lib.rs", "mod a; mod c;"),
                ("a/mod.rs", "mod b; pub struct A; fn f() { crate::c::h() }"),
                ("a/b.rs", "use super::A; impl A { pub fn open(&self) {} }"),
                ("c.rs", calls),
            ]
        };
        assert_eq!(
            found(&files("pub fn h() { File::options().open() }")),
            [""; 0]
        );
        assert_eq!(
            found(&files("pub fn h(a: &crate::a::A) { a.open() }")).len(),
            1
        );
    }

    #[test]
    fn macros_and_paths_in_attributes_are_uses() {
        let files = |child| {
            [
                (
                    "lib.rs",
                    "macro_rules! m { () => {} }\nmod a;\nfn f() { a::g() }",
                ),
                ("a.rs", child),
            ]
        };
        assert_eq!(found(&files("pub fn g() { m!() }")).len(), 1);
        assert_eq!(
            found(&files("#[serde(with = \"crate::wire\")] pub fn g() {}")).len(),
            1
        );
        assert_eq!(
            found(&files("pub fn g() { std::m(\"crate::wire\") }")),
            [""; 0]
        );
    }

    #[test]
    fn what_only_tests_use_is_no_use() {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            (
                "a.rs",
                "pub struct A; #[cfg(test)] use crate::b::{B, C}; #[cfg(test)] mod tests;",
            ),
            ("a/tests.rs", "use crate::b::B;"),
            (
                "b.rs",
                "use crate::a::A;\n#[cfg(test)]\nmod tests { use super::*; }\npub struct B(A);",
            ),
        ];
        assert_eq!(found(&files), [""; 0]);
        let after = ("a.rs", "#[cfg(test)] fn f() {} pub struct A(crate::b::B);");
        assert_eq!(
            found(&[files[0], after, files[3]]).len(),
            1,
            "what follows counts"
        );
    }

    #[test]
    fn names_that_are_only_spelled_alike_are_no_uses() {
        let child = (
            "a/child.rs",
            "use super::A; pub struct Limit; pub fn plan(_: A) {}",
        );
        let parent = "mod child; pub use child::{Limit, plan};
            pub enum A { #[doc(hidden)] Limit, Other(usize) }
            fn f(plan: usize) -> A { let a = other.plan(plan); A::Limit }";
        assert_eq!(
            found(&[("lib.rs", "mod a;"), ("a/mod.rs", parent), child]),
            [""; 0]
        );
    }

    #[test]
    fn each_crate_of_the_list_says_why() {
        assert!(
            NOT_YET
                .iter()
                .all(|(name, why)| !name.is_empty() && !why.is_empty())
        );
    }
}
