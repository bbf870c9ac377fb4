//! A file system in memory, taken away with its guard.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::run;

/// It stays mounted for as long as this lives.
#[derive(Debug)]
pub struct Tmpfs(PathBuf);

impl Tmpfs {
    /// Mounts one of so many MiB on a directory, which is made.
    ///
    /// # Errors
    /// When it can't be made or mounted.
    pub fn mount(on: &Path, mib: u32) -> Result<Self> {
        fs::create_dir_all(on)?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"]);
        run(mount.arg(on))?.success()?;
        Ok(Self(on.to_owned()))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // What may still be open goes with its last user.
        let _ = run(Command::new("umount").arg("-l").arg(&self.0));
        let _ = fs::remove_dir(&self.0);
    }
}
