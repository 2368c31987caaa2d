//! The repository as data: the text of its tracked files and what each crate depends on. Here are the only files read
//! and the only programs asked (`git`, `cargo metadata`), so that every rule of `tidy` is a function over values.

use std::{
    collections::BTreeSet,
    env,
    ffi::{OsStr, OsString},
    fs,
    path::Path,
    process::Command,
};

use serde_json::Value;

/// Everything that `tidy` checks.
#[derive(Debug, Default)]
pub struct Repository {
    /// Tracked files that hold UTF-8 text.
    pub files: Vec<TextFile>,
    /// Every file that is tracked, or new and not ignored: what a link may name.
    pub paths: BTreeSet<String>,
    /// The workspace's crates and the fuzz package.
    pub packages: Vec<Package>,
}

/// A file with its text.
#[derive(Debug, Clone)]
pub struct TextFile {
    /// From the repository's root, with `/`.
    pub path: String,
    /// All of it.
    pub text: String,
}

/// A crate as its manifest says.
#[derive(Debug, Clone)]
pub struct Package {
    /// The package's name.
    pub name: String,
    /// Its `Cargo.toml`, from the repository's root.
    pub manifest: String,
    /// Its dependencies, of every kind.
    pub dependencies: Vec<Dependency>,
}

/// One line of a manifest.
#[derive(Debug, Clone)]
pub struct Dependency {
    /// The name in the manifest.
    pub name: String,
    /// A crate of this repository.
    pub ours: bool,
    /// Only for tests, examples and benches.
    pub dev: bool,
    /// Only with a feature.
    pub optional: bool,
}

impl Repository {
    /// Reads the repository at `root`.
    ///
    /// # Errors
    /// If `git` or `cargo metadata` cannot be asked.
    pub fn read(root: &Path) -> Result<Self, String> {
        let tracked = listed(root, &["ls-files", "-z"])?;
        let new = listed(root, &["ls-files", "-z", "--others", "--exclude-standard"])?;
        let mut packages = packages(root, "Cargo.toml")?;
        packages.extend(packages_of_fuzz(root)?);
        let files = tracked.iter().filter_map(|path| {
            let text = fs::read_to_string(root.join(path)).ok()?; // deleted, or not text
            Some(TextFile {
                path: path.clone(),
                text,
            })
        });
        let files = files.collect();
        let there = |path: &String| root.join(path).exists();
        let paths = tracked
            .iter()
            .chain(&new)
            .filter(|path| there(path))
            .cloned()
            .collect();
        Ok(Self {
            files,
            paths,
            packages,
        })
    }

    /// The text of one file.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<&str> {
        let file = self.files.iter().find(|file| file.path == path)?;
        Some(&file.text)
    }
}

impl Package {
    /// The folder of the manifest, with a `/` at the end; empty for the root.
    #[must_use]
    pub fn folder(&self) -> &str {
        self.manifest.strip_suffix("Cargo.toml").unwrap_or("")
    }
}

impl Dependency {
    /// The name in Rust code.
    #[must_use]
    pub fn identifier(&self) -> String {
        self.name.replace('-', "_")
    }
}

fn packages_of_fuzz(root: &Path) -> Result<Vec<Package>, String> {
    let manifest = "fuzz/Cargo.toml"; // a workspace of its own
    if root.join(manifest).exists() {
        packages(root, manifest)
    } else {
        Ok(Vec::new())
    }
}

fn packages(root: &Path, manifest: &str) -> Result<Vec<Package>, String> {
    let value = metadata(&cargo(), root, manifest)?;
    let root = value["workspace_root"].as_str().unwrap_or_default();
    let above = manifest.strip_suffix("Cargo.toml").unwrap_or_default();
    let packages = value["packages"]
        .as_array()
        .ok_or("cargo metadata names no packages")?;
    packages
        .iter()
        .map(|package| package_of(package, root, above))
        .collect()
}

fn package_of(package: &Value, root: &str, above: &str) -> Result<Package, String> {
    let word = |value: &Value| value.as_str().map(str::to_owned);
    let name = word(&package["name"]).ok_or("a package without a name")?;
    let manifest = word(&package["manifest_path"]).ok_or("a package without a manifest")?;
    let inside = manifest
        .strip_prefix(root)
        .unwrap_or(&manifest)
        .replace('\\', "/");
    let dependencies = package["dependencies"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let dependencies = dependencies.iter().filter_map(|dependency| {
        Some(Dependency {
            name: word(&dependency["rename"]).or_else(|| word(&dependency["name"]))?,
            ours: dependency["path"].is_string(),
            dev: dependency["kind"] == "dev",
            optional: dependency["optional"] == true,
        })
    });
    Ok(Package {
        name,
        manifest: format!("{above}{}", inside.trim_start_matches('/')),
        dependencies: dependencies.collect(),
    })
}

/// The cargo that runs us, or else the one that is found.
pub(crate) fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The packages of one workspace by `cargo metadata`, without their dependencies.
pub(crate) fn metadata(cargo: &OsStr, root: &Path, manifest: &str) -> Result<Value, String> {
    let mut command = Command::new(cargo);
    command.args([
        "metadata",
        "--no-deps",
        "--format-version",
        "1",
        "--manifest-path",
        manifest,
    ]);
    let answer = answer(command.current_dir(root))?;
    serde_json::from_slice(&answer).map_err(|error| format!("cargo metadata: {error}"))
}

fn listed(root: &Path, arguments: &[&str]) -> Result<Vec<String>, String> {
    let answer = answer(Command::new("git").args(arguments).current_dir(root))?;
    let text = String::from_utf8(answer).map_err(|error| format!("git ls-files: {error}"))?;
    Ok(text
        .split('\0')
        .filter(|path| !path.is_empty())
        .map(str::to_owned)
        .collect())
}

fn answer(command: &mut Command) -> Result<Vec<u8>, String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}: {}", output.status, why.trim()))
}
