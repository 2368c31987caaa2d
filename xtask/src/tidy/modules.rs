//! The modules of one crate and the names in them: which file defines a name, however it was imported or re-exported.
//! Follows `mod` from the crate's root as rustc does, so a file that only tests include is never read.

use std::collections::BTreeMap;

use super::{
    names::{self, ModuleNames, Use},
    tokens::tokens,
};

/// The modules of a crate, its root first.
#[derive(Debug, Default)]
pub(super) struct Modules {
    /// Every module, inline ones too.
    pub all: Vec<Module>,
}

/// One module.
#[derive(Debug)]
pub(super) struct Module {
    /// Its file, from the crate's `src`.
    pub file: String,
    /// Its names.
    pub names: ModuleNames,
    /// The module that declares it; the root's is the root.
    parent: usize,
    children: BTreeMap<String, usize>,
}

/// The files of a method and of its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MethodFiles<'a> {
    pub own: &'a str,
    pub of_type: &'a str,
}

/// The result of resolving a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resolution {
    /// Something that a module defines.
    Item(usize),
    Module(usize),
    OtherCrate,
}

impl Modules {
    /// The crate whose root is `root`; `text` gives each file's text by its path from `src`.
    pub(super) fn read<'a>(root: &str, text: impl Fn(&str) -> Option<&'a str>) -> Self {
        let folder = root.rsplit_once('/').map_or("", |(folder, _)| folder);
        let mut modules = Self::default();
        modules.add(root, folder, 0, None, &text);
        modules
    }

    /// Adds the module in `file`, or an inline one of that file with its names; `folder` holds the files of its own
    /// modules.
    fn add<'a>(
        &mut self,
        file: &str,
        folder: &str,
        parent: usize,
        names: Option<ModuleNames>,
        text: &impl Fn(&str) -> Option<&'a str>,
    ) -> usize {
        let of_file = || names::read(&tokens(text(file).unwrap_or_default()));
        let mut names = names.unwrap_or_else(of_file);
        let declared = std::mem::take(&mut names.modules);
        let module = self.all.len();
        self.all.push(Module {
            file: file.to_owned(),
            names,
            parent,
            children: BTreeMap::new(),
        });
        for (name, inline) in declared {
            let below = join(folder, &name);
            let own_file = [format!("{below}.rs"), format!("{below}/mod.rs")];
            let own_file = own_file.iter().find(|path| text(path).is_some());
            let file = match own_file {
                Some(own_file) if inline.is_none() => own_file,
                _ => file,
            };
            let child = self.add(file, &below, module, inline, text);
            self.all[module].children.insert(name, child);
        }
        module
    }

    /// The file that defines what `used` names in `module`; none for modules and what other crates define.
    #[must_use]
    pub(super) fn defining_file(&self, module: usize, used: &Use) -> Option<&str> {
        let definer = match self.find(module, &used.path, &mut Vec::new()) {
            Resolution::Item(definer) => definer,
            Resolution::OtherCrate if used.calls_macro => self.textual_macro(used.path.first()?)?,
            Resolution::Module(_) | Resolution::OtherCrate => return None,
        };
        Some(&self.all[definer].file)
    }

    /// The methods that stand in another file than their type does. One whose name is not the only one in the crate cannot be told
    /// from others.
    #[must_use]
    pub(super) fn methods_beside_their_types(&self) -> BTreeMap<&str, MethodFiles<'_>> {
        let mut methods = BTreeMap::new();
        for (at, module) in self.all.iter().enumerate() {
            for (name, of) in &module.names.methods {
                let of = of.as_ref().map(|path| self.find(at, path, &mut Vec::new()));
                let files = match of {
                    Some(Resolution::Item(definer)) => Some(MethodFiles {
                        own: &module.file,
                        of_type: &self.all[definer].file,
                    }),
                    Some(Resolution::Module(_) | Resolution::OtherCrate) | None => None,
                };
                let files = files.filter(|files| files.own != files.of_type);
                let known = methods.entry(name.as_str()).or_insert(files);
                if *known != files {
                    *known = None;
                }
            }
        }
        let known = methods.into_iter();
        known
            .filter_map(|(name, files)| Some((name, files?)))
            .collect()
    }

    /// `open` are the imports that are being followed: one may not lead to itself.
    fn find(&self, from: usize, path: &[String], open: &mut Vec<(usize, String)>) -> Resolution {
        let Some((first, rest)) = path.split_first() else {
            return Resolution::OtherCrate;
        };
        let mut found = match first.as_str() {
            "crate" => Resolution::Module(0),
            "self" => Resolution::Module(from),
            "super" => Resolution::Module(self.all[from].parent),
            _ => self
                .look_up(from, first, rest.is_empty(), open)
                .unwrap_or(Resolution::OtherCrate),
        };
        for (at, name) in rest.iter().enumerate() {
            let Resolution::Module(module) = found else {
                return found;
            };
            let is_last = at + 1 == rest.len();
            found = match name.as_str() {
                "super" => Resolution::Module(self.all[module].parent),
                "self" => found,
                _ => self
                    .look_up(module, name, is_last, open)
                    .unwrap_or(Resolution::Item(module)), // a macro defines it
            };
        }
        found
    }

    /// A name in a module. A module and a function may share one: the last name of a path is then the function.
    fn look_up(
        &self,
        module: usize,
        name: &str,
        is_last: bool,
        open: &mut Vec<(usize, String)>,
    ) -> Option<Resolution> {
        let here = &self.all[module];
        let child = here
            .children
            .get(name)
            .map(|child| Resolution::Module(*child));
        if child.is_some() && !is_last {
            return child;
        }
        if here.names.items.contains(name) || here.names.macros.contains(name) {
            return Some(Resolution::Item(module));
        }
        let key = (module, name.to_owned());
        if open.contains(&key) {
            return child;
        }
        open.push(key);
        let found = self.look_up_imported(module, name, is_last, open);
        open.pop();
        found
            .filter(|found| child.is_none() || matches!(found, Resolution::Item(_)))
            .or(child)
    }

    fn look_up_imported(
        &self,
        module: usize,
        name: &str,
        is_last: bool,
        open: &mut Vec<(usize, String)>,
    ) -> Option<Resolution> {
        let here = &self.all[module];
        let mut found = None;
        for path in here.names.imports.get(name).into_iter().flatten() {
            found = Some(self.find(module, path, open));
            if found != Some(Resolution::OtherCrate) {
                return found;
            }
        }
        let of_glob = |path: &Vec<String>| match self.find(module, path, open) {
            Resolution::Module(other) => self.look_up(other, name, is_last, open),
            Resolution::Item(_) | Resolution::OtherCrate => None,
        };
        found.or_else(|| here.names.globs.iter().find_map(of_glob))
    }

    fn textual_macro(&self, name: &str) -> Option<usize> {
        self.all
            .iter()
            .position(|module| module.names.macros.contains(name))
    }
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        return name.to_owned();
    }
    format!("{folder}/{name}")
}
