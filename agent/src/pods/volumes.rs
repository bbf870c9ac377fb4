//! Volumes of a pod as directories.
//!
//! Files of ConfigMaps and Secrets follow the atomic-writer pattern: a directory of their own, which
//! the link `..data` names, and each entry a link through it. A change makes a new directory and
//! renames the link, so a reader sees all of the old or all of the new.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use bramble_agent_core::volume::{Content, File, VolumeInput};
use bramble_wire::object::{Mount, PodUid};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::Directories;
use super::files::{make_dir, names, remove_dir};

const DATA: &str = "..data";
/// A memory volume without a limit of its own gets half of the memory, as the kernel's default is.
const HALF: &str = "50%";

impl Directories {
    fn run_volumes(&self, uid: PodUid) -> PathBuf {
        self.pod(uid).join("volumes")
    }
}

/// Makes the volumes and writes their files. Blocks.
pub(super) fn ensure(
    directories: &Directories,
    uid: PodUid,
    volumes: &[VolumeInput],
) -> io::Result<()> {
    for volume in volumes {
        ensure_one(directories, uid, volume).map_err(|error| {
            let text = format!("volume {:?}: {error}", volume.name);
            io::Error::new(error.kind(), text)
        })?;
    }
    Ok(())
}

fn ensure_one(directories: &Directories, uid: PodUid, volume: &VolumeInput) -> io::Result<()> {
    let in_run = directories.run_volumes(uid).join(&volume.name);
    match &volume.content {
        Content::Empty { memory: false, .. } => {
            let path = directories.disk_volumes(uid).join(&volume.name);
            if !path.exists() {
                make_dir(&path, 0o755)?;
                fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
            }
            Ok(())
        }
        Content::Empty {
            memory: true,
            size_limit_bytes,
        } => {
            let size = size_limit_bytes.map_or(HALF.to_owned(), |bytes| bytes.to_string());
            ensure_tmpfs(&in_run, &size, 0o777)
        }
        Content::Files { secret, files } => {
            if *secret {
                ensure_tmpfs(&in_run, HALF, 0o755)?;
            } else {
                make_dir(&in_run, 0o755)?;
            }
            write_files(&in_run, files)
        }
    }
}

fn ensure_tmpfs(path: &Path, size: &str, mode: u32) -> io::Result<()> {
    make_dir(path, 0o755)?;
    if is_mount_point(path)? {
        return Ok(());
    }
    let options = std::ffi::CString::new(format!("size={size},mode={mode:o}"))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", path, "tmpfs", flags, Some(options.as_c_str()))?;
    Ok(())
}

fn is_mount_point(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let parent = path.parent().unwrap_or(Path::new("/"));
    Ok(fs::metadata(path)?.dev() != fs::metadata(parent)?.dev())
}

