//! Volumes in memory: a tmpfs of a certain size, never swapped out where the kernel can do that.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use bramble_agent_core::volume::{Content, VolumeInput};
use rustix::fs::statvfs;
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_remount};

use super::{OURS, mode};
use crate::pods::files::make_dir;

/// Without a limit half of the memory, as the kernel's default is.
const HALF: &str = "50%";
/// What a file takes beside its bytes, at most.
const PAGE: u64 = 64 << 10;

/// Mounts a memory file system of that size, or gives the one that is there as much.
pub(in crate::pods) fn ensure(
    path: &Path,
    size_bytes: Option<u64>,
    root_mode: u32,
    group: Option<u32>,
) -> io::Result<()> {
    make_dir(path, OURS)?;
    let size = size_bytes.map_or(HALF.to_owned(), |bytes| bytes.to_string());
    if is_mount_point(path)? {
        let space = statvfs(path)?;
        let has = space.f_blocks.saturating_mul(space.f_frsize);
        if size_bytes.is_none_or(|bytes| bytes <= has) {
            return Ok(());
        }
        let options = CString::new(format!("size={size}"))?;
        let flags = MountFlags::NODEV | MountFlags::NOSUID;
        return Ok(mount_remount(path, flags, options.as_c_str())?);
    }
    // Owner and mode come with the mount, so that there is no moment without them.
    let mut options = format!("size={size},mode={:o}", mode(root_mode, group));
    if let Some(group) = group {
        options += &format!(",gid={group}");
    }
    Ok(KEPT.mount(&options, |options| mount_tmpfs(path, options))?)
}

/// Whether the kernel can keep memory from being swapped out, for as long as this process lives.
static KEPT: NoSwap = NoSwap(AtomicBool::new(true));

/// Kernels before 6.4 don't know the word and write a line to their log each time: they get to hear
/// it once.
#[derive(Debug)]
struct NoSwap(AtomicBool);

impl NoSwap {
    fn mount(&self, options: &str, mount: impl Fn(&str) -> Result<(), Errno>) -> Result<(), Errno> {
        if !self.0.load(Ordering::Relaxed) {
            return mount(options);
        }
        match mount(&format!("{options},noswap")) {
            Err(Errno::INVAL) => {
                mount(options)?;
                // It was the word that was wrong.
                self.0.store(false, Ordering::Relaxed);
                Ok(())
            }
            other => other,
        }
    }
}

fn mount_tmpfs(path: &Path, options: &str) -> Result<(), Errno> {
    let options = CString::new(options).map_err(|_| Errno::INVAL)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", path, "tmpfs", flags, Some(options.as_c_str()))
}

fn is_mount_point(path: &Path) -> io::Result<bool> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    Ok(fs::metadata(path)?.dev() != fs::metadata(parent)?.dev())
}

/// Room for the secret files of a pod: twice what they take, because the old ones go last. Never so
/// little that nothing fits.
pub(super) fn size_of_files(volumes: &[VolumeInput]) -> Option<u64> {
    let files = volumes.iter().filter_map(|volume| match &volume.content {
        Content::Files {
            secret: true,
            files,
        } => Some(files),
        _ => None,
    });
    let takes = |len: usize| (len as u64).saturating_add(PAGE);
    let bytes: u64 = files.flatten().map(|file| takes(file.bytes.len())).sum();
    Some(bytes.saturating_mul(2).max(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn a_kernel_that_does_not_know_the_word_hears_it_once() {
        let heard = Mutex::new(Vec::new());
        let old = |options: &str| {
            heard.lock().unwrap().push(options.to_owned());
            match options {
                "size=1,noswap" => Err(Errno::INVAL),
                "size=x,noswap" | "size=x" => Err(Errno::INVAL),
                _ => Ok(()),
            }
        };
        let kept = NoSwap(AtomicBool::new(true));
        // What is wrong all the same says nothing of the word.
        assert_eq!(kept.mount("size=x", old), Err(Errno::INVAL));
        for _ in 0..3 {
            kept.mount("size=1", old).unwrap();
        }
        let heard = std::mem::take(&mut *heard.lock().unwrap());
        assert_eq!(
            heard,
            [
                "size=x,noswap",
                "size=x",
                "size=1,noswap",
                "size=1",
                "size=1",
                "size=1"
            ]
        );
    }

    #[test]
    fn a_kernel_that_knows_the_word_always_hears_it() {
        let kept = NoSwap(AtomicBool::new(true));
        for _ in 0..2 {
            let mount = |options: &str| {
                assert_eq!(options, "size=1,noswap");
                Ok(())
            };
            kept.mount("size=1", mount).unwrap();
        }
    }
}
