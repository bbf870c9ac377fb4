//! What a look at the folder sees.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::Kept;

/// Most names that are remembered of a folder; a folder with more is none of ours.
const NAMES_MAX: usize = 1024;

/// Files of manifests by name, with what shows that one is another: inode, size, time of change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Seen(BTreeMap<String, (u64, u64, i64, i64)>);

impl Seen {
    /// The folder now.
    ///
    /// # Errors
    /// When it can't be read to its end.
    pub(super) fn of(folder: &Path) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let Some(name) = entry
                .file_name()
                .into_string()
                .ok()
                .filter(|n| is_manifest(n))
            else {
                continue;
            };
            let is = match fs::metadata(entry.path()) {
                Ok(meta) if meta.is_file() => {
                    (meta.ino(), meta.len(), meta.ctime(), meta.ctime_nsec())
                }
                Ok(_) => continue,
                Err(_) if fs::symlink_metadata(entry.path()).is_err() => continue, // It went.
                // A link to what is not there now: the compiler says why, and what it said before stays.
                Err(_) => (0, 0, 0, 0),
            };
            files.insert(name, is);
            if files.len() > NAMES_MAX {
                return Err(io::Error::other("too many files"));
            }
        }
        Ok(Self(files))
    }

    /// With what is not as it was at the look before, and the names of that. A file that was there then and is
    /// not now is between two of its lives.
    pub(super) fn with_moving(mut self, last: Self) -> (Self, BTreeSet<String>) {
        let now = &self.0;
        let moves = |name: &&String| now.get(*name) != last.0.get(*name);
        let names = now.keys().chain(last.0.keys());
        let moving: BTreeSet<String> = names.filter(moves).cloned().collect();
        for (name, is) in last.0 {
            self.0.entry(name).or_insert(is);
        }
        (self, moving)
    }

    /// All but these files.
    pub(super) fn without(&self, names: &BTreeSet<String>) -> Self {
        let files = self.0.iter().filter(|(name, _)| !names.contains(*name));
        Self(files.map(|(name, is)| (name.clone(), *is)).collect())
    }

    /// Which files are taken, those that were before first, and which are too many.
    pub(super) fn chosen(&self, kept: &Kept, most: usize) -> (Vec<String>, Vec<String>) {
        let (old, new): (Vec<&String>, Vec<&String>) = self
            .0
            .keys()
            .partition(|name| kept.files.contains_key(*name));
        let mut names: Vec<String> = old.into_iter().chain(new).cloned().collect();
        let left = names.split_off(names.len().min(most));
        (names, left)
    }
}

fn is_manifest(name: &str) -> bool {
    let ends = [".yaml", ".yml", ".json"];
    !name.starts_with('.') && ends.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_there_keep_their_place() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| fs::write(folder.path().join(name), name).unwrap();
        for name in ["b.yaml", "c.yml", "d.json", ".hidden.yaml", "note.txt"] {
            write(name);
        }
        fs::create_dir(folder.path().join("sub.yaml")).unwrap();
        let mut kept = Kept::default();
        for name in ["b.yaml", "d.json"] {
            kept.files.insert(name.to_owned(), Default::default());
        }
        write("a.yaml");
        let seen = Seen::of(folder.path()).unwrap();
        let (taken, left) = seen.chosen(&kept, 3);
        assert_eq!(taken, ["b.yaml", "d.json", "a.yaml"]);
        assert_eq!(left, ["c.yml"]);
        assert!(Seen::of(&folder.path().join("none")).is_err());
    }
}
