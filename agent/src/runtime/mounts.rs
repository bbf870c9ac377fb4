//! Root file systems of containers: overlays of unpacked layers, and taking mounts away again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

/// The kernel takes one page of options.
const OPTIONS_MAX: usize = 4095;

/// Mounts an overlay of `layers` (lowest first) at `target`. A mount that is there already is taken
/// away first: a life of a container begins with a fresh upper directory.
pub(crate) fn mount_overlay(
    layers: &[PathBuf],
    upper: &Path,
    work: &Path,
    target: &Path,
) -> io::Result<()> {
    for dir in [upper, work, target] {
        fs::create_dir_all(dir)?;
    }
    unmount_all(target)?;
    let mut lower = String::new();
    for layer in layers.iter().rev() {
        if !lower.is_empty() {
            lower.push(':');
        }
        lower.push_str(&escape(layer)?);
    }
    let options = format!(
        "lowerdir={lower},upperdir={},workdir={},index=off",
        escape(upper)?,
        escape(work)?
    );
    if options.len() + ",volatile".len() > OPTIONS_MAX {
        return Err(io::Error::other(format!(
            "an image of {} layers has too many",
            layers.len()
        )));
    }
    // What a container writes outside its volumes does not survive it: no syncing, less flash worn.
    // Kernels before 5.10 don't know the option.
    let volatile = format!("{options},volatile");
    match mount(target, &volatile) {
        Err(Errno::INVAL) => mount(target, &options).map_err(io::Error::from),
        other => other.map_err(io::Error::from),
    }
}

/// Device nodes have their place in `/dev`; one that comes with an image or is made in it is dead.
fn mount(target: &Path, options: &str) -> rustix::io::Result<()> {
    let options = std::ffi::CString::new(options).map_err(|_| Errno::INVAL)?;
    rustix::mount::mount(
        "overlay",
        target,
        "overlay",
        MountFlags::NODEV,
        Some(options.as_c_str()),
    )
}

/// Colons, commas and backslashes separate options.
fn escape(path: &Path) -> io::Result<String> {
    let text = path
        .to_str()
        .ok_or_else(|| io::Error::other("a path is not UTF-8"))?;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, ':' | ',' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    Ok(out)
}

/// Takes away whatever is mounted at a path; nothing there is fine.
pub(crate) fn unmount_all(target: &Path) -> io::Result<()> {
    for _ in 0..16 {
        match rustix::mount::unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// Takes away every mount at or below a directory, deepest first.
pub(crate) fn unmount_below(dir: &Path) -> Vec<String> {
    let mut errors = Vec::new();
    // The kernel's table has paths without links.
    let dir = &fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut points: Vec<PathBuf> = table
        .lines()
        .filter_map(|l| l.split(' ').nth(4))
        .map(|p| PathBuf::from(unescape(p)))
        .filter(|p| p.starts_with(dir))
        .collect();
    points.sort();
    for point in points.iter().rev() {
        if let Err(error) = unmount_all(point) {
            errors.push(format!("unmount {}: {error}", point.display()));
        }
    }
    errors
}

/// `mountinfo` writes blanks and the like as octal.
pub(crate) fn unescape(text: &str) -> String {
    text.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_in_paths_are_escaped() {
        assert_eq!(escape(Path::new("/a:b,c\\d")).unwrap(), "/a\\:b\\,c\\\\d");
        assert_eq!(unescape("/a\\040b"), "/a b");
    }

    #[test]
    fn unmounting_what_is_not_mounted_is_fine() {
        let dir = tempfile::tempdir().unwrap();
        unmount_all(dir.path()).unwrap();
        unmount_all(&dir.path().join("missing")).unwrap();
        assert!(unmount_below(dir.path()).is_empty());
    }
}
