//! Files that change all at once, as upstream's atomic writer (`pkg/volume/util/atomic_writer.go`):
//!
//! ```text
//! <volume>/key                  -> ..data/key
//! <volume>/folder               -> ..data/folder
//! <volume>/..data               -> ..2006_01_02_15_04_05.12345678901234567890
//! <volume>/..2006_01_02_15_04_05.12345678901234567890/key, folder/…
//! ```
//!
//! A change makes a new directory and renames the link, so a reader sees all of the old or all of the
//! new. A crash at any point leaves the old or the new; what is half-made goes at the next write. What
//! has not changed is not written anew: programs watch these directories.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Component, Path};
use std::sync::LazyLock;

use bramble_agent_core::volume::File;

use super::ownership::{self, Ownership};
use crate::clock;
use crate::logs;
use crate::pods::files::{make_dir, names};
use crate::tree;

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";

/// The digits of a directory's name say what is in it, to this process only: contents may be secret,
/// and the name is not.
static MARKS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Replaces the files of a volume, all at once.
pub(super) fn write(root: &Path, files: &[File], group: Option<u32>) -> io::Result<()> {
    let entries = top_level(files)?;
    let mark = mark(files, group);
    let old = fs::read_link(root.join(DATA)).ok();
    let old = old.and_then(|old| old.into_os_string().into_string().ok());
    let current = match old {
        Some(old) if old.ends_with(&mark) => old,
        _ => {
            let new = stamp() + &mark;
            write_all(&root.join(&new), files, group)?;
            let link = root.join(DATA_NEW);
            tree::remove(&link)?;
            symlink(&new, &link)?;
            fs::rename(&link, root.join(DATA))?;
            new
        }
    };
    for entry in &entries {
        let path = root.join(entry);
        if fs::symlink_metadata(&path).is_err() {
            symlink(Path::new(DATA).join(entry), path)?;
        }
    }
    for name in names(root) {
        let path = root.join(&name);
        let stale = if name.starts_with("..") {
            name != DATA && name != current
        } else {
            // A directory is a sub-path that a mount asked for and no file has.
            path.is_symlink() && !entries.contains(&OsString::from(&name))
        };
        if stale {
            tree::remove(&path)?;
        }
    }
    Ok(())
}

fn write_all(directory: &Path, files: &[File], group: Option<u32>) -> io::Result<()> {
    tree::remove(directory)?;
    make_dir(directory, 0o755)?;
    ownership::set(directory, &Ownership::mode(0o755))?;
    for file in files {
        let target = directory.join(&file.path);
        if let Some(parent) = target.parent() {
            make_dir(parent, 0o755)?;
        }
        fs::write(&target, &file.bytes)?;
        let ownership = Ownership {
            mode: file.mode & 0o777,
            user: file.owner,
            group: None,
        };
        ownership::set(&target, &ownership)?;
    }
    match group {
        Some(group) => ownership::give(directory, group, ownership::READ),
        None => Ok(()),
    }
}

/// The first part of each path. The planner refuses paths that leave the volume; here one would be a
/// way onto the board.
fn top_level(files: &[File]) -> io::Result<BTreeSet<OsString>> {
    let leaves = || io::Error::other("path leaves the volume");
    files
        .iter()
        .map(|file| {
            let path = Path::new(&file.path);
            let normal = |part: &Component<'_>| matches!(part, Component::Normal(_));
            match path.components().next() {
                Some(Component::Normal(first))
                    if path.components().all(|part| normal(&part))
                        && !first.as_encoded_bytes().starts_with(b"..") =>
                {
                    Ok(first.to_owned())
                }
                _ => Err(leaves()),
            }
        })
        .collect()
}

fn stamp() -> String {
    let now = logs::timestamp(clock::unix_ms() / 1000);
    format!("..{}.", now.replace(['-', ':', 'T'], "_"))
}

