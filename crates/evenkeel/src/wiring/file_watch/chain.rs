//! What decides where a path leads: the names that it goes through, each in its folder.
//!
//! A deployment may swap any of them: the file itself, as editors do; a link to it; or the link to a folder two levels up, as Kubernetes
//! does with `..data`. So each is looked for where it really is, with all links before it followed.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// As many links as Linux follows in one path.
const MOST_LINKS: usize = 40;

/// Where a path leads, and by what.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct PathChain {
    /// The names whose replacement makes the path lead elsewhere, each with its folder: every link, and the last name that was looked
    /// for, which is that of the file if it exists.
    pub(super) names: Vec<(PathBuf, OsString)>,
    /// All folders that it goes through.
    pub(super) folders: Vec<PathBuf>,
}

impl PathChain {
    /// That of an absolute path, as it is now. Blocks as the disk does.
    pub(super) fn of(path: &Path) -> Self {
        let mut chain = Self::default();
        let mut left: VecDeque<OsString> = names_of(path);
        let (mut at, mut links) = (PathBuf::from("/"), 0);
        while let Some(name) = left.pop_front() {
            if name == ".." {
                // No link is left in what was gone through.
                at.pop();
                continue;
            }
            if name == "/" {
                at = PathBuf::from("/");
                continue;
            }
            if chain.folders.last() != Some(&at) {
                chain.folders.push(at.clone());
            }
            let next = at.join(&name);
            if let Ok(target) = fs::read_link(&next) {
                links += 1;
                chain.names.push((at.clone(), name));
                if links > MOST_LINKS {
                    return chain;
                }
                let mut before = names_of(&target);
                before.append(&mut left);
                left = before;
                continue;
            }
            let is_there = next.symlink_metadata().is_ok();
            if left.is_empty() || !is_there {
                chain.names.push((at, name));
                return chain;
            }
            at = next;
        }
        chain
    }
}

/// The components of a path, the root as `/`.
fn names_of(path: &Path) -> VecDeque<OsString> {
    let components = path.components();
    let meant = components.filter(|one| !matches!(one, Component::CurDir));
    meant.map(|one| one.as_os_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    /// The names of the chain below the folder, as `folder/name`.
    fn names(folder: &Path, path: &str) -> Vec<String> {
        let chain = PathChain::of(&folder.join(path));
        let below = |(at, name): (PathBuf, OsString)| {
            let path = at.join(name);
            let below = path.strip_prefix(folder).ok()?;
            Some(below.display().to_string())
        };
        chain.names.into_iter().filter_map(below).collect()
    }

    #[test]
    fn every_link_and_the_file_where_they_really_are() {
        let folder = TempDir::new().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("v1/etc")).unwrap();
        fs::write(root.join("v1/etc/a.toml"), "").unwrap();
        // As Kubernetes mounts a ConfigMap.
        fs::create_dir(root.join("mount")).unwrap();
        symlink("../v1", root.join("mount/..data")).unwrap();
        symlink("..data/etc/a.toml", root.join("mount/a.toml")).unwrap();
        assert_eq!(names(&root, "v1/etc/a.toml"), ["v1/etc/a.toml"]);
        assert_eq!(
            names(&root, "mount/a.toml"),
            ["mount/a.toml", "mount/..data", "v1/etc/a.toml"]
        );
        let absolute = root.join("mount");
        symlink(&absolute, root.join("link")).unwrap();
        assert_eq!(
            names(&root, "link/../link/a.toml"),
            [
                "link",
                "link",
                "mount/a.toml",
                "mount/..data",
                "v1/etc/a.toml"
            ]
        );
        let chain = PathChain::of(&root.join("mount/a.toml"));
        for folder in ["mount", "v1", "v1/etc"] {
            assert!(chain.folders.contains(&root.join(folder)), "{chain:?}");
        }
    }

    #[test]
    fn what_is_not_there_is_looked_for_where_it_will_be() {
        let folder = TempDir::new().unwrap();
        let root = folder.path().canonicalize().unwrap();
        assert_eq!(names(&root, "none/etc/a.toml"), ["none"]);
        symlink("gone/a.toml", root.join("link")).unwrap();
        assert_eq!(names(&root, "link"), ["link", "gone"]);
        symlink("round", root.join("round")).unwrap();
        assert_eq!(names(&root, "round").len(), MOST_LINKS + 1);
    }
}