/// Replaces the files of a volume, all at once.
fn write_files(root: &Path, files: &[File]) -> io::Result<()> {
    let old = fs::read_link(root.join(DATA)).ok();
    let new = (0..)
        .map(|n| format!("..{n}"))
        .find(|name| old.as_deref() != Some(Path::new(name)))
        .unwrap_or_default();
    let directory = root.join(&new);
    remove_dir(&directory)?;
    make_dir(&directory, 0o755)?;
    let mut entries = BTreeSet::new();
    for file in files {
        let path = Path::new(&file.path);
        // The planner refuses such paths; here it would be a way out of the volume.
        let mut parts = path.components();
        let Some(Component::Normal(first)) = parts.next() else {
            return Err(io::Error::other("path leaves the volume"));
        };
        if !parts.all(|part| matches!(part, Component::Normal(_))) {
            return Err(io::Error::other("path leaves the volume"));
        }
        entries.insert(first.to_owned());
        let target = directory.join(path);
        if let Some(parent) = target.parent() {
            make_dir(parent, 0o755)?;
        }
        fs::write(&target, &file.bytes)?;
        fs::set_permissions(&target, fs::Permissions::from_mode(file.mode & 0o777))?;
    }
    let link = root.join("..data_new");
    match fs::remove_file(&link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(&new, &link)?;
    fs::rename(&link, root.join(DATA))?;
    for entry in &entries {
        let path = root.join(entry);
        if fs::symlink_metadata(&path).is_err() {
            symlink(Path::new(DATA).join(entry), path)?;
        }
    }
    for name in names(root) {
        let stale = !name.starts_with("..") && !entries.contains(std::ffi::OsStr::new(&name));
        if stale {
            fs::remove_file(root.join(&name))?;
        } else if name.starts_with("..") && name != DATA && name != new {
            remove_dir(&root.join(&name))?;
        }
    }
    Ok(())
}

/// Where a mount of a container comes from on the board; a sub-path stays inside its volume.
pub(super) fn source(directories: &Directories, uid: PodUid, mount: &Mount) -> io::Result<PathBuf> {
    let on_disk = directories.disk_volumes(uid).join(&mount.volume);
    let root = if on_disk.exists() {
        on_disk
    } else {
        directories.run_volumes(uid).join(&mount.volume)
    };
    if mount.sub_path.is_empty() {
        return Ok(root);
    }
    let inside = Path::new(&mount.sub_path)
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if !inside {
        return Err(io::Error::other(format!(
            "sub-path {:?} leaves the volume",
            mount.sub_path
        )));
    }
    let path = root.join(&mount.sub_path);
    if !path.exists() {
        make_dir(&path, 0o755)?;
    }
    // Links that a container may have planted must not lead out.
    let (root, path) = (fs::canonicalize(&root)?, fs::canonicalize(&path)?);
    if path.starts_with(&root) {
        Ok(path)
    } else {
        Err(io::Error::other(format!(
            "sub-path {:?} leaves the volume",
            mount.sub_path
        )))
    }
}

/// Takes away the memory volumes of a pod. Blocks.
pub(super) fn unmount_all(directories: &Directories, uid: PodUid) {
    let root = directories.run_volumes(uid);
    for name in names(&root) {
        let path = root.join(name);
        if is_mount_point(&path).unwrap_or(false) {
            // A container that still uses it keeps it; the mount goes when that ends.
            let _ = unmount(&path, UnmountFlags::DETACH);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File {
            path: path.into(),
            mode: 0o640,
            bytes: text.into(),
        }
    }

    fn read(root: &Path, name: &str) -> Option<String> {
        fs::read_to_string(root.join(name)).ok()
    }

    #[test]
    fn files_change_all_at_once_and_old_ones_go() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        write_files(root, &[file("a", "1"), file("sub/b", "2")]).unwrap();
        assert_eq!(read(root, "a").as_deref(), Some("1"));
        assert_eq!(read(root, "sub/b").as_deref(), Some("2"));
        let mode = fs::metadata(root.join("a")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        // A reader that has the directory open keeps seeing the old files together.
        let before = fs::read_link(root.join(DATA)).unwrap();
        write_files(root, &[file("a", "3"), file("c", "4")]).unwrap();
        assert_ne!(fs::read_link(root.join(DATA)).unwrap(), before);
        assert_eq!(read(root, "a").as_deref(), Some("3"));
        assert_eq!(read(root, "sub/b"), None);
        let mut left: Vec<String> = names(root);
        left.sort();
        assert_eq!(left.len(), 4, "{left:?}");
        write_files(root, &[]).unwrap();
        assert_eq!(read(root, "a"), None);
    }

    #[test]
    fn nothing_is_written_outside_of_the_volume() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("volume");
        fs::create_dir(&root).unwrap();
        for path in ["../a", "/a", "b/../../a", ""] {
            assert!(write_files(&root, &[file(path, "x")]).is_err(), "{path}");
        }
        assert!(!directory.path().join("a").exists());
    }

    #[test]
    fn sub_paths_stay_inside_even_through_links() {
        let directory = tempfile::tempdir().unwrap();
        let directories = Directories {
            run: directory.path().join("run"),
            data: directory.path().join("data"),
        };
        let uid = PodUid([1; 16]);
        let volume = directories.disk_volumes(uid).join("v");
        fs::create_dir_all(volume.join("in")).unwrap();
        symlink("/etc", volume.join("out")).unwrap();
        let mount = |sub_path: &str| Mount {
            volume: "v".into(),
            path: "/x".into(),
            sub_path: sub_path.into(),
            ..Mount::default()
        };
        let source = |sub_path| source(&directories, uid, &mount(sub_path));
        assert_eq!(source("").unwrap(), volume);
        assert!(source("in").unwrap().ends_with("v/in"));
        assert!(source("made").unwrap().is_dir());
        for bad in ["out", "../w", "in/../../w"] {
            assert!(source(bad).is_err(), "{bad}");
        }
    }
}
