//! A disk in a file, with a file system of its own: what reaches it is what would reach a card, with the
//! file system's journal.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use bramble_tests::local::run;

/// Taken away when dropped.
pub(super) struct Disk {
    mount: PathBuf,
    _dir: tempfile::TempDir,
}

fn call(program: &str, args: &[&str]) -> Result<()> {
    run(Command::new(program).args(args))?.success().map(drop)
}

impl Disk {
    pub(super) fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let (file, mount) = (dir.path().join("disk"), dir.path().join("mount"));
        std::fs::create_dir(&mount)?;
        std::fs::File::create(&file)?.set_len(2 << 30)?;
        let file = file.display().to_string();
        // Nothing of it is made later, when nobody expects it to be written.
        let now = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
        call("mke2fs", &["-q", "-F", "-t", "ext4", "-E", now, &file])?;
        let at = mount.display().to_string();
        call("mount", &["-o", "loop,noatime", &file, &at])?;
        Ok(Self { mount, _dir: dir })
    }

    pub(super) fn path(&self) -> &Path {
        &self.mount
    }

    /// Bytes written to it so far.
    pub(super) fn written(&self) -> Result<u64> {
        let table = std::fs::read_to_string("/proc/self/mountinfo")?;
        let at = self.mount.display().to_string();
        let line = table
            .lines()
            .find(|line| line.split(' ').nth(4) == Some(&at));
        let device = line.and_then(|line| line.split(' ').nth(2));
        let device = device.context("the disk is not mounted")?;
        let stat = std::fs::read_to_string(format!("/sys/dev/block/{device}/stat"))?;
        // Sectors of 512 bytes (Documentation/block/stat.rst).
        let sectors: u64 = (stat.split_whitespace().nth(6))
            .context("no sectors written")?
            .parse()?;
        Ok(sectors * 512)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What is left in use says so when its directory is removed.
        let _ = call("umount", &[&self.mount.display().to_string()]);
    }
}
