//! Times, and what other runtimes take for the same.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bramble_tests::local::run;

/// Times of one thing.
#[derive(Debug, Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(time);
        self.0.sort();
    }

    /// Milliseconds below which a part of them is.
    pub(crate) fn at(&self, part: f64) -> f64 {
        let last = self.0.len().saturating_sub(1) as f64;
        let index = (last * part).round() as usize;
        self.0
            .get(index)
            .map_or(0.0, |time| time.as_secs_f64() * 1e3)
    }

    pub(crate) fn print(&self, what: &str) {
        println!(
            "{what:<28} p50 {:7.1} ms  p90 {:7.1} ms  p99 {:7.1} ms  max {:7.1} ms",
            self.at(0.5),
            self.at(0.9),
            self.at(0.99),
            self.at(1.0)
        );
    }
}

/// The process `sleep MARK`, when it runs.
pub(crate) fn sleeping(mark: &str) -> Option<u32> {
    all_sleeping(mark).next()
}

/// All of them.
pub(crate) fn sleepers(mark: &str) -> Vec<u32> {
    all_sleeping(mark).collect()
}

fn all_sleeping(mark: &str) -> impl Iterator<Item = u32> {
    let wanted = format!("sleep\0{mark}\0");
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(move |pid: &u32| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|text| text == wanted.as_bytes())
    })
}

/// The root file system of the same image.
const ROOTFS: &str = r#"
set -e
cd "$1"; mkdir -p rootfs save
tar -C save -xf "$2/busybox-1.tar"
tar -C rootfs -xf save/*/layer.tar
"#;

/// Where a hybrid cgroup layout is refused, the unified hierarchy is out of sight.
const PLAIN: &str =
    "if mountpoint -q /sys/fs/cgroup/unified; then umount -l /sys/fs/cgroup/unified; fi";

/// `crun run` of `true` in the same root file system.
pub(crate) fn crun(runs: usize) -> Result<Times> {
    ensure!(Path::new("/usr/bin/crun").exists(), "crun is missing");
    let dir = tempfile::tempdir()?;
    let folder = dir.path().display().to_string();
    let images = bramble_tests::images()?.display().to_string();
    let script = format!(
        "{ROOTFS}crun spec\nsed -i 's/\"terminal\": true/\"terminal\": false/; s/\"sh\"/\"true\"/' config.json"
    );
    super::shell(&script, &[&folder, &images])?;
    let mut times = Times::default();
    for n in 0..runs {
        let begun = Instant::now();
        let id = format!("bramble-bench-{}-{n}", std::process::id());
        let line = format!("{PLAIN}\nexec crun run --bundle {folder} {id}");
        run(Command::new("unshare").args(["-m", "sh", "-c", &line]))?.success()?;
        times.add(begun.elapsed());
    }
    println!();
    times.print("crun run true, to its end");
    Ok(times)
}

/// `podman run` of `true` in the same root file system, without a network; with limits that need no
/// CAP_SYS_RESOURCE, unlike its own. It does not run on every
/// machine; then its own words are printed.
pub(crate) fn podman(runs: usize) -> Result<()> {
    if !Path::new("/usr/bin/podman").exists() {
        println!("podman: not installed");
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let folder = dir.path().display().to_string();
    let images = bramble_tests::images()?.display().to_string();
    super::shell(ROOTFS, &[&folder, &images])?;
    let line = format!(
        "{PLAIN}\nexec podman --root {folder}/store --runroot {folder}/run --cgroup-manager cgroupfs --storage-driver vfs \
         --runtime crun run --rm --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --network none --log-driver none \
         --rootfs {folder}/rootfs true"
    );
    let mut times = Times::default();
    for _ in 0..runs {
        let begun = Instant::now();
        let output = run(Command::new("unshare").args(["-m", "sh", "-c", &line]))?;
        if output.code != 0 {
            println!(
                "podman does not run here: {}",
                output.stderr.lines().last().unwrap_or_default()
            );
            return Ok(());
        }
        times.add(begun.elapsed());
    }
    times.print("podman run true, to its end");
    Ok(())
}
