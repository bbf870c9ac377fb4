//! Bytes on a board's link, and bytes written to its disk.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bramble_tests::local::{Cluster, wait_until};

use super::disk::Disk;
use super::{MARK, PODS};
use crate::budget::Budgets;
use crate::node::times::sleepers;

/// Both ways on the link, Ethernet's headers, TCP, TLS and pings included.
const KB_PER_HOUR: f64 = 20.0;
/// A link is quiet when nothing passed for so long.
const QUIET: Duration = Duration::from_secs(3);

/// Received and sent by the board.
#[derive(Debug, Clone, Copy)]
struct Bytes {
    down: u64,
    up: u64,
}

impl Bytes {
    fn now(cluster: &Cluster) -> Result<Self> {
        // The host's end of the link: what it sends the board receives.
        let folder = PathBuf::from("/sys/class/net").join(&cluster.layout.boards[0].link);
        let read = |name: &str| -> Result<u64> {
            let path = folder.join("statistics").join(name);
            let text =
                std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            Ok(text.trim().parse()?)
        };
        Ok(Self {
            down: read("tx_bytes")?,
            up: read("rx_bytes")?,
        })
    }

    fn since(self, before: Self) -> Self {
        Self {
            down: self.down - before.down,
            up: self.up - before.up,
        }
    }

    fn sum(self) -> u64 {
        self.down + self.up
    }
}

/// Waits until the link has been quiet for a while.
fn quiet(cluster: &Cluster) -> Result<()> {
    let mut last = (Bytes::now(cluster)?.sum(), Instant::now());
    let quiet = wait_until(Duration::from_secs(120), || {
        let now = Bytes::now(cluster)?.sum();
        if now != last.0 {
            last = (now, Instant::now());
        }
        Ok(last.1.elapsed() >= QUIET)
    })?;
    ensure!(quiet, "the link does not become quiet");
    Ok(())
}

/// Bytes that a process caused to be written (proc(5)).
fn written(cluster: &Cluster, name: &str) -> Result<u64> {
    let pid = cluster.pid(name);
    let pid = pid.with_context(|| format!("{name} does not run"))?;
    let io = std::fs::read_to_string(format!("/proc/{pid}/io"))?;
    let line = (io.lines()).find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.context("no write_bytes")?.parse()?)
}

/// A board with ten pods of which nobody wants anything.
pub(super) fn idle(cluster: &Cluster, disk: &Disk, seconds: u64, budgets: &Budgets) -> Result<()> {
    // Status, usage and sums of the start have been told by then, and the file system has written them.
    let calm = Duration::from_secs(60);
    let begun = Instant::now();
    wait_until(calm, || Ok(begun.elapsed() >= calm))?;
    quiet(cluster)?;
    let names = ["controller", "board-1"];
    let writes = || names.map(|name| written(cluster, name));
    let (bytes, processes, device) = (Bytes::now(cluster)?, writes(), disk.written()?);
    let (time, begun) = (Duration::from_secs(seconds), Instant::now());
    wait_until(time, || Ok(begun.elapsed() >= time))?;
    let bytes = Bytes::now(cluster)?.since(bytes);
    let hours = begun.elapsed().as_secs_f64() / 3600.0;
    let per_hour = bytes.sum() as f64 / 1000.0 / hours;
    println!(
        "\nidle for {seconds} s with {PODS} pods: {} bytes up, {} bytes down; {per_hour:.1} kB an hour",
        bytes.up, bytes.down
    );
    budgets.check(
        "uplink of an idle node an hour",
        per_hour,
        KB_PER_HOUR,
        "kB",
    );
    for (name, (before, after)) in names.iter().zip(processes.into_iter().zip(writes())) {
        let bytes = after? - before?;
        println!("{name} wrote {bytes} bytes");
        let what = format!("{name}, written while idle with {PODS} pods");
        budgets.check(&what, bytes as f64, 0.0, "bytes");
    }
    let bytes = disk.written()? - device;
    println!("{bytes} bytes reached their disk");
    budgets.check("reached the disk while idle", bytes as f64, 0.0, "bytes");
    Ok(())
}

/// What small changes take on the link, until the node has said that they are done.
pub(super) fn changes(cluster: &Cluster) -> Result<()> {
    println!();
    let patch = r#"{"data":{"line":"second"}}"#;
    let seen = || {
        let pids = sleepers(MARK);
        let read = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/root/page/line"));
        Ok(pids.len() == PODS
            && pids
                .iter()
                .all(|pid| read(pid).is_ok_and(|line| line == "second")))
    };
    let title = format!("a line of a ConfigMap that {PODS} pods have as a file");
    change(
        cluster,
        &title,
        &["patch", "configmap", "page", "-p", patch],
        seen,
    )?;
    let pods = cluster.kubectl(&["get", "pods", "-o", "name"])?.stdout;
    let pod = pods.lines().next().context("no pod")?.to_owned();
    let before = sleepers(MARK);
    let image = "c=bramble.test/hello:v1";
    change(
        cluster,
        "a pod's image",
        &["set", "image", &pod, image],
        || {
            let now = sleepers(MARK);
            Ok(now.len() == PODS && now != before)
        },
    )?;
    change(
        cluster,
        "a pod's label",
        &["label", &pod, "colour=green"],
        || Ok(true),
    )
}

fn change(
    cluster: &Cluster,
    what: &str,
    kubectl: &[&str],
    mut done: impl FnMut() -> Result<bool>,
) -> Result<()> {
    quiet(cluster)?;
    let before = Bytes::now(cluster)?;
    cluster.kubectl(kubectl)?;
    ensure!(
        wait_until(Duration::from_secs(120), &mut done)?,
        "{what}: not done"
    );
    quiet(cluster)?;
    let bytes = Bytes::now(cluster)?.since(before);
    println!("{what}: {} bytes down, {} bytes up", bytes.down, bytes.up);
    Ok(())
}