fn mark(files: &[File], group: Option<u32>) -> String {
    let mut hasher = MARKS.build_hasher();
    group.hash(&mut hasher);
    for file in files {
        (&file.path, file.mode, file.owner, &file.bytes).hash(&mut hasher);
    }
    format!("{:020}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    fn file(path: &str, text: &str) -> File {
        File {
            path: path.into(),
            mode: 0o640,
            owner: None,
            bytes: text.into(),
        }
    }

    fn read(root: &Path, name: &str) -> Option<String> {
        fs::read_to_string(root.join(name)).ok()
    }

    fn left(root: &Path) -> Vec<String> {
        let mut left = names(root);
        left.retain(|name| !name.starts_with("..2"));
        left.sort();
        left
    }

    #[test]
    fn files_change_all_at_once_and_old_ones_go() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        write(root, &[file("a", "1"), file("sub/b", "2")], None).unwrap();
        assert_eq!(read(root, "a").as_deref(), Some("1"));
        assert_eq!(read(root, "sub/b").as_deref(), Some("2"));
        let mode = fs::metadata(root.join("a")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        let to = |name: &str| fs::read_link(root.join(name)).unwrap();
        assert_eq!(to("a"), Path::new("..data/a"));
        assert_eq!(to("sub"), Path::new("..data/sub"));
        // A reader that has the directory open keeps seeing the old files together.
        let before = to(DATA);
        let stamp = before.to_str().unwrap();
        assert!(stamp.starts_with("..2") && stamp.len() == "..2006_01_02_15_04_05.".len() + 20);
        // The same again changes nothing, so that nobody reloads for nothing.
        write(root, &[file("a", "1"), file("sub/b", "2")], None).unwrap();
        assert_eq!(to(DATA), before);
        write(root, &[file("a", "3"), file("c", "4")], None).unwrap();
        assert_ne!(to(DATA), before);
        assert!(!root.join(before).exists());
        assert_eq!(read(root, "a").as_deref(), Some("3"));
        assert_eq!(read(root, "sub/b"), None);
        assert_eq!(left(root), ["..data", "a", "c"]);
        write(root, &[], None).unwrap();
        assert_eq!(left(root), ["..data"]);
    }

    #[test]
    fn what_a_crash_left_is_cleaned_by_the_next_write() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        write(root, &[file("a", "1")], None).unwrap();
        // Before the rename: a directory and a link that nobody uses.
        fs::create_dir(root.join("..2020_01_01_00_00_00.1")).unwrap();
        fs::write(root.join("..2020_01_01_00_00_00.1/a"), "half").unwrap();
        symlink("..2020_01_01_00_00_00.1", root.join(DATA_NEW)).unwrap();
        // After it: a link of a file that is no more.
        symlink("..data/gone", root.join("gone")).unwrap();
        assert_eq!(read(root, "a").as_deref(), Some("1"));
        write(root, &[file("a", "2")], None).unwrap();
        assert_eq!(read(root, "a").as_deref(), Some("2"));
        assert_eq!(left(root), ["..data", "a"]);
        assert_eq!(names(root).len(), 3);
    }

    #[test]
    fn owners_and_groups_are_as_the_kubelet_gives_them() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let token = File {
            mode: 0o600,
            owner: Some(1000),
            ..file("token", "t")
        };
        write(root, &[token.clone(), file("d/x", "1")], Some(2000)).unwrap();
        let of = |name: &str| {
            let data = fs::metadata(root.join(name)).unwrap();
            (data.mode() & 0o7777, data.uid(), data.gid())
        };
        assert_eq!(of("token"), (0o640, 1000, 2000));
        assert_eq!(of("d/x"), (0o640, 0, 2000));
        assert_eq!(of("d"), (0o2755, 0, 2000));
        write(root, &[token], None).unwrap();
        assert_eq!(of("token"), (0o600, 1000, 0));
    }

    #[test]
    fn nothing_is_written_outside_of_the_volume() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("volume");
        fs::create_dir(&root).unwrap();
        for path in ["../a", "/a", "b/../../a", "", "..data", "..data/x"] {
            assert!(write(&root, &[file(path, "x")], None).is_err(), "{path}");
        }
        assert!(!directory.path().join("a").exists());
        assert_eq!(names(&root), Vec::<String>::new());
    }
}
